//! NULL encryption (RFC 2410) with an HMAC: for tests and for looking into packets.

use super::auth::{Auth, tail};
use super::{Forged, HEADER, Shape, Transform};

pub struct Null {
    auth: Auth,
    esn: bool,
}

impl Null {
    pub fn new(auth: Auth, esn: bool) -> Self {
        Self { auth, esn }
    }
}

impl Transform for Null {
    fn shape(&self) -> Shape {
        Shape { iv: 0, icv: self.auth.icv(), align: 4 }
    }

    fn seal(&self, sequence: u64, packet: &mut [u8]) {
        let (signed, icv) = packet.split_at_mut(packet.len() - self.auth.icv());
        let (tail, len) = tail(sequence, self.esn);
        self.auth.sign(signed, &tail[..len], icv);
    }

    fn open(&self, sequence: u64, packet: &mut [u8]) -> Result<(), Forged> {
        if packet.len() < HEADER + self.auth.icv() {
            return Err(Forged);
        }
        let (signed, icv) = packet.split_at(packet.len() - self.auth.icv());
        let (tail, len) = tail(sequence, self.esn);
        self.auth.verify(signed, &tail[..len], icv)
    }
}
