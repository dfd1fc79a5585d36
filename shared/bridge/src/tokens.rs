//! Which tokens have counted, until they end by themselves.

use crate::auth::CredentialError;
use crate::limits::{MAX_TOKENS, MAX_TOKENS_OF_STRANGERS, MAX_TOKENS_PER_KEY};
use crate::storage::{Journal, Table, decode};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use wardlink_crypto::token::Verified;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::identity::{KeyFingerprint, Sha256};

/// A token that has counted.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Token {
    once: Sha256,
    key: KeyFingerprint,
    /// Whether the control unit knew the key.
    is_known: bool,
    until: UnixMillis,
}

/// The tokens that have counted. They are bounded per key, and apart for keys that the control unit does not know: anybody can make
/// keys, and so tokens.
#[derive(Default)]
pub(crate) struct Tokens {
    by_number: BTreeMap<u64, Token>,
    counted: BTreeSet<Sha256>,
    ends: BTreeSet<(UnixMillis, u64)>,
    of_key: BTreeMap<KeyFingerprint, usize>,
    of_strangers: usize,
    last_number: u64,
}

impl Tokens {
    /// Counts a token, once.
    pub(crate) fn remember(
        &mut self,
        key: &KeyFingerprint,
        is_known: bool,
        verified: &Verified,
        now: UnixMillis,
        journal: &mut Journal,
    ) -> Result<(), CredentialError> {
        self.forget_ended(now, journal);
        if self.counted.contains(&verified.once) {
            return Err(CredentialError::Replayed);
        }
        let of_key = self.of_key.get(key).copied().unwrap_or(0);
        let has_room = if is_known {
            self.by_number.len() - self.of_strangers < MAX_TOKENS
        } else {
            self.of_strangers < MAX_TOKENS_OF_STRANGERS
        };
        if of_key >= MAX_TOKENS_PER_KEY || !has_room {
            return Err(CredentialError::TooManyTokens);
        }
        let number = self.last_number + 1;
        let token = Token { once: verified.once, key: *key, is_known, until: verified.until };
        journal.add(Table::Token, number, 0, &token);
        self.insert(number, token);
        Ok(())
    }

    fn insert(&mut self, number: u64, token: Token) {
        self.last_number = self.last_number.max(number);
        self.counted.insert(token.once);
        self.ends.insert((token.until, number));
        *self.of_key.entry(token.key).or_default() += 1;
        self.of_strangers += usize::from(!token.is_known);
        self.by_number.insert(number, token);
    }

    /// Forgets the tokens that would no longer be taken anyway.
    pub(crate) fn forget_ended(&mut self, now: UnixMillis, journal: &mut Journal) {
        while let Some((_, number)) = self.ends.first().copied().filter(|(end, _)| *end <= now) {
            self.ends.pop_first();
            journal.delete(Table::Token, number, 0);
            let Some(token) = self.by_number.remove(&number) else { continue };
            self.counted.remove(&token.once);
            self.of_strangers -= usize::from(!token.is_known);
            if let Some(count) = self.of_key.get_mut(&token.key) {
                *count -= 1;
                if *count == 0 {
                    self.of_key.remove(&token.key);
                }
            }
        }
    }

    /// When the next token ends.
    pub(crate) fn next_end(&self) -> Option<UnixMillis> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// Takes back a token from storage.
    pub(crate) fn restore(&mut self, number: u64, bytes: &[u8]) {
        if let Some(token) = decode::<Token>(bytes) {
            self.insert(number, token);
        }
    }
}
