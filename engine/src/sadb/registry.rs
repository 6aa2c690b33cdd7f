//! The control side's book of interfaces and SAs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Id;
use super::interface::{Interface, NO_SLOT};
use super::sa::Sa;
use super::table::Table;

/// The table that workers see, and what is needed to change it without looking at every SA.
pub struct Registry {
    table: Arc<Table>,
    /// SAs with the order in which they were installed.
    sas: BTreeMap<Id, (u64, Arc<Sa>)>,
    interfaces: HashMap<String, Entry>,
    installed: u64,
}

/// An interface, attached or only named by SAs.
struct Entry {
    interface: Arc<Interface>,
    /// Its outbound SAs in the order in which they were installed.
    outbound: BTreeMap<u64, Arc<Sa>>,
    /// Its SAs, both ways.
    sas: usize,
}

impl Registry {
    pub fn new(table: Arc<Table>) -> Self {
        Self { table, sas: BTreeMap::new(), interfaces: HashMap::new(), installed: 0 }
    }

    pub fn get(&self, id: &Id) -> Option<&Arc<Sa>> {
        self.sas.get(id).map(|(_, sa)| sa)
    }

    /// Every SA, in order of SPI.
    pub fn sas(&self) -> impl Iterator<Item = &Arc<Sa>> {
        self.sas.values().map(|(_, sa)| sa)
    }

    /// The interface of that name, attached or only named by an SA.
    pub fn interface(&self, name: &str) -> Option<&Arc<Interface>> {
        self.interfaces.get(name).map(|entry| &entry.interface)
    }

    pub fn interface_or_new(&mut self, name: &str) -> Arc<Interface> {
        let new = || Entry { interface: Interface::new(name), outbound: BTreeMap::new(), sas: 0 };
        self.interfaces.entry(name.into()).or_insert_with(new).interface.clone()
    }

    /// Forget `name` if nothing needs it any more.
    pub fn release(&mut self, name: &str) {
        let unused = |entry: &Entry| entry.interface.slot.load(Relaxed) == NO_SLOT && entry.sas == 0;
        if self.interfaces.get(name).is_some_and(unused) {
            self.interfaces.remove(name);
        }
    }

    /// Among an interface's outbound SAs the newest installed wins, and the one before it when that one goes (sec(4)).
    /// False when there is one of that name.
    pub fn insert(&mut self, sa: Arc<Sa>) -> bool {
        if self.sas.contains_key(&sa.id()) {
            return false;
        }
        self.installed += 1;
        self.put(self.installed, sa);
        true
    }

    pub fn remove(&mut self, id: &Id) -> Option<Arc<Sa>> {
        let (age, sa) = self.sas.remove(id)?;
        self.table.take(&sa);
        if let Some(entry) = self.interfaces.get_mut(&sa.iface.name) {
            entry.sas -= 1;
            if sa.outbound {
                entry.outbound.remove(&age);
                entry.choose();
            }
        }
        self.release(&sa.iface.name);
        Some(sa)
    }

    /// Put `sa` in the place of `old`, as old as that one was; false when another has its name.
    pub fn replace(&mut self, old: &Id, sa: Arc<Sa>) -> bool {
        if sa.id() != *old && self.sas.contains_key(&sa.id()) {
            return false;
        }
        let Some((age, before)) = self.sas.remove(old) else { return false };
        if let Some(entry) = self.interfaces.get_mut(&sa.iface.name) {
            entry.sas -= 1;
        }
        // The new one is there before the old one goes: no packet finds neither.
        self.put(age, sa.clone());
        if sa.id() != *old {
            self.table.take(&before);
        }
        true
    }

    fn put(&mut self, age: u64, sa: Arc<Sa>) {
        self.table.put(sa.clone());
        if let Some(entry) = self.interfaces.get_mut(&sa.iface.name) {
            entry.sas += 1;
            if sa.outbound {
                entry.outbound.insert(age, sa.clone());
                entry.choose();
            }
        }
        self.sas.insert(sa.id(), (age, sa));
    }
}

impl Entry {
    fn choose(&self) {
        self.interface.outbound.store(self.outbound.last_key_value().map(|(_, sa)| sa.clone()));
    }
}
