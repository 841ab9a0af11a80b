//! Certificates made by another library, and any bytes at all.

use proptest::prelude::*;
use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType};

use super::*;

fn made(edit: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    edit(&mut params);
    let key = KeyPair::generate().expect("a key");
    params
        .self_signed(&key)
        .expect("a certificate")
        .der()
        .to_vec()
}

#[test]
fn subject_and_names_are_read() {
    let der = made(|params| {
        let name = &mut params.distinguished_name;
        name.push(DnType::CountryName, "AQ");
        name.push(DnType::OrganizationName, "Penguins, Ltd; \"south\"");
        name.push(DnType::CommonName, "# p\u{e9}ng\u{0}uin ");
        params.subject_alt_names = vec![
            SanType::DnsName("a.example".try_into().expect("ASCII")),
            SanType::URI("spiffe://example/a".try_into().expect("ASCII")),
            SanType::DnsName("*.b.example".try_into().expect("ASCII")),
            SanType::Rfc822Name("a@example".try_into().expect("ASCII")),
            SanType::IpAddress("192.0.2.7".parse().expect("an address")),
            SanType::IpAddress("2001:db8::7".parse().expect("an address")),
        ];
    });
    let client = client(&der).expect("sound");
    assert_eq!(
        client.subject.as_deref(),
        Some("CN=\\# p\\C3\\A9ng\\00uin\\ ,O=Penguins\\, Ltd\\; \\\"south\\\",C=AQ")
    );
    assert_eq!(client.dns, ["a.example", "*.b.example"]);
    assert_eq!(client.uri, ["spiffe://example/a"]);
    assert_eq!(client.email, ["a@example"]);
    assert_eq!(client.ip, ["192.0.2.7", "2001:db8::7"]);
}

#[test]
fn what_has_no_short_name_is_numbers_and_digits() {
    let der = made(|params| {
        let title = DnType::CustomDnType(vec![2, 5, 4, 12]);
        let long = DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 99_999, 1]);
        params.distinguished_name.push(title, "Dr");
        let value = DnValue::PrintableString("x".try_into().expect("printable"));
        params.distinguished_name.push(long, value);
    });
    let client = client(&der).expect("sound");
    assert_eq!(
        client.subject.as_deref(),
        Some("1.3.6.1.4.1.99999.1=#130178,2.5.4.12=#0c024472")
    );
}

#[test]
fn no_name_is_no_name() {
    assert_eq!(client(&made(|_| {})), Some(Client::default()));
    // A zero byte, a space, nothing at all: none of them is the name it looks like.
    let names = ["good.example\0.evil.example", "two words", ""];
    assert!(
        names
            .iter()
            .all(|name| printable(name.as_bytes()).is_none())
    );
    assert_eq!(address(&[1, 2, 3]), None);
}

#[test]
fn names_beyond_the_limit_are_left_out() {
    let many = |count: usize, len: usize| {
        let der = made(|params| {
            params.subject_alt_names = (0..count)
                .map(|at| SanType::URI(format!("{at:0len$}").try_into().expect("ASCII")))
                .collect();
        });
        client(&der).expect("sound").uri
    };
    assert_eq!(many(NAMES_MAX, 10).len(), NAMES_MAX);
    assert_eq!(many(NAMES_MAX + 1, 10).len(), NAMES_MAX);
    assert_eq!(many(20, NAMES_BYTES_MAX / 10).len(), 10);
}

#[test]
fn it_is_known_until_when_a_certificate_holds() {
    let der = made(|params| {
        params.not_before = rcgen::date_time_ymd(2024, 2, 29);
        params.not_after = rcgen::date_time_ymd(2050, 1, 1);
    });
    let validity = validity(&der).expect("sound");
    assert_eq!(validity.from, 1_709_164_800);
    assert_eq!(validity.until, 2_524_608_000);
    assert_eq!(validity.until_text, "2050-01-01 00:00:00 UTC");
    let utc = |text: &[u8]| time((UTC_TIME, text)).map(|(seconds, _)| seconds);
    assert_eq!(utc(b"700101000001Z"), Some(1));
    assert_eq!(utc(b"691231235959Z"), Some(-1));
    assert_eq!(utc(b"000229000000Z"), Some(951_782_400));
    for wrong in [
        &b"700101000001"[..],
        b"7001010001Z",
        b"701301000000Z",
        b"7x0101000000Z",
        b"Z",
    ] {
        assert_eq!(utc(wrong), None, "{wrong:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(client(&bytes));
        drop(validity(&bytes));
    }

    /// Almost a certificate: what is wrong in it is found where it is.
    #[test]
    fn a_damaged_certificate_is_read_or_refused(at in 0..10_000_usize, byte: u8, cut in 0..10_000_usize) {
        let mut der = made(|params| {
            params.distinguished_name.push(DnType::CommonName, "a");
            params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
        });
        prop_assert_eq!(client(&der[..cut % der.len()]), None);
        let at = at % der.len();
        der[at] = byte;
        drop((client(&der), validity(&der)));
    }
}
