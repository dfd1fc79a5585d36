//! The header of a delta and its controls, checked before the delta is applied.

use crate::ApplyError;
use bzip2::read::BzDecoder;
use std::io::Read;

/// `BSDIFF40`, and three lengths.
const HEADER_BYTES: u64 = 32;
const MAGIC: &[u8] = b"BSDIFF40";
/// A control: so much to add to the old file's bytes, so much to take as it is, and where the old file goes on.
const CONTROL_BYTES: usize = 24;
/// A delta has no more controls than one for this many bytes of the result: more would only cost time.
const BYTES_PER_CONTROL: u64 = 4;
/// So many controls every delta may have.
const MIN_CONTROLS: u64 = 16;

/// What has been followed of a delta's controls.
pub(crate) struct Controls {
    /// The place in the old file.
    at: u64,
    /// The length of the result so far.
    made: u64,
    old_length: u64,
    new_length: u64,
}

impl Controls {
    /// Follows all controls: every byte of the old file that is asked for is there, and together they make the new length.
    pub(crate) fn check(delta: &[u8], old_length: u64, new_length: u64) -> Result<(), ApplyError> {
        let mut decoder = BzDecoder::new(stream(delta, new_length)?);
        let mut controls = Self { at: 0, made: 0, old_length, new_length };
        let most = new_length.div_euclid(BYTES_PER_CONTROL).saturating_add(MIN_CONTROLS);
        let mut count = 0_u64;
        let mut control = [0; CONTROL_BYTES];
        while fill(&mut decoder, &mut control)? {
            count = count.saturating_add(1);
            if count > most {
                return Err(ApplyError::Damaged("it has too many controls"));
            }
            controls.follow(&control)?;
        }
        if controls.made != new_length {
            return Err(ApplyError::Length { wanted: new_length, found: controls.made });
        }
        Ok(())
    }

    fn follow(&mut self, control: &[u8; CONTROL_BYTES]) -> Result<(), ApplyError> {
        let damaged = || ApplyError::Damaged("a control leads out of the file");
        let [add, copy, seek] = [0, 8, 16].map(|at| number(control, at));
        let unsigned = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok()).ok_or_else(damaged);
        let (add, copy) = (unsigned(add)?, unsigned(copy)?);
        let end = self.at.checked_add(add).filter(|end| *end <= self.old_length).ok_or_else(damaged)?;
        let made = self.made.checked_add(add).and_then(|made| made.checked_add(copy)).ok_or_else(damaged)?;
        if made > self.new_length {
            return Err(ApplyError::Length { wanted: self.new_length, found: made });
        }
        self.made = made;
        let next = seek.and_then(|seek| end.checked_add_signed(seek)).ok_or_else(damaged)?;
        self.at = next;
        Ok(())
    }
}

/// The controls' stream, where the header is sound.
fn stream(delta: &[u8], new_length: u64) -> Result<&[u8], ApplyError> {
    let damaged = ApplyError::Damaged("it has no header of a delta");
    let lengths = [8, 16, 24].map(|at| number(delta, at).and_then(|length| u64::try_from(length).ok()));
    let (Some(magic), [Some(controls), Some(differences), Some(found)]) = (delta.get(..MAGIC.len()), lengths) else {
        return Err(damaged);
    };
    let end = HEADER_BYTES.checked_add(controls).and_then(|end| end.checked_add(differences));
    let is_inside = end.is_some_and(|end| end <= crate::length(delta));
    let Some((_, rest)) = delta.split_at_checked(usize::try_from(HEADER_BYTES).unwrap_or(usize::MAX)) else {
        return Err(damaged);
    };
    if magic != MAGIC || !is_inside {
        return Err(damaged);
    }
    if found != new_length {
        return Err(ApplyError::Length { wanted: new_length, found });
    }
    usize::try_from(controls).ok().and_then(|controls| rest.get(..controls)).ok_or(damaged)
}

/// A number at a place: seven and a half bytes, the lowest first, and a sign.
fn number(bytes: &[u8], at: usize) -> Option<i64> {
    const SIGN: u64 = 1 << 63;
    let bytes: [u8; 8] = bytes.get(at..at.checked_add(8)?)?.try_into().ok()?;
    let number = u64::from_le_bytes(bytes);
    let size = i64::try_from(number & !SIGN).ok()?;
    Some(if number & SIGN == 0 { size } else { size.wrapping_neg() })
}

/// Reads a whole control; false at the end of the stream.
fn fill(source: &mut impl Read, control: &mut [u8; CONTROL_BYTES]) -> Result<bool, ApplyError> {
    let mut filled = 0;
    while let Some(rest) = control.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest)? {
            0 if filled == 0 => return Ok(false),
            0 => return Err(ApplyError::Damaged("its controls end early")),
            length => filled = filled.saturating_add(length),
        }
    }
    Ok(true)
}
