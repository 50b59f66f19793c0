//! What the line of an ended stream may say of its client's address.

use std::net::IpAddr;

use ipnet::IpNet;
use tokio::time::Instant;

use super::{Permit, Seated};
use crate::config::Addresses;

impl Permit {
    /// Whose it is and what may be said of its address, if every end has a line.
    #[must_use]
    pub fn access_line(&self) -> Option<(Seated, String)> {
        let gate = &self.gate;
        let policy = gate.terms().settings.access_lines?;
        let seated = gate.seated(&gate.lock(), self.seat, Instant::now())?;
        let said = said(policy, seated.address);
        Some((seated, said))
    }
}

/// What is said of an address.
fn said(addresses: Addresses, address: IpAddr) -> String {
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
