//! Where a plugin may connect to, as operators write it: `db.internal:5432`, `10.0.0.0/8:8000-8999`, `[::1]:443`.
//!
//! A leaf: text in, values out. `imports::network` and `imports::http` ask whether an address or a name is
//! meant. Invariant: addresses that give away secrets of the machine, or are the machine, are meant only by who
//! names them (see [`Destination::reaches`]).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::network::Network;

/// Longest name, in bytes. Source: RFC 1035, section 2.3.4, without the root's label.
const NAME_BYTES_MAX: usize = 253;

/// Addresses on which machines are told about themselves and their credentials: link-local ones (RFC 3927 and
/// RFC 4291, 2.5.6; 169.254.169.254 in nearly every cloud), and those that single clouds use besides: AWS and
/// Google over IPv6, Alibaba, Azure, Oracle.
const METADATA: [&str; 7] = [
    "169.254.0.0/16",
    "fe80::/10",
    "fd00:ec2::/32",
    "fd20:ce::/32",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
];

/// Hosts and ports that a plugin may connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    host: Host,
    ports: RangeInclusive<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// In lower case, without a dot at its end.
    Name(String),
    Network(Network),
}

impl Destination {
    /// The name, if it is one; then [`Destination::reaches`] is for the addresses that the name has.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.host {
            Host::Name(name) => Some(name),
            Host::Network(_) => None,
        }
    }

    /// Whether the port is one of those.
    #[must_use]
    pub fn has_port(&self, port: u16) -> bool {
        self.ports.contains(&port)
    }

    /// Whether this is the destination's name, in whatever case, with or without a dot at its end.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        self.name()
            .is_some_and(|own| own.eq_ignore_ascii_case(name))
    }

    /// Whether connecting to `address` is meant. For a name: provided that it has this address, since who owns
    /// the name says which it has. So a name never reaches the machine itself, unless it is `localhost`, and
    /// neither a name nor a range that is larger reaches what is link-local or hands out metadata.
    #[must_use]
    pub fn reaches(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if address.is_unspecified() {
            return false;
        }
        match &self.host {
            Host::Name(name) => {
                let local = name == "localhost" || name.ends_with(".localhost");
                metadata(address).is_none() && (local || !inner(address).is_loopback())
            }
            Host::Network(network) => {
                let within = |all: Network| all.includes(network);
                network.contains(address) && metadata(address).is_none_or(within)
            }
        }
    }
}

/// The range of [`METADATA`] in which an address lies, if it does.
fn metadata(address: IpAddr) -> Option<Network> {
    let ranges = METADATA.iter().map(|range| range.parse::<Network>());
    let mut ranges = ranges.map(|range| range.expect("a constant, parsed in a test"));
    let inner = inner(address);
    ranges.find(|range| range.contains(address) || range.contains(inner))
}

/// The IPv4 address that a translator on the way makes of an IPv6 one (RFC 6052, 2.1, and RFC 3056, 2); else
/// the address itself.
fn inner(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let [a, b, c, ..] = v6.segments();
    let of = |high: u16, low: u16| {
        IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
    };
    let [.., high, low] = v6.segments();
    match (a, b) {
        (0x64, 0xff9b) => of(high, low),
        (0x2002, _) => of(b, c),
        _ => address,
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => f.write_str(name)?,
            Host::Network(network) if network.to_string().contains(':') => {
                write!(f, "[{network}]")?
            }
            Host::Network(network) => write!(f, "{network}")?,
        }
        let (first, last) = (self.ports.start(), self.ports.end());
        if first == last {
            write!(f, ":{first}")
        } else {
            write!(f, ":{first}-{last}")
        }
    }
}

/// Why a text is no destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// There is no port.
    #[error("has no port: write HOST:PORT, HOST:FIRST-LAST for several, or HOST:1-65535 for all")]
    NoPort,
    /// The port is not a number, or the range is none.
    #[error("has no such port: ports are 1 to 65535, several are FIRST-LAST")]
    Port,
    /// An IPv6 address without brackets.
    #[error("is an IPv6 address without brackets: write [ADDRESS]:PORT")]
    Brackets,
    /// Neither a name nor an address.
    #[error("names no host: write a whole name, an address, or a range such as 10.0.0.0/8")]
    Host,
    /// An address as browsers have it.
    #[error("has a scheme: write HOST:PORT and nothing before it")]
    Scheme,
    /// A name with a star.
    #[error("has a star: names are matched as a whole, so write each one")]
    Star,
    /// A range with bits set beyond its prefix.
    #[error("has bits set beyond its prefix of {0} bits")]
    BitsBeyond(u8),
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let (host, ports) = text.rsplit_once(':').ok_or(DestinationError::NoPort)?;
        if text.contains("://") {
            return Err(DestinationError::Scheme);
        }
        if host.contains(':') && !host.starts_with('[') {
            return Err(DestinationError::Brackets);
        }
        if ports.ends_with(']') {
            return Err(DestinationError::NoPort);
        }
        Ok(Self {
            host: host.parse()?,
            ports: parse_ports(ports)?,
        })
    }
}

