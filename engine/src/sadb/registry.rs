//! The control side's book of interfaces and SAs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::interface::{Interface, NO_SLOT};
use super::sa::Sa;
use super::{Id, Snapshot};

#[derive(Default)]
pub struct Registry {
    /// SAs with the order in which they were installed.
    sas: BTreeMap<Id, (u64, Arc<Sa>)>,
    interfaces: HashMap<String, Arc<Interface>>,
    installed: u64,
}

impl Registry {
    pub fn get(&self, id: &Id) -> Option<&Arc<Sa>> {
        self.sas.get(id).map(|(_, sa)| sa)
    }

    /// Every SA, in order of SPI.
    pub fn sas(&self) -> impl Iterator<Item = &Arc<Sa>> {
        self.sas.values().map(|(_, sa)| sa)
    }

    /// The interface of that name, attached or only named by an SA.
    pub fn interface(&self, name: &str) -> Option<&Arc<Interface>> {
        self.interfaces.get(name)
    }

    pub fn interface_or_new(&mut self, name: &str) -> Arc<Interface> {
        self.interfaces.entry(name.into()).or_insert_with(|| Interface::new(name)).clone()
    }

    /// Forget `name` if nothing needs it any more.
    pub fn release(&mut self, name: &str) {
        let unused = self.interfaces.get(name).is_some_and(|interface| interface.slot.load(Relaxed) == NO_SLOT)
            && !self.sas().any(|sa| sa.iface.name == name);
        if unused {
            self.interfaces.remove(name);
        }
    }

    /// False when there is one of that name.
    pub fn insert(&mut self, sa: Arc<Sa>) -> bool {
        let id = sa.id();
        if self.sas.contains_key(&id) {
            return false;
        }
        self.installed += 1;
        let iface = sa.iface.clone();
        self.sas.insert(id, (self.installed, sa));
        self.choose_outbound(&iface);
        true
    }

    pub fn remove(&mut self, id: &Id) -> Option<Arc<Sa>> {
        let (_, sa) = self.sas.remove(id)?;
        self.choose_outbound(&sa.iface);
        self.release(&sa.iface.name);
        Some(sa)
    }

    /// Put `sa` in the place of `old`, as old as that one was; false when another has its name.
    pub fn replace(&mut self, old: &Id, sa: Arc<Sa>) -> bool {
        let id = sa.id();
        if id != *old && self.sas.contains_key(&id) {
            return false;
        }
        let Some((age, _)) = self.sas.remove(old) else { return false };
        let iface = sa.iface.clone();
        self.sas.insert(id, (age, sa));
        self.choose_outbound(&iface);
        true
    }

    /// Among an interface's outbound SAs the newest installed wins, and the one before it when that one goes (sec(4)).
    fn choose_outbound(&self, iface: &Arc<Interface>) {
        let of_iface = self.sas.values().filter(|(_, sa)| sa.outbound && Arc::ptr_eq(&sa.iface, iface));
        let newest = of_iface.max_by_key(|(age, _)| age).map(|(_, sa)| sa.clone());
        iface.outbound.store(newest);
    }

    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for sa in self.sas() {
            let side = if sa.outbound { &mut snapshot.outbound } else { &mut snapshot.inbound };
            side.entry(sa.spi).or_default().push(sa.clone());
        }
        snapshot
    }
}
