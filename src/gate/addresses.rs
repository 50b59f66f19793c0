//! What the log may say of a client's address. Pure.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::Addresses;

/// What is said of an address.
pub(super) fn said(addresses: Addresses, address: IpAddr) -> String {
    let bits = if address.is_ipv4() { 24 } else { 48 };
    match addresses {
        Addresses::Whole => address.to_string(),
        Addresses::Prefix => IpNet::new_assert(address, bits).trunc().to_string(),
        Addresses::None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_address_all_is_said_or_its_prefix_or_nothing() {
        let v4 = IpAddr::from([192, 0, 2, 77]);
        let v6: IpAddr = "2001:db8:1:2::3".parse().expect("an address");
        assert_eq!(said(Addresses::Whole, v4), "192.0.2.77");
        assert_eq!(said(Addresses::Prefix, v4), "192.0.2.0/24");
        assert_eq!(said(Addresses::Prefix, v6), "2001:db8:1::/48");
        assert_eq!(said(Addresses::None, v6), "-");
    }
}
