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
/// The longest chain above a holder's certificate, in bytes: twice in a pairing command, and once in a proof, it leaves room for the rest.
pub const MAX_ISSUERS_BYTES: usize = 4 * 1024;
/// The longest answer of a CA outside with certificates, base64, in bytes.
pub const MAX_CERTIFICATES_BYTES: usize = 64 * 1024;
/// The most certificates in such an answer.
pub const MAX_CERTIFICATES: usize = 32;
/// The deepest nesting that the CBOR decoder follows.
pub const MAX_CBOR_DEPTH: usize = 16;
/// The longest MQTT topic or topic filter, in bytes.
pub const MAX_TOPIC_BYTES: usize = 256;
/// The most channels that one device is given.
pub const MAX_CHANNELS_PER_DEVICE: usize = 16;

/// The shortest time that one network key may be used, in seconds: an hour, far longer than [`KEY_OVERLAP`].
pub const MIN_ROTATION_SECS: u64 = 60 * 60;
/// The longest time that one network key may be used, in seconds: 90 days.
pub const MAX_ROTATION_SECS: u64 = 90 * 24 * 60 * 60;
/// How long the epoch before is still accepted after a rotation, by the bridge's time.
pub const KEY_OVERLAP: Duration = Duration::from_mins(10);
/// How long a key is kept for messages that were stamped while it was accepted: the longest that a durable log waits for its readers.
pub const KEY_RETENTION: Duration = Duration::from_hours(7 * 24);
/// The most epochs of one key that can be read at once; the oldest ends before there are more.
pub const MAX_READABLE_EPOCHS: usize = 64;
/// The most ended epochs of one key that are remembered by their ids.
pub const MAX_RETIRED_EPOCHS: usize = 64;
/// How far the clocks of the bridge and of the control unit may differ.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_mins(1);
/// How far above the control unit's own epoch a device's may be, so that the control unit follows it: after a snapshot was restored.
pub const MAX_EPOCH_LEAD: u64 = 1 << 20;
/// The longest key update, or a device's answer to it, in bytes.
pub const MAX_KEY_MESSAGE_BYTES: usize = 4 * 1024;
/// The most keys of one channel of a device that its gateway is given at once: the newest ones.
pub const MAX_ASSOCIATED_KEYS: usize = 4;
/// The longest message of a renewal or of a decommissioning, in bytes.
pub const MAX_RENEWAL_MESSAGE_BYTES: usize = 16 * 1024;
/// The longest certificate revocation list, DER, in bytes.
pub const MAX_CRL_BYTES: usize = 1024 * 1024;
/// The most certificates on a revocation list.
pub const MAX_CRL_ENTRIES: usize = 20_000;

/// The most channels of classes that one service reads and writes together: its subscriptions fit into one session.
pub const MAX_SERVICE_CHANNELS: usize = 32;
/// The most services of a site, those that are revoked not counted.
pub const MAX_SERVICES: usize = 100;
/// The longest enrolment text without its beginning, in characters.
pub const MAX_TICKET_BYTES: usize = 256;
/// How long an enrolment text counts.
pub const ENROLMENT_LIFETIME: Duration = Duration::from_mins(15);
/// Messages under another key that end an enrolment.
pub const MAX_WRONG_ENROLMENTS: u32 = 5;
/// The longest message of an enrolment, in bytes.
pub const MAX_ENROLMENT_MESSAGE_BYTES: usize = 16 * 1024;
/// The longest question of a service for keys, in bytes.
pub const MAX_KEYS_ASKED_BYTES: usize = 1024;
/// The longest answer to it, in bytes: two lines with every epoch that can be read.
pub const MAX_SERVICE_KEYS_BYTES: usize = 128 * 1024;

/// The longest answer to a question for stored data, in bytes: 500 records, each with the longest text.
pub const MAX_RECORDS_FED_BYTES: usize = 1024 * 1024;

/// The longest message of a gateway's session before it is encrypted, in bytes: the longest configuration report, and what stands around it.
pub const MAX_SESSION_MESSAGE_BYTES: usize = 1_010_000;
/// The longest frame of a session, in bytes: such a message, encrypted. The platform takes 1 MiB.
pub const MAX_SESSION_FRAME_BYTES: usize = MAX_SESSION_MESSAGE_BYTES + 1024;
/// The longest message of a session's handshake, in bytes.
pub const MAX_HANDSHAKE_BYTES: usize = 20 * 1024;
/// The longest director's root that a device is given, with its envelope, in bytes: the longest root metadata, and what stands around it.
pub const MAX_DIRECTOR_ROOT_BYTES: usize = 512_000 + 20 * 1024;
/// The length of a poll's ticket, in bytes.
pub const POLL_TICKET_BYTES: usize = 32;

/// How long each part of a published file is but the last, in bytes: the shortest that the platform puts together.
pub const PUBLISHED_PART_BYTES: u64 = 5 * 1024 * 1024;
/// The longest file that is published, in bytes: as long as the longest image that deltas lead to.
pub const MAX_PUBLISHED_BYTES: u64 = 256 * 1024 * 1024;
/// The most files of one publication, metadata included.
pub const MAX_PUBLISHED_FILES: usize = 10_000;

/// The longest that an order can be carried out after it was given: a day.
pub const MAX_ORDER_LIFETIME: Duration = Duration::from_hours(24);
/// The shortest interval of measurements that can be ordered, in seconds.
pub const MIN_INTERVAL_SECS: u32 = 1;
/// The longest interval of measurements that can be ordered, in seconds: a quarter of an hour.
pub const MAX_INTERVAL_SECS: u32 = 15 * 60;
/// The most orders that a device remembers; more are refused until some have ended.
pub const MAX_KNOWN_ORDERS: usize = 256;
/// The most of them that services have given: the rest is the control unit's, so that people are heard whatever services send.
pub const MAX_KNOWN_SERVICE_ORDERS: usize = 192;
/// How long a device remembers an order after its end: longer than clocks differ.
pub const ORDER_MEMORY: Duration = Duration::from_hours(1);
/// Of how many who write to it a device remembers what has counted.
pub const MAX_GIVERS: usize = 64;
/// The most orders of one device that wait for their outcome at the control unit: of people, and as many of services.
pub const MAX_WAITING_ORDERS: usize = 32;
/// The most orders of one device that the control unit keeps of people, and as many of services, so that neither displace the others';
/// those that ended first go first.
pub const MAX_KEPT_ORDERS: u64 = 50;

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

/// The highest number that whoever stores or reads numbers as binary64 has exactly (RFC 8259 section 6).
pub const MAX_INTEGER: u64 = (1 << 53) - 1;
