//! Ranges of IP addresses, as operators write them: `10.0.0.0/8`, `2001:db8::/32`, `192.0.2.1`.
//!
//! A leaf: text in, values out. `listener::proxies` asks whether an address lies in one.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A range of addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

impl Network {
    /// Whether `address` lies in it. IPv4 written as IPv6 (`::ffff:10.0.0.1`) is IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (own, own_bits) = number(self.address);
        let (other, other_bits) = number(address.to_canonical());
        let ignored = own_bits - u32::from(self.prefix_bits);
        // Shifting all bits out is not a shift any more.
        own_bits == other_bits && (own ^ other).checked_shr(ignored).unwrap_or(0) == 0
    }

    /// Whether all of `other` lies in it.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        self.prefix_bits <= other.prefix_bits && self.contains(other.address)
    }
}

/// The address as a number, and how many bits it has.
fn number(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

/// Why a text is no range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Neither an address nor an address and a length.
    #[error("not an address range: write 10.0.0.0/8, 2001:db8::/32 or a single address")]
    Malformed,
    /// The address has bits set beyond the prefix; most likely one of the two is mistyped.
    #[error("the address has bits set beyond its prefix of {0} bits")]
    BitsBeyond(u8),
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Malformed)?;
        let (value, bits_max) = number(address);
        let prefix_bits = match bits {
            None => u8::try_from(bits_max).map_err(|_| NetworkError::Malformed)?,
            Some(bits) => bits.parse().map_err(|_| NetworkError::Malformed)?,
        };
        let ignored = bits_max
            .checked_sub(u32::from(prefix_bits))
            .ok_or(NetworkError::Malformed)?;
        let kept = value.checked_shr(ignored).unwrap_or(0);
        if kept.checked_shl(ignored).unwrap_or(0) != value {
            return Err(NetworkError::BitsBeyond(prefix_bits));
        }
        Ok(Self {
            address,
            prefix_bits,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_in_or_out() {
        for (network, address, inside) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "a00::", false),
            ("0.0.0.0/0", "192.0.2.7", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("::1", "::1", true),
        ] {
            let range: Network = network.parse().expect(network);
            let address = address.parse().expect(address);
            assert_eq!(range.contains(address), inside, "{network} {address}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "ten",
            "10.0.0/8",
        ] {
            assert_eq!(
                text.parse::<Network>(),
                Err(NetworkError::Malformed),
                "{text:?}"
            );
        }
        for (text, bits) in [
            ("10.0.0.1/8", 8),
            ("192.0.2.1/0", 0),
            ("2001:db8::1/32", 32),
        ] {
            let refused = text.parse::<Network>();
            assert_eq!(refused, Err(NetworkError::BitsBeyond(bits)), "{text:?}");
        }
    }
}
