//! IKE messages to the network.

use std::net::{IpAddr, SocketAddr};

use super::{Engine, Result, os, value};
use crate::counters::Counter;
use crate::esp::classify::MARKER;
use crate::io::Failure;
use crate::io::send::{self, Way};

/// Octets of UDP payload in the largest IPv4 packet.
const MAX_IKE: usize = 65_507;

impl Engine {
    /// Send an IKE message.
    pub fn send_ike(&self, local: Option<IpAddr>, local_port: u16, remote: SocketAddr, data: &[u8]) -> Result<()> {
        if local_port != self.ike_port && local_port != self.natt_port {
            return value(format!("IKE leaves from port {} or {}, not {local_port}", self.ike_port, self.natt_port));
        }
        if local.is_some_and(|local| local.is_ipv4() != remote.is_ipv4()) {
            return value("local and remote are of two address families");
        }
        let marked = local_port == self.natt_port && data != [0xff];
        let message = if marked { [&MARKER, data].concat() } else { data.to_vec() };
        if message.len() > MAX_IKE {
            return os(libc::EMSGSIZE, format!("an IKE message of {} octets is too long for UDP", data.len()));
        }
        let network = match &self.inner().running {
            Some(running) => running.network.clone(),
            None => return os(libc::ENOTCONN, "the engine is not open"),
        };
        let Some(socket) = network.ike(&remote.ip(), local_port) else {
            return os(libc::EAFNOSUPPORT, format!("no IPv6 on this host: cannot send to {remote}"));
        };
        let way = Way { source: local, destination: remote, tos: 0 };
        send::send_each(socket, &way, &message, message.len()).map_err(|error| {
            let failure = Failure::from(error);
            let from = local.map_or_else(|| "any address".into(), |local| local.to_string());
            Failure { message: format!("IKE from {from} to {remote}: {}", failure.message), ..failure }
        })?;
        self.shared.counters.control().add(Counter::IkeSent, 1);
        Ok(())
    }
}
