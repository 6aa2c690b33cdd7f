//! AES-CBC (RFC 3602) with an HMAC over header, IV and ciphertext.

use aes::cipher::block_padding::NoPadding;
use aes::cipher::generic_array::GenericArray;
use aes::cipher::{BlockCipher, BlockDecrypt, BlockDecryptMut, BlockEncrypt, BlockEncryptMut, InnerIvInit, KeyInit};
use aes::{Aes128, Aes192, Aes256};

use super::auth::{Auth, tail};
use super::{Forged, HEADER, Shape, Transform};
use crate::secret::Secret;

const BLOCK: usize = 16;

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

impl<C> Transform for Cbc<C>
where
    C: BlockCipher + BlockEncrypt + BlockDecrypt + aes::cipher::BlockSizeUser<BlockSize = aes::cipher::consts::U16>,
    C: Send + Sync,
{
    fn shape(&self) -> Shape {
        Shape { iv: BLOCK, icv: self.auth.icv(), align: BLOCK }
    }

    fn seal(&self, sequence: u64, packet: &mut [u8]) {
        let (signed, icv) = packet.split_at_mut(packet.len() - self.auth.icv());
        let (iv, text) = signed[HEADER..].split_at_mut(BLOCK);
        let mut block = GenericArray::from([0; BLOCK]);
        block[8..].copy_from_slice(&sequence.to_be_bytes());
        self.iv_cipher.encrypt_block(&mut block);
        iv.copy_from_slice(&block);
        let len = text.len();
        if cbc::Encryptor::<&C>::inner_iv_init(&self.cipher, &block).encrypt_padded_mut::<NoPadding>(text, len).is_err()
        {
            text.fill(0); // not a whole number of blocks, which `frame` never makes; plaintext must not leave
        }
        let (tail, len) = tail(sequence, self.esn);
        self.auth.sign(signed, &tail[..len], icv);
    }

    fn open(&self, sequence: u64, packet: &mut [u8]) -> Result<(), Forged> {
        let shape = self.shape();
        if packet.len() < shape.before() + shape.icv || (packet.len() - shape.before() - shape.icv) % BLOCK != 0 {
            return Err(Forged);
        }
        let (signed, icv) = packet.split_at_mut(packet.len() - shape.icv);
        let (tail, len) = tail(sequence, self.esn);
        self.auth.verify(signed, &tail[..len], icv)?;
        let (iv, text) = signed[HEADER..].split_at_mut(BLOCK);
        let iv = GenericArray::from_slice(iv);
        cbc::Decryptor::<&C>::inner_iv_init(&self.cipher, iv)
            .decrypt_padded_mut::<NoPadding>(text)
            .map(|_| ())
            .map_err(|_| Forged)
    }
}
