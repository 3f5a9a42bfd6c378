//! Ports that nobody else takes while a hub is down: it comes back where its nodes look for it.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use liandong_node::now::random;

/// Below those that the kernel gives to whoever asks for any, and to both ends of every connection.
const AMONG: std::ops::Range<u16> = 20_000..32_000;
/// So many are tried.
const TRIES: usize = 1_000;

/// A port of this machine, held against other clusters as long as this value lives.
#[derive(Debug)]
pub struct Port {
    /// Its number.
    pub number: u16,
    _held: UnixListener,
}

impl Port {
    /// One that is free; `None` where none is.
    pub fn free() -> Option<Port> {
        let one = || AMONG.start + u16::from_be_bytes(random()) % (AMONG.end - AMONG.start);
        (0..TRIES).find_map(|_| Port::hold(one()))
    }

    /// This one, unless another cluster holds it or somebody listens there.
    fn hold(number: u16) -> Option<Port> {
        // A name that goes with the process.
        let name = SocketAddr::from_abstract_name(format!("liandong-tests-port-{number}")).ok()?;
        let held = UnixListener::bind_addr(&name).ok()?;
        TcpListener::bind(("127.0.0.1", number)).ok()?;
        Some(Port { number, _held: held })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_held_once() {
        let port = Port::free().expect("a port");
        assert!(Port::hold(port.number).is_none());
        let listens = TcpListener::bind(("127.0.0.1", port.number)).expect("it is free for its hub");
        let number = port.number;
        drop(port);
        assert!(Port::hold(number).is_none(), "somebody listens");
        drop(listens);
        assert!(Port::hold(number).is_some());
    }
}
