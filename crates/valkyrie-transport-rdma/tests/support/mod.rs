//! The RDMA device that tests run on, if there is one.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv6Addr};

use valkyrie_transport::Locator;

/// The address of an RDMA device of this machine. Without one nothing is tested, and that is said, unless
/// `VALKYRIE_RDMA_REQUIRED` is set: then it is a failure.
pub(crate) fn device() -> Option<IpAddr> {
    let found = addresses().next();
    if found.is_none() {
        let required = std::env::var_os("VALKYRIE_RDMA_REQUIRED").is_some();
        assert!(!required, "there is no RDMA device with an address");
        let _ = writeln!(
            std::io::stderr(),
            "NOT TESTED: this machine has no RDMA device; `cargo xtask rdma` makes one in a virtual machine"
        );
    }
    found
}

/// Where to listen: any free port of that address.
pub(crate) fn anywhere(address: IpAddr) -> Locator {
    at(address, 0)
}

pub(crate) fn at(address: IpAddr, port: u16) -> Locator {
    let place = std::net::SocketAddr::new(address, port);
    Locator::new("rdma", &place.to_string()).expect("an address and a port make a locator")
}

/// The IPv4 addresses among the ids of all ports of all devices, as RoCE has them.
fn addresses() -> impl Iterator<Item = IpAddr> {
    entries("/sys/class/infiniband")
        .flat_map(|device| entries(&format!("{device}/ports")))
        .flat_map(|port| entries(&format!("{port}/gids")))
        .filter_map(|gid| fs::read_to_string(gid).ok()?.trim().parse::<Ipv6Addr>().ok())
        .filter_map(|gid| gid.to_ipv4_mapped().map(IpAddr::from))
}

fn entries(folder: &str) -> impl Iterator<Item = String> + use<> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().to_string_lossy().into_owned())
}
