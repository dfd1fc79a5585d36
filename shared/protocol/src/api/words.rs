//! What the server says in fixed words of a device that is given nothing, or of stored data: the web app says it in the reader's language.

/// A batch of stored data is signed by nobody who is known.
pub const UNKNOWN_SIGNER: &str = "no device of this site has the key that signed it";
/// Its package is on its way to its gateway.
pub const BEING_ENCRYPTED: &str = "its package is being encrypted for its gateway";
/// Its package cannot be made for its gateway.
pub const NOT_ENCRYPTED: &str = "its package could not be encrypted for its gateway; it is tried again each 5 minutes, and the server's log says why";
/// Nobody could read a package that is encrypted for its gateway.
pub const NO_KEY: &str = "its gateway has no key at this site to encrypt its package to";
/// Its gateway would refuse it: the manufacturer has to publish anew.
pub const OUT_OF_DATE: &str = "what its manufacturer has published counts no longer; it has to publish anew";
/// It was to be installed within a time that has passed: a person has to offer it anew.
pub const WINDOW_IS_OVER: &str = "the window in which it was to be installed is over; offer it anew";
/// What its gateway says follows: it refuses the directive, and so everything in it.
pub const DIRECTIVE_REFUSED: &str = "its gateway refuses the whole directive: ";
/// A person has to decide which of them updates it.
pub const IN_CONFLICT: &str = "two gateways report it";
/// A person has to decide when it is tried again.
pub const IS_SET_ASIDE: &str = "it failed too often and is set aside";
/// It is tried again by itself.
pub const RESTS: &str = "it has failed and is left alone for a while";
/// It is no part of its gateway's newest report.
pub const NOT_REPORTED: &str = "no gateway reports it now";
/// It was named, and never came.
pub const NOT_KNOWN: &str = "the catalog does not have it";
/// It runs the package or a later one, or another revision, model or hardware than the package is for.
pub const NOT_FITTING: &str = "it could not take the package as it is now";
