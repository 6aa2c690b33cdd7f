//! SAs: installed, moved, deleted.

use std::net::IpAddr;
use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::{Engine, Error, Result, os, value};
use crate::esp::suite::Suite;
use crate::sadb::Id;
use crate::sadb::registry::Registry;
use crate::sadb::sa::{Limits, Path, Ports, Sa, State};

/// An SA to install.
pub struct NewSa<'a> {
    pub id: Id,
    pub iface: &'a str,
    pub source: IpAddr,
    pub suite: Suite<'a>,
    pub replay: u32,
    pub encap: Option<Ports>,
    pub limits: Limits,
    pub sequence: u64,
}

impl Engine {
    pub fn add_sa(&self, new: &NewSa<'_>) -> Result<()> {
        let id = new.id;
        self.check_addresses(new.source, id.destination, new.encap)?;
        if id.spi < 0x100 {
            return value(format!("SPI {:#x} is reserved (RFC 4303 §2.1): use 0x100 or more", id.spi));
        }
        let mut iv_key = Zeroizing::new([0; 16]);
        if SystemRandom::new().fill(&mut *iv_key).is_err() {
            return os(libc::EIO, "no random numbers from the system");
        }
        let transform = new.suite.build(&iv_key).map_err(Error::Value)?;
        let state = State::new(transform, new.suite.esn, new.replay, new.sequence, new.limits);
        let mut inner = self.inner();
        let iface = inner.registry.interface_or_new(new.iface);
        let sa = Sa {
            spi: id.spi,
            outbound: id.outbound,
            iface,
            source: new.source,
            destination: id.destination,
            encap: new.encap,
            state: Arc::new(state),
            path: Path::default(),
        };
        if !inner.registry.insert(Arc::new(sa)) {
            inner.registry.release(new.iface);
            return os(libc::EEXIST, format!("SA {:#010x} to {} exists already", id.spi, id.destination));
        }
        Ok(())
    }

    /// Move an SA to other addresses or ports.  Its counters, numbers and age go on.
    pub fn update_sa(&self, id: &Id, source: IpAddr, destination: IpAddr, encap: Option<Ports>) -> Result<()> {
        self.check_addresses(source, destination, encap)?;
        let mut inner = self.inner();
        let old = known(&inner.registry, id)?.clone();
        let sa = Sa {
            spi: old.spi,
            outbound: old.outbound,
            iface: old.iface.clone(),
            source,
            destination,
            encap,
            state: old.state.clone(),
            path: Path::default(),
        };
        if !inner.registry.replace(id, Arc::new(sa)) {
            return os(libc::EEXIST, format!("SA {:#010x} to {destination} exists already", id.spi));
        }
        old.state.forget_mapping();
        Ok(())
    }

    pub fn delete_sa(&self, id: &Id) -> Result<()> {
        let mut inner = self.inner();
        known(&inner.registry, id)?;
        inner.registry.remove(id);
        Ok(())
    }

    pub fn sa(&self, id: &Id) -> Result<Arc<Sa>> {
        known(&self.inner().registry, id).cloned()
    }

    pub fn sas(&self) -> Vec<Arc<Sa>> {
        self.inner().registry.sas().cloned().collect()
    }

    fn check_addresses(&self, source: IpAddr, destination: IpAddr, encap: Option<Ports>) -> Result<()> {
        if source.is_ipv4() != destination.is_ipv4() {
            return value(format!("source {source} and destination {destination} are of two address families"));
        }
        match encap {
            Some(ports) if ports.local != self.natt_port => {
                value(format!("udpencap: our port must be {}, not {}", self.natt_port, ports.local))
            }
            Some(ports) if ports.remote == 0 => value("udpencap: the peer's port must not be 0"),
            _ => Ok(()),
        }
    }
}

fn known<'a>(registry: &'a Registry, id: &Id) -> Result<&'a Arc<Sa>> {
    let direction = if id.outbound { "outbound" } else { "inbound" };
    match registry.get(id) {
        Some(sa) => Ok(sa),
        None => os(libc::ESRCH, format!("no {direction} SA {:#010x} to {}", id.spi, id.destination)),
    }
}
