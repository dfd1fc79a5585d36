//! An image as it arrives (Uptane 5.4.2.4 and 5.4.3.4 step 7).

use crate::metadata::{Target, TargetCheck};

/// What is wrong with an image. It is thrown away, and asked for again (figure 12, 261).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// It does not end where it should (an endless data attack).
    #[error("it is longer than listed")]
    TooLong,
    /// It ends too early.
    #[error("it is shorter than listed")]
    TooShort,
    /// Its hash is another.
    #[error("its hash is not the listed one")]
    Hash,
}

/// An image on its way: no more than its length is taken.
pub struct Delivery<'a> {
    check: TargetCheck<'a>,
    left: u64,
}

impl<'a> Delivery<'a> {
    /// Begins with no bytes.
    pub fn new(target: &'a Target) -> Self {
        Self { check: TargetCheck::new(target), left: target.length }
    }

    /// How many bytes are still missing: the most to ask for.
    pub const fn left(&self) -> u64 {
        self.left
    }

    /// Takes the next bytes.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), Corrupt> {
        let length = u64::try_from(bytes.len()).map_err(|_| Corrupt::TooLong)?;
        self.left = self.left.checked_sub(length).ok_or(Corrupt::TooLong)?;
        self.check.update(bytes);
        Ok(())
    }

    /// Whether it was the whole image: its length and every hash whose algorithm we know (5.4.3.4 step 7).
    pub fn finish(self) -> Result<(), Corrupt> {
        if self.left > 0 {
            return Err(Corrupt::TooShort);
        }
        if self.check.finish() { Ok(()) } else { Err(Corrupt::Hash) }
    }
}
