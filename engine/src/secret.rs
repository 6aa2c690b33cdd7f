//! Key material that is wiped when it goes.

use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

/// Expanded key material on the heap, overwritten with zeros when dropped.
///
/// The cipher crates wipe only some of their states; here the octets of the state itself are wiped, whatever it is.
pub struct Secret<T>(Box<ManuallyDrop<T>>);

impl<T> Secret<T> {
    pub fn new(state: T) -> Self {
        Self(Box::new(ManuallyDrop::new(state)))
    }
}

impl<T> Deref for Secret<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Secret<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Drop for Secret<T> {
    fn drop(&mut self) {
        let state: *mut ManuallyDrop<T> = &mut *self.0;
        // SAFETY: the state is dropped once, here, and its memory, which nothing reads any more, is then
        // overwritten before the box frees it.
        unsafe {
            ManuallyDrop::drop(&mut *state);
            let octets = std::slice::from_raw_parts_mut(state.cast::<u8>(), size_of::<T>());
            zeroize::Zeroize::zeroize(octets);
        }
    }
}
