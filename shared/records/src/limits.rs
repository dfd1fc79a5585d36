//! Every limit of stored data, in one place.

use core::time::Duration;
use wardlink_protocol::limits::MAX_CHANNEL_MESSAGE_BYTES;

/// The longest name of a kind, instrument, question, choice or rule, in bytes.
pub const MAX_NAME_BYTES: usize = 32;
/// The longest unit, in bytes.
pub const MAX_UNIT_BYTES: usize = 32;
/// The longest text that a person answers with, in bytes.
pub const MAX_ANSWER_BYTES: usize = 1000;
/// The largest number of a decimal without its point: 15 digits.
pub const MAX_MANTISSA: i64 = 999_999_999_999_999;
/// The most digits after a decimal's point.
pub const MAX_PLACES: u8 = 9;

/// The most records in one batch.
pub const MAX_BATCH_RECORDS: usize = 512;
/// The longest signed batch, in bytes: it fits, encrypted, into a message of a second channel, and into one of a gateway's session.
pub const MAX_BATCH_BYTES: usize = 48 * 1024;
/// How much of a signed batch its records may take, in bytes: the rest is names, hashes and the signature.
pub const MAX_BATCH_RECORD_BYTES: usize = MAX_BATCH_BYTES - 2 * 1024;
/// The longest receipt, in bytes: mostly certificates.
pub const MAX_RECEIPT_BYTES: usize = 16 * 1024;

/// The longest step or reason of a refusal, in bytes.
pub const MAX_REASON_BYTES: usize = 200;

/// The most chains of one device that the reader follows.
pub const MAX_CHAINS: usize = 256;
/// The most conceded gaps of one chain.
pub const MAX_GAPS: usize = 64;
/// How far a device's clock may be ahead of the reader's.
pub const MAX_CLOCK_AHEAD: Duration = Duration::from_mins(5);
/// How old a record may be when it is received.
pub const MAX_RECORD_AGE: Duration = Duration::from_hours(400 * 24);

/// How long a sender waits after the first failure; it doubles with each.
pub const FIRST_WAIT: Duration = Duration::from_mins(1);
/// The longest that a sender waits after failures.
pub const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// The shortest interval of a schedule.
pub const MIN_INTERVAL: Duration = Duration::from_mins(1);

/// The longest set of rules, in bytes of JSON.
pub const MAX_RULES_BYTES: usize = 256 * 1024;
/// The most rules of a set.
pub const MAX_RULES: usize = 256;
/// The longest message of a rule in one language, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 200;
/// The most choices that one rule names.
pub const MAX_RULE_CHOICES: usize = 32;
/// The longest duration or window of a rule.
pub const MAX_RULE_TIME: Duration = Duration::from_hours(90 * 24);
/// How late a record may come and still count in its place, by the records' own times.
pub const LATENESS: Duration = Duration::from_hours(24);
/// The most records of one rule and patient that wait for later ones.
pub const MAX_UNSETTLED: usize = 512;
/// The most records that a trend looks back on.
pub const MAX_LOOKBACK: usize = 512;
/// The most pairs of rule and patient that one device's state has; the one that was used least recently makes room.
pub const MAX_RULE_STATES: usize = 1024;
/// The most records that a flag names from its beginning; the last one is named, too.
pub const MAX_FLAG_RECORDS: usize = 16;

/// The most buckets of a plot.
pub const MAX_BUCKETS: usize = 2000;
/// The most rows that an outside database is sent at once.
pub const MAX_OUTLET_ROWS: u64 = 500;

const _: () = assert!(MAX_BATCH_BYTES + 4 * 1024 < MAX_CHANNEL_MESSAGE_BYTES);
