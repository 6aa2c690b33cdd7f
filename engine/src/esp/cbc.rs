//! AES-CBC (RFC 3602) with an HMAC over header, IV and ciphertext.
//!
//! A packet's blocks hang on each other, so several packets are encrypted side by side: the processor works on eight
//! blocks in the time of one.

use aes::cipher::block_padding::NoPadding;
use aes::cipher::generic_array::GenericArray;
use aes::cipher::{BlockCipher, BlockDecrypt, BlockDecryptMut, BlockEncrypt, InnerIvInit, KeyInit};
use aes::{Aes128, Aes192, Aes256};

use super::auth::Auth;
use super::{Forged, HEADER, Opening, Shape, Transform};
use crate::secret::Secret;

const BLOCK: usize = 16;
/// Packets encrypted side by side.
const LANES: usize = 8;

type Block = GenericArray<u8, aes::cipher::consts::U16>;

pub struct Cbc<C> {
    cipher: Secret<C>,
    /// Makes IVs that nobody can foretell: sequence numbers encrypted under a random key of their own
    /// (NIST SP 800-38A, appendix C).
    iv_cipher: Secret<Aes128>,
    auth: Auth,
    esn: bool,
}

impl<C: KeyInit> Cbc<C> {
    fn new(key: &[u8], iv_key: &[u8; BLOCK], auth: Auth, esn: bool) -> Option<Self> {
        Some(Self {
            cipher: Secret::new(C::new_from_slice(key).ok()?),
            iv_cipher: Secret::new(Aes128::new(iv_key.into())),
            auth,
            esn,
        })
    }
}

/// AES-CBC with the length of `key`; `iv_key` is random and the SA's own.
pub fn aes_cbc(key: &[u8], iv_key: &[u8; BLOCK], auth: Auth, esn: bool) -> Option<Box<dyn Transform>> {
    Some(match key.len() {
        16 => Box::new(Cbc::<Aes128>::new(key, iv_key, auth, esn)?),
        24 => Box::new(Cbc::<Aes192>::new(key, iv_key, auth, esn)?),
        32 => Box::new(Cbc::<Aes256>::new(key, iv_key, auth, esn)?),
        _ => return None,
    })
}

impl<C> Cbc<C>
where
    C: BlockCipher + BlockEncrypt + BlockDecrypt + aes::cipher::BlockSizeUser<BlockSize = aes::cipher::consts::U16>,
{
    /// Encrypt the texts of `lanes`, none longer than the one before it, and write their IVs.
    fn encrypt(&self, first: u64, lanes: &mut [&mut [u8]]) {
        let end = self.auth.icv();
        let mut chain = [Block::default(); LANES];
        for (sequence, block) in (first..).zip(&mut chain) {
            block[8..].copy_from_slice(&sequence.to_be_bytes());
        }
        self.iv_cipher.encrypt_blocks(&mut chain[..lanes.len()]);
        for (lane, iv) in lanes.iter_mut().zip(&chain) {
            lane[HEADER..HEADER + BLOCK].copy_from_slice(iv);
        }
        let mut active = lanes.len();
        let mut at = HEADER + BLOCK;
        loop {
            while active > 0 && lanes[active - 1].len() < at + BLOCK + end {
                active -= 1;
            }
            if active == 0 {
                return;
            }
            for (lane, block) in lanes[..active].iter().zip(&mut chain) {
                if let Some(text) = lane[at..].first_chunk::<BLOCK>() {
                    let mixed = u128::from_ne_bytes(*text) ^ u128::from_ne_bytes((*block).into());
                    *block = mixed.to_ne_bytes().into();
                }
            }
            self.cipher.encrypt_blocks(&mut chain[..active]);
            for (lane, block) in lanes[..active].iter_mut().zip(&chain) {
                if let Some(text) = lane[at..].first_chunk_mut::<BLOCK>() {
                    *text = (*block).into();
                }
            }
            at += BLOCK;
        }
    }

    fn decrypt(&self, packet: &mut [u8]) -> Result<(), Forged> {
        let end = packet.len() - self.auth.icv();
        let (iv, text) = packet[HEADER..end].split_at_mut(BLOCK);
        cbc::Decryptor::<&C>::inner_iv_init(&self.cipher, GenericArray::from_slice(iv))
            .decrypt_padded_mut::<NoPadding>(text)
            .map(|_| ())
            .map_err(|_| Forged)
    }

    fn is_whole(&self, octets: usize) -> bool {
        let around = HEADER + BLOCK + self.auth.icv();
        octets >= around && (octets - around) % BLOCK == 0
    }
}

impl<C> Transform for Cbc<C>
where
    C: BlockCipher + BlockEncrypt + BlockDecrypt + aes::cipher::BlockSizeUser<BlockSize = aes::cipher::consts::U16>,
    C: Send + Sync,
{
    fn shape(&self) -> Shape {
        Shape { iv: BLOCK, icv: self.auth.icv(), align: BLOCK }
    }

    fn seal(&self, sequence: u64, packet: &mut [u8]) {
        self.encrypt(sequence, &mut [&mut *packet]);
        self.auth.sign([packet], [sequence], self.esn);
    }

    fn open(&self, sequence: u64, packet: &mut [u8]) -> Result<(), Forged> {
        if !self.is_whole(packet.len()) {
            return Err(Forged);
        }
        let [verdict] = self.auth.verify([&*packet], [sequence], self.esn);
        verdict.and_then(|()| self.decrypt(packet))
    }

    fn seal_run(&self, first: u64, stride: usize, packets: &mut [u8]) {
        for (sequence, group) in (first..).step_by(LANES).zip(packets.chunks_mut(stride * LANES)) {
            let mut lanes: [&mut [u8]; LANES] = Default::default();
            let mut count = 0;
            for (lane, packet) in lanes.iter_mut().zip(group.chunks_mut(stride)) {
                *lane = packet;
                count += 1;
            }
            self.encrypt(sequence, &mut lanes[..count]);
            for (sequence, pair) in (sequence..).step_by(2).zip(lanes[..count].chunks_mut(2)) {
                match pair {
                    [a, b] => self.auth.sign([&mut **a, &mut **b], [sequence, sequence + 1], self.esn),
                    [a] => self.auth.sign([&mut **a], [sequence], self.esn),
                    _ => (),
                }
            }
        }
    }

    fn open_run(&self, arena: &mut [u8], packets: &mut [Opening]) {
        for packet in packets.iter_mut().filter(|packet| !self.is_whole(packet.place.len())) {
            packet.sequence = None;
        }
        self.auth.verify_run(arena, packets, self.esn);
        for packet in packets.iter_mut().filter(|packet| packet.sequence.is_some()) {
            if self.decrypt(&mut arena[packet.place.clone()]).is_err() {
                packet.sequence = None;
            }
        }
    }
}
