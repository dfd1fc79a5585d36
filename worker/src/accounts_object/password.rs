//! Passwords: argon2id with 19 MiB and two passes (RFC 9106; the least of the OWASP recommendations), one at a time.

use argon2::password_hash::{Error, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use core::cell::Cell;
use rand_core::Rng;
use wardlink_edge::platform::rng;
use wardlink_edge::problem::Failure;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::api::ProblemKind;
use wardlink_protocol::limits::{MAX_PASSWORD_BYTES, MIN_PASSWORD_CHARS};

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const SALT_BYTES: usize = 16;
/// How long the tag is that the work for an unknown name yields, in bytes.
const TAG_BYTES: usize = 32;
/// Attempts per second of all people together: they leave most of the object's time to everything else.
const ATTEMPTS_PER_SECOND: u32 = 5;

/// Makes and compares password hashes. The object has one thread, so that there is one at a time.
#[derive(Default)]
pub(super) struct Hashing {
    /// The second in which attempts are counted, and how many there were.
    recent: Cell<(u64, u32)>,
}

impl Hashing {
    /// Refuses an attempt where the object would do nothing but hash.
    pub(super) fn admit(&self, now: UnixMillis) -> Result<(), Failure> {
        let (second, count) = self.recent.get();
        let count = if second == now.as_secs() { count } else { 0 };
        if count >= ATTEMPTS_PER_SECOND {
            return Err(Failure::too_many(1));
        }
        self.recent.set((now.as_secs(), count.saturating_add(1)));
        Ok(())
    }

    /// The PHC string of a new password.
    #[expect(clippy::unused_self, reason = "hashing belongs to who counts it")]
    pub(super) fn hash(&self, password: &str) -> Result<String, Failure> {
        if password.chars().count() < MIN_PASSWORD_CHARS || password.len() > MAX_PASSWORD_BYTES {
            let detail =
                format!("Take at least {MIN_PASSWORD_CHARS} characters, and at most {MAX_PASSWORD_BYTES} bytes.");
            return Err(Failure::with_detail(ProblemKind::WeakPassword, detail));
        }
        let mut salt = [0; SALT_BYTES];
        rng().fill_bytes(&mut salt);
        let hash = argon2id()?.hash_password_with_salt(password.as_bytes(), &salt).map_err(Failure::internal)?;
        Ok(hash.to_string())
    }

    /// Whether the password fits. An unknown name costs the same time.
    #[expect(clippy::unused_self, reason = "hashing belongs to who counts it")]
    pub(super) fn verify(&self, password: &str, stored: Option<&str>) -> Result<bool, Failure> {
        if password.len() > MAX_PASSWORD_BYTES {
            return Ok(false);
        }
        let Some(stored) = stored else {
            let mut tag = [0; TAG_BYTES];
            let work = argon2id()?.hash_password_into(password.as_bytes(), &[0; SALT_BYTES], &mut tag);
            return work.map(|()| false).map_err(Failure::internal);
        };
        match argon2id()?.verify_password(password.as_bytes(), stored) {
            Ok(()) => Ok(true),
            Err(Error::PasswordInvalid) => Ok(false),
            Err(error) => Err(Failure::internal(error)),
        }
    }
}

fn argon2id() -> Result<Argon2<'static>, Failure> {
    let parameters = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(Failure::internal)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters))
}
