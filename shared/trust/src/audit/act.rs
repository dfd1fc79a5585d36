//! What can be done. The words are part of the log for good: one may be added, none may change.

use core::fmt;
use serde::{Deserialize, Serialize};

macro_rules! acts {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// What was done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Act {
            $($(#[$doc])* #[serde(rename = $word)] $name,)*
        }

        impl Act {
            /// Every act, in the order of this list.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word in the log.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

acts! {
    /// A device asked to be paired.
    PairingRequested = "pairing-requested",
    /// A request was accepted, by a person or a rule.
    PairingAccepted = "pairing-accepted",
    /// A request was rejected.
    PairingRejected = "pairing-rejected",
    /// A pairing was cancelled.
    PairingCancelled = "pairing-cancelled",
    /// A code or a tag was compared.
    PairingAttempted = "pairing-attempted",
    /// A device was verified.
    PairingVerified = "pairing-verified",
    /// A device is paired.
    PairingFinished = "pairing-finished",
    /// A pairing ended without success.
    PairingEnded = "pairing-ended",
    /// Failed sessions locked an identifier.
    IdentifierLocked = "identifier-locked",
    /// A lock was lifted.
    IdentifierUnlocked = "identifier-unlocked",
    /// A device was revoked.
    DeviceRevoked = "device-revoked",
    /// A revocation was lifted.
    RevocationLifted = "revocation-lifted",
    /// A revoked device tried to connect or to publish.
    RevokedDeviceTried = "revoked-device-tried",
    /// A device's trust was lowered.
    TrustLowered = "trust-lowered",
    /// A device's location was changed.
    DeviceMoved = "device-moved",
    /// A device was told to wipe itself.
    DecommissionOrdered = "decommission-ordered",
    /// A device gave its receipt.
    DeviceDecommissioned = "device-decommissioned",
    /// A device's certificate was renewed.
    CertificateRenewed = "certificate-renewed",
    /// A device's certificate ended.
    CertificateExpired = "certificate-expired",
    /// A network key got a new epoch.
    KeyRotated = "key-rotated",
    /// Everybody who needs it has a new epoch.
    RekeyingFinished = "rekeying-finished",
    /// A device stored a new epoch.
    KeyStored = "key-stored",
    /// A message on a second channel was refused.
    MessageRefused = "message-refused",
    /// An order was given to a device.
    OrderGiven = "order-given",
    /// An order was carried out, refused, or has expired.
    OrderEnded = "order-ended",
    /// A device published or subscribed beyond its rights.
    RightsOverstepped = "rights-overstepped",
    /// The policy of channels was changed.
    ChannelsChanged = "channels-changed",
    /// The policy of pairings was changed.
    PolicyChanged = "policy-changed",
    /// The device classes were changed.
    ClassesChanged = "classes-changed",
    /// An access secret was made.
    SecretMade = "secret-made",
    /// An access secret was shown or exported.
    SecretShown = "secret-shown",
    /// An access secret was ended.
    SecretEnded = "secret-ended",
    /// A service certificate was made.
    ServiceMade = "service-made",
    /// A service has its certificate.
    ServiceEnrolled = "service-enrolled",
    /// A service certificate was revoked.
    ServiceRevoked = "service-revoked",
    /// A revocation list was published.
    CrlPublished = "crl-published",
    /// The site's CA was made or replaced.
    AuthorityChanged = "authority-changed",
    /// A person signed in.
    SignedIn = "signed-in",
    /// A person signed out.
    SignedOut = "signed-out",
    /// A sign-in was refused.
    SignInRefused = "sign-in-refused",
    /// A person was added.
    PersonAdded = "person-added",
    /// A person's role or password was changed.
    PersonChanged = "person-changed",
    /// A person was removed.
    PersonRemoved = "person-removed",
    /// The log was exported.
    LogExported = "log-exported",
    /// The log's head was signed.
    HeadSigned = "head-signed",
    /// An update was released, approved or refused.
    UpdateDecided = "update-decided",
    /// A gateway was associated with a device, or no longer.
    GatewayChanged = "gateway-changed",
    /// It was said for whom a device is there.
    PatientAssigned = "patient-assigned",
    /// A manufacturer was made known or ended, or its publishing tokens changed.
    ManufacturerChanged = "manufacturer-changed",
    /// A manufacturer published releases.
    ReleasesPublished = "releases-published",
    /// An inventory was imported.
    InventoryImported = "inventory-imported",
    /// Stored data was asked for, or when that happens by itself was changed.
    RecordsAsked = "records-asked",
    /// A person said that missing records do not come.
    GapConceded = "gap-conceded",
    /// Stored data was exported.
    RecordsExported = "records-exported",
    /// The rules that look at stored data were changed.
    RulesChanged = "rules-changed",
    /// A flag was acknowledged.
    FlagAcknowledged = "flag-acknowledged",
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