impl FromStr for Host {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let bare = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        let network = bare.unwrap_or(text).parse::<Network>();
        match network {
            Ok(network) => return Ok(Self::Network(network)),
            Err(super::NetworkError::BitsBeyond(bits)) => {
                return Err(DestinationError::BitsBeyond(bits));
            }
            Err(super::NetworkError::Malformed) => {}
        }
        if text.contains('*') {
            return Err(DestinationError::Star);
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if !is_name(name) {
            return Err(DestinationError::Host);
        }
        Ok(Self::Name(name.to_ascii_lowercase()))
    }
}

fn parse_ports(text: &str) -> Result<RangeInclusive<u16>, DestinationError> {
    let port = |text: &str| {
        let port = text.parse().ok().filter(|port| *port != 0);
        port.ok_or(DestinationError::Port)
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(DestinationError::Port);
    }
    Ok(first..=last)
}

/// Whether resolvers could know it, and nobody could take it for an address. Source: RFC 1123, section 2.1.
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= NAME_BYTES_MAX
        && text.split('.').all(label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
        && !last.starts_with("0x")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Destination {
        text.parse()
            .unwrap_or_else(|error| panic!("{text} {error}"))
    }

    #[test]
    fn addresses_are_reached_or_not() {
        for (rule, address, reached) in [
            ("10.0.0.0/8:80", "10.9.8.7", true),
            ("10.0.0.0/8:80", "::ffff:10.9.8.7", true),
            ("10.0.0.0/8:80", "11.0.0.1", false),
            ("127.0.0.1:80", "127.0.0.1", true),
            ("[::1]:80", "::1", true),
            ("0.0.0.0/0:80", "0.0.0.0", false),
            ("0.0.0.0/0:80", "127.0.0.1", true),
            // Metadata and link-local addresses, however they are written, only for who names them.
            ("0.0.0.0/0:80", "169.254.169.254", false),
            ("0.0.0.0/0:80", "168.63.129.16", false),
            ("[::/0]:80", "fe80::1", false),
            ("[::/0]:80", "64:ff9b::a9fe:a9fe", false),
            ("[::/0]:80", "2002:a9fe:a9fe::1", false),
            ("[::/0]:80", "fd00:ec2::254", false),
            ("169.254.169.254:80", "169.254.169.254", true),
            ("169.254.0.0/16:80", "169.254.169.254", true),
            ("[fe80::1]:80", "fe80::1", true),
            // What a name has is for its owner to say.
            ("api.example:80", "192.0.2.1", true),
            ("api.example:80", "10.0.0.1", true),
            ("api.example:80", "127.0.0.1", false),
            ("api.example:80", "::ffff:127.0.0.1", false),
            ("api.example:80", "::1", false),
            ("api.example:80", "0.0.0.0", false),
            ("api.example:80", "169.254.169.254", false),
            ("localhost:80", "127.0.0.1", true),
            ("localhost:80", "169.254.169.254", false),
        ] {
            let address = address.parse().expect(address);
            assert_eq!(of(rule).reaches(address), reached, "{rule} {address}");
        }
        for range in METADATA {
            range.parse::<Network>().expect(range);
        }
    }

    #[test]
    fn names_and_ports_are_matched_as_a_whole() {
        let rule = of("Api.Example.:8000-8002");
        for name in ["api.example", "API.example."] {
            assert!(rule.is_named(name), "{name}");
        }
        for name in ["example", "x.api.example", "api.example.x", ""] {
            assert!(!rule.is_named(name), "{name}");
        }
        assert!(rule.has_port(8000) && rule.has_port(8002));
        assert!(!rule.has_port(7999) && !rule.has_port(8003));
        assert!(!of("10.0.0.1:1").is_named("10.0.0.1"));
    }

    #[test]
    fn they_are_written_as_they_are_read() {
        for text in [
            "a.b:1",
            "10.0.0.0/8:1-65535",
            "[2001:db8::/32]:443",
            "[::1/128]:5",
        ] {
            assert_eq!(of(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_none_is_refused_with_what_to_write() {
        use DestinationError as E;
        for (text, error) in [
            ("a.b", E::NoPort),
            ("[::1]", E::NoPort),
            ("a.b:", E::Port),
            ("a.b:0", E::Port),
            ("a.b:65536", E::Port),
            ("a.b:9-8", E::Port),
            ("a.b:https", E::Port),
            ("::1:80", E::Brackets),
            (":80", E::Host),
            ("a b:80", E::Host),
            ("https://a.b:80", E::Scheme),
            ("1.2.3:80", E::Host),
            ("0x7f000001:80", E::Host),
            ("-a.b:80", E::Host),
            ("*.a.b:80", E::Star),
            ("10.0.0.1/8:80", E::BitsBeyond(8)),
        ] {
            assert_eq!(text.parse::<Destination>(), Err(error), "{text}");
        }
    }
}
