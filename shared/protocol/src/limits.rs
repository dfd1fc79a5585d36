//! Every limit of the protocol, in one place.

use core::time::Duration;

/// The longest client class or client identifier, in bytes.
pub const MAX_NAME_BYTES: usize = 32;
/// The longest text in a device's information, in bytes.
pub const MAX_TEXT_BYTES: usize = 128;
/// The longest bed, location or reason that a person types, in bytes.
pub const MAX_NOTE_BYTES: usize = 200;
/// The longest pairing message (its whole COSE envelope), in bytes.
pub const MAX_PAIRING_MESSAGE_BYTES: usize = 16 * 1024;
/// The longest protected message on a second channel, in bytes.
pub const MAX_CHANNEL_MESSAGE_BYTES: usize = 64 * 1024;
/// The longest authentication data in MQTT's CONNECT and AUTH packets, in bytes.
pub const MAX_AUTHENTICATION_BYTES: usize = 8 * 1024;
/// The longest certificate or certification request, DER, in bytes.
pub const MAX_CERTIFICATE_BYTES: usize = 4 * 1024;
/// The most certificates in one chain.
pub const MAX_CHAIN_LENGTH: usize = 4;
/// The deepest nesting that the CBOR decoder follows.
pub const MAX_CBOR_DEPTH: usize = 16;
/// The longest MQTT topic or topic filter, in bytes.
pub const MAX_TOPIC_BYTES: usize = 256;
/// The most channels that one device is given.
pub const MAX_CHANNELS_PER_DEVICE: usize = 16;

/// Wrong verification attempts that end a pairing.
pub const MAX_WRONG_ATTEMPTS: u32 = 3;
/// Failed sessions of one identifier within [`LOCK_WINDOW`] that lock it.
pub const MAX_FAILED_SESSIONS: usize = 5;
/// The time over which failed sessions of one identifier are counted.
pub const LOCK_WINDOW: Duration = Duration::from_hours(24);
/// How long a request waits for a person, unless the site's settings say otherwise.
pub const REQUEST_LIFETIME: Duration = Duration::from_mins(15);
/// How long an accepted pairing waits for its verification, unless the site's settings say otherwise.
pub const VERIFICATION_LIFETIME: Duration = Duration::from_mins(3);
/// Wrong answers entered at a device without CertCA that end its pairing.
pub const MAX_WRONG_ANSWERS: u32 = 3;
/// How long a device without CertCA follows a command before it gives up: the verification, and the way back to it with the answer.
pub const ANSWER_LIFETIME: Duration = Duration::from_mins(30);
/// The longest content of a printed label, in bytes: as text it fits a QR code that a phone reads from paper.
pub const MAX_LABEL_BYTES: usize = 512;
/// The longest that a policy lets a request wait for a person, in minutes: a day.
pub const MAX_REQUEST_MINUTES: u32 = 24 * 60;
/// The longest that a policy lets an accepted pairing wait for its verification, in minutes: it leaves a device without CertCA half
/// of [`ANSWER_LIFETIME`] for the way back to it.
pub const MAX_VERIFICATION_MINUTES: u32 = 15;
/// The longest that devices may ask under one access secret, in days.
pub const MAX_SECRET_DAYS: u32 = 10 * 365;
/// The most device classes of a site.
pub const MAX_CLASSES: usize = 256;
/// The most devices in one request to revoke.
pub const MAX_REVOKED_AT_ONCE: usize = 100;
/// The most networks that a policy calls secured.
pub const MAX_SECURED_NETWORKS: usize = 64;
/// The most rules of acceptance without a person.
pub const MAX_ACCEPTANCE_RULES: usize = 32;
/// How many of the serial number's last characters a policy can ask for.
pub const SERIAL_ENDING_CHARS: usize = 4;
/// How long the device can still read its T2 after an abort, to fetch the reason.
pub const CLOSING_TIME: Duration = Duration::from_mins(1);

/// The shortest password of a person, in characters (NIST SP 800-63B: at least 8; 12 without a second factor).
pub const MIN_PASSWORD_CHARS: usize = 12;
/// The longest password, in bytes: more is refused rather than cut.
pub const MAX_PASSWORD_BYTES: usize = 256;
