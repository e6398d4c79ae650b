//! Maps whose keys are ids: small numbers that the house or the application chose, so that a hash need not defend itself
//! and one multiplication spreads them.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map from ids ([`PersonId`](crate::PersonId), [`EnvelopeId`](crate::EnvelopeId)).
///
/// ```
/// use worksite_model::{IdMap, PersonId};
///
/// let mut ages: IdMap<PersonId, u32> = IdMap::default();
/// ages.insert(PersonId(7), 42);
/// assert_eq!(ages.get(&PersonId(7)), Some(&42));
/// ```
pub type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// Hashes one number.
#[derive(Debug, Default, Clone, Copy)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for word in bytes.chunks(8) {
            let mut number = [0; 8];
            number[..word.len()].copy_from_slice(word);
            self.write_u64(u64::from_le_bytes(number));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let whole = folded(self.0 ^ number);
        // Its place comes from the low bits: neighbours stay together, sixteen at a time (a table's group), so that who goes
        // through the people in order goes through memory in order. Its tag comes from the high ones.
        let block = folded(self.0 ^ (number >> 4));
        self.0 = (whole & TAG) | ((block << 4 | (number & 0xF)) & !TAG);
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(u64::from(number));
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number.cast_unsigned() as u64);
    }

    fn write_i64(&mut self, number: i64) {
        self.write_u64(number.cast_unsigned());
    }
}

/// The bits of a hash that tell apart what has come to the same place.
const TAG: u64 = 0xFE00_0000_0000_0000;

fn folded(number: u64) -> u64 {
    let product = u128::from(number ^ 0x9E37_79B9_7F4A_7C15) * 0xD6E8_FEB8_6659_FD93_u128;
    (product as u64) ^ ((product >> 64) as u64)
}
