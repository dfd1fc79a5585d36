//! Every bound of the bridge, in one place.

use core::time::Duration;
use wardlink_protocol::limits::{MAX_AUTHENTICATION_BYTES, MAX_CHANNEL_MESSAGE_BYTES};

/// The longest MQTT packet that the bridge takes from a client that has proved who it is, in bytes.
pub const MAX_PACKET_BYTES: usize = MAX_CHANNEL_MESSAGE_BYTES + 8 * 1024;
/// The longest MQTT packet before the client has proved who it is, in bytes.
pub const MAX_FIRST_PACKET_BYTES: usize = MAX_AUTHENTICATION_BYTES + 2 * 1024;
/// The longest MQTT client identifier, in bytes.
pub const MAX_CLIENT_ID_BYTES: usize = 128;
/// The longest WebSocket frame that the bridge sends, in bytes (unless one packet is longer).
pub const MAX_FRAME_BYTES: usize = 256 * 1024;
/// The longest attachment of a connection, in bytes; longer state goes to storage. (The platform's bound is 16 KiB.)
pub const MAX_ATTACHMENT_BYTES: usize = 12 * 1024;

/// Bytes of a begun packet that stay with the attachment; more of them go to storage, so many at a time.
pub const PIECE_BYTES: usize = 4 * 1024;

/// QoS 1 messages that a client may have unacknowledged at the bridge (MQTT 5.0 section 3.2.2.3.3).
pub const RECEIVE_MAXIMUM: u16 = 256;
/// QoS 1 messages that the bridge has unacknowledged at one client, whatever the client allows.
pub const MAX_INFLIGHT: u16 = 128;
/// Topic aliases that a client may set on one connection.
pub const TOPIC_ALIAS_MAXIMUM: u16 = 16;
/// The longest interval without a packet of the client, in seconds: long, because each ping wakes the object.
pub const SERVER_KEEP_ALIVE_SECS: u16 = 600;
/// How long a connection may take until the client has proved who it is.
pub const AUTHENTICATION_TIME: Duration = Duration::from_secs(20);

/// How often the site is told that a barred key tries to come back; what happens in between is told together.
pub const ATTEMPT_INTERVAL: Duration = Duration::from_secs(10);

/// Connections at one time.
pub const MAX_CONNECTIONS: usize = 30_000;
/// Connections at one time from one address, where addresses are known.
pub const MAX_CONNECTIONS_PER_ADDRESS: usize = 2_000;
/// Sessions of one key.
pub const MAX_SESSIONS_PER_KEY: usize = 4;
/// Sessions in all.
pub const MAX_SESSIONS: usize = 60_000;
/// How long the session of a key with a grant outlives its connection, at most, in seconds.
pub const MAX_SESSION_EXPIRY_SECS: u32 = 7 * 24 * 60 * 60;
/// How long the session of an unknown key outlives its connection, at most, in seconds.
pub const MAX_UNKNOWN_SESSION_EXPIRY_SECS: u32 = 60;
/// Subscriptions of one session.
pub const MAX_SUBSCRIPTIONS: usize = 64;
/// Messages that wait for one session.
pub const MAX_QUEUE: usize = 1_000;
/// Bytes sent to a client since it was last heard, beyond which it gets no QoS 0 messages.
pub const MAX_UNHEARD_BYTES: usize = 4 * 1024 * 1024;
/// Stored messages that wait for the control unit; beyond it publishers are told to try again.
pub const MAX_CONTROL_UNIT_QUEUE: usize = 20_000;
/// Bytes of messages that are kept at all, beyond which publishers are told to try again.
pub const MAX_KEPT_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of messages that are kept at all, beyond which what a client sends is queued for no other client: the control unit comes
/// first.
pub const MAX_READERS_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of messages that are kept at all, beyond which nothing more is queued for sessions: an object has 128 MB of memory.
pub const MAX_QUEUED_BYTES: usize = 40 * 1024 * 1024;
/// Bytes of begun packets on all connections together, beyond which a connection that begins another one is closed.
pub const MAX_BEGUN_BYTES: usize = 16 * 1024 * 1024;
/// QoS 0 messages that wait for the control unit; beyond it the oldest is lost.
pub const MAX_VOLATILE_QUEUE: usize = 2_000;
/// Messages in one request to the control unit.
pub const MAX_CONTROL_UNIT_BATCH: usize = 200;
/// Bytes of payload in one request to the control unit.
pub const MAX_CONTROL_UNIT_BATCH_BYTES: usize = 1024 * 1024;

/// Sequence numbers of a topic that are reserved with one write.
pub const SEQUENCE_BLOCK: u64 = 256;

/// Tokens of one key that are remembered until they end, 10 minutes at most: a client connects with a new one each time.
pub const MAX_TOKENS_PER_KEY: usize = 100;
/// Tokens that are remembered, of keys that the control unit knows.
pub const MAX_TOKENS: usize = 60_000;
/// Tokens that are remembered, of all other keys.
pub const MAX_TOKENS_OF_STRANGERS: usize = 20_000;

/// Requests on T1 that a bare key may send at once.
pub const KEY_BURST: u32 = 10;
/// The time in which a bare key regains one request on T1.
pub const KEY_REFILL: Duration = Duration::from_secs(6);
/// Requests on T1 that may come from one address at once.
pub const ADDRESS_BURST: u32 = 300;
/// The time in which an address regains one request on T1.
pub const ADDRESS_REFILL: Duration = Duration::from_millis(50);
/// How long a key is not heard on T1 after the control unit found that it sent junk.
pub const JUNK_BLOCK: Duration = Duration::from_mins(10);
/// Token buckets that are kept for keys, and as many for addresses; the fullest are forgotten first.
pub const MAX_BUCKETS: usize = 10_000;
/// Requests on T1 that wait for the control unit, each of another key. Whoever sends from one address gets no more of it than what it
/// leaves free to others: half of it alone, a third beside another one, and so on.
pub const MAX_WAITING_REQUESTS: usize = 1_000;
