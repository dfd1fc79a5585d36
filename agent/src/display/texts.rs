//! The display's words, in English and German.

use super::{Phase, Update};
use wardlink_protocol::limits::MAX_WRONG_ANSWERS;
use wardlink_protocol::pairing::RefusalReason;
use wardlink_protocol::report::AlarmKind;
use wardlink_update::uptane::Postponed;

/// A language of the display.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    /// English.
    #[default]
    #[value(name = "en")]
    English,
    /// German.
    #[value(name = "de")]
    German,
}

impl Language {
    /// Chooses by tags in order of preference, such as those of HTTP's Accept-Language (RFC 9110 section 12.5.4) or a locale.
    pub fn preferred(tags: &str) -> Option<Self> {
        let mut ranked: Vec<(f32, Self)> = tags
            .split(',')
            .filter_map(|entry| {
                let (tag, quality) = entry.split_once(";q=").unwrap_or((entry, "1"));
                let language = match tag.trim().get(..2)?.to_ascii_lowercase().as_str() {
                    "de" => Self::German,
                    "en" => Self::English,
                    _ => return None,
                };
                Some((quality.trim().parse().ok()?, language))
            })
            .filter(|(quality, _)| *quality > 0.0)
            .collect();
        ranked.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        ranked.first().map(|(_, language)| *language)
    }

    /// The tag, as in HTML's `lang`.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
        }
    }

    /// The words.
    pub const fn texts(self) -> &'static Texts {
        match self {
            Self::English => &ENGLISH,
            Self::German => &GERMAN,
        }
    }

    /// Microlitres as millilitres with one decimal, from a thousand on with none.
    pub fn millilitres(self, microlitres: u32) -> String {
        let tenths = microlitres / 100;
        if tenths >= 10_000 {
            return (tenths / 10).to_string();
        }
        let point = if self == Self::German { ',' } else { '.' };
        format!("{}{point}{}", tenths / 10, tenths % 10)
    }
}

/// One language's words.
pub struct Texts {
    /// The code's label.
    pub code: &'static str,
    /// The QR code for those who don't see it.
    pub qr: &'static str,
    /// The rate's unit.
    pub rate_unit: &'static str,
    /// Label: infused.
    pub infused: &'static str,
    /// Label: remaining.
    pub remaining: &'static str,
    /// Label: pressure.
    pub pressure: &'static str,
    /// Label: battery.
    pub battery: &'static str,
    /// Label: active alarms.
    pub alarms: &'static str,
    /// The tone of alarms is paused.
    pub tone_paused: &'static str,
    /// Label: words for the staff.
    pub message: &'static str,
    /// The heading over several pumps.
    pub pumps: &'static str,
    /// The browser has lost the display itself.
    pub lost: &'static str,
    /// The button that begins the coupling.
    pub button: &'static str,
    /// The button that lets an update be installed.
    pub install: &'static str,
    /// The label of what runs.
    pub version: &'static str,
    /// The field for the control unit's answer.
    pub answer: &'static str,
    /// The key that takes a digit back.
    pub delete: &'static str,
    /// The button that sends the answer.
    pub enter: &'static str,
    connected: &'static str,
    connecting: &'static str,
    offline: &'static str,
    idle: [&'static str; 2],
    requesting: [&'static str; 2],
    verifying: &'static str,
    verify_both: &'static str,
    verify_qr: &'static str,
    verify_code: &'static str,
    verify_simple: &'static str,
    answering: [&'static str; 2],
    wrong_answer: fn(u32) -> String,
    finishing: [&'static str; 2],
    paired: [&'static str; 2],
    refused: &'static str,
    again: &'static str,
    fault: &'static str,
    quotes: [char; 2],
    reasons: fn(RefusalReason) -> &'static str,
    alarm: fn(AlarmKind) -> &'static str,
    update: fn(&Update) -> String,
}

impl Texts {
    /// The title and the detail of a phase.
    pub fn phase(&self, phase: &Phase) -> (String, String) {
        let own = |[title, detail]: [&str; 2]| (title.to_owned(), detail.to_owned());
        match phase {
            Phase::Idle => own(self.idle),
            Phase::Requesting => own(self.requesting),
            Phase::Verifying { code, link } => own([
                self.verifying,
                match (code, link) {
                    (Some(_), Some(_)) => self.verify_both,
                    (None, Some(_)) => self.verify_qr,
                    (Some(_), None) => self.verify_code,
                    (None, None) => self.verify_simple,
                },
            ]),
            Phase::Answering { tries_left } if *tries_left < MAX_WRONG_ANSWERS => {
                (self.answering[0].to_owned(), (self.wrong_answer)(*tries_left))
            }
            Phase::Answering { .. } => own(self.answering),
            Phase::Finishing => own(self.finishing),
            Phase::Paired => own(self.paired),
            Phase::Refused { reason, note, again_at } => {
                let mut detail = (self.reasons)(*reason).to_owned();
                if !note.is_empty() {
                    let [open, close] = self.quotes;
                    detail = format!("{detail} {open}{note}{close}");
                }
                if again_at.is_some() {
                    detail = format!("{detail} {}", self.again);
                }
                (self.refused.to_owned(), detail)
            }
            Phase::Fault { message } => (self.fault.to_owned(), message.clone()),
        }
    }

    /// The connection in a few words.
    pub fn connection(&self, online: bool, trouble: Option<&str>) -> String {
        match (online, trouble) {
            (true, _) => self.connected.to_owned(),
            (false, None) => self.connecting.to_owned(),
            (false, Some(trouble)) => format!("{} ({trouble})", self.offline),
        }
    }

    /// How an update stands, in one line.
    pub fn update(&self, update: &Update) -> String {
        (self.update)(update)
    }

    /// An alarm in words.
    pub fn alarm(&self, kind: AlarmKind) -> &'static str {
        (self.alarm)(kind)
    }
}

static ENGLISH: Texts = Texts {
    code: "Code",
    qr: "QR code for the pairing. The code in digits stands for the same.",
    rate_unit: "ml/h",
    infused: "Infused",
    remaining: "Remaining",
    pressure: "Pressure",
    battery: "Battery",
    alarms: "Alarms",
    tone_paused: "Alarm tone paused",
    message: "Message",
    pumps: "Pumps",
    lost: "This display has lost its pump. It returns by itself.",
    button: "Couple now",
    install: "Install the update",
    version: "Software",
    answer: "Answer",
    delete: "Delete",
    enter: "Enter",
    connected: "Connected to the network",
    connecting: "Connecting to the network",
    offline: "No connection to the network. The pump keeps trying.",
    idle: ["Not coupled", "This pump waits for its button to be pressed."],
    requesting: ["Coupling in progress", "This pump has asked to join and waits to be accepted."],
    verifying: "Coupling in progress",
    verify_both: "Scan this code with the phone, or type the digits.",
    verify_qr: "Scan this code with the phone.",
    verify_code: "Type these digits at the control unit.",
    verify_simple: "The control unit is checking this pump.",
    answering: ["Enter the answer", "Enter the four digits that the control unit shows."],
    wrong_answer: |left| match left {
        1 => "That was not the answer. One try is left.".to_owned(),
        left => format!("That was not the answer. {left} tries are left."),
    },
    finishing: ["Coupling in progress", "Verified. The keys are being delivered."],
    paired: ["Connection successful", "This pump belongs to the network and sends its data."],
    refused: "Coupling refused",
    again: "The pump will ask again by itself.",
    quotes: ['“', '”'],
    fault: "This pump cannot couple",
    reasons: |reason| match reason {
        RefusalReason::Rejected => "The request was rejected.",
        RefusalReason::RequestExpired => "Nobody answered the request in time.",
        RefusalReason::VerificationExpired => "Nobody verified the pump in time.",
        RefusalReason::WrongCode => "A wrong code was entered too often.",
        RefusalReason::Cancelled => "The coupling was cancelled.",
        RefusalReason::ProtocolViolation => "The messages did not fit together. Tell your biomedical engineer.",
        RefusalReason::Locked => "This pump is locked after too many failures. An administrator can unlock it.",
    },
    alarm: |kind| match kind {
        AlarmKind::DownstreamOcclusion => "Line blocked",
        AlarmKind::AirInLine => "Air in line",
        AlarmKind::NearEnd => "Nearly empty",
        AlarmKind::BatteryLow => "Battery low",
        AlarmKind::DoorOpen => "Door open",
    },
    update: |update| match update {
        Update::Waits { revision, why: Postponed::Therapy } => {
            format!("Update {revision} waits until the infusion has ended.")
        }
        Update::Waits { revision, why: Postponed::Unsafe } => format!("Update {revision} waits for a quiet moment."),
        Update::Waits { revision, why: Postponed::Window } => {
            format!("Update {revision} waits for its maintenance window.")
        }
        Update::Waits { revision, why: Postponed::Confirmation } => {
            format!("Update {revision} is ready. It is installed when you say so.")
        }
        Update::Comes { revision, percent } => format!("Update {revision} is coming: {percent} %."),
        Update::WaitsForOthers { revision } => {
            format!("Update {revision} waits for the other devices that it belongs to.")
        }
        Update::Restarts { revision } => format!("Restarting with update {revision}."),
        Update::Installed { revision } => format!("Update {revision} is installed."),
        Update::Failed { revision, reason } => format!("Update {revision} was not installed: {reason}."),
        Update::Corrupt { revision } => {
            format!("Update {revision} came damaged several times and was given up.")
        }
    },
};

static GERMAN: Texts = Texts {
    code: "Code",
    qr: "QR-Code für die Kopplung. Der Code in Ziffern steht für dasselbe.",
    rate_unit: "ml/h",
    infused: "Infundiert",
    remaining: "Rest",
    pressure: "Druck",
    battery: "Akku",
    alarms: "Alarme",
    tone_paused: "Alarmton pausiert",
    message: "Nachricht",
    pumps: "Pumpen",
    lost: "Die Anzeige hat ihre Pumpe verloren. Sie kommt von selbst zurück.",
    button: "Jetzt koppeln",
    install: "Update installieren",
    version: "Software",
    answer: "Antwort",
    delete: "Löschen",
    enter: "Eingeben",
    connected: "Mit dem Netzwerk verbunden",
    connecting: "Verbindung zum Netzwerk wird aufgebaut",
    offline: "Keine Verbindung zum Netzwerk. Die Pumpe versucht es weiter.",
    idle: ["Nicht gekoppelt", "Diese Pumpe wartet darauf, dass die Taste gedrückt wird."],
    requesting: ["Kopplung läuft", "Diese Pumpe hat um Aufnahme gebeten und wartet auf die Annahme."],
    verifying: "Kopplung läuft",
    verify_both: "Diesen Code mit dem Telefon scannen oder die Ziffern eintippen.",
    verify_qr: "Diesen Code mit dem Telefon scannen.",
    verify_code: "Diese Ziffern an der Zentrale eintippen.",
    verify_simple: "Die Zentrale prüft diese Pumpe.",
    answering: ["Antwort eingeben", "Die vier Ziffern eingeben, die die Zentrale zeigt."],
    wrong_answer: |left| match left {
        1 => "Das war nicht die Antwort. Ein Versuch bleibt.".to_owned(),
        left => format!("Das war nicht die Antwort. {left} Versuche bleiben."),
    },
    finishing: ["Kopplung läuft", "Geprüft. Die Schlüssel werden übergeben."],
    paired: ["Verbindung erfolgreich", "Diese Pumpe gehört zum Netzwerk und sendet ihre Daten."],
    refused: "Kopplung abgelehnt",
    again: "Die Pumpe fragt von selbst noch einmal.",
    quotes: ['„', '“'],
    fault: "Diese Pumpe kann sich nicht koppeln",
    reasons: |reason| match reason {
        RefusalReason::Rejected => "Die Anfrage wurde abgelehnt.",
        RefusalReason::RequestExpired => "Niemand hat die Anfrage rechtzeitig beantwortet.",
        RefusalReason::VerificationExpired => "Niemand hat die Pumpe rechtzeitig geprüft.",
        RefusalReason::WrongCode => "Zu oft wurde ein falscher Code eingegeben.",
        RefusalReason::Cancelled => "Die Kopplung wurde abgebrochen.",
        RefusalReason::ProtocolViolation => "Die Nachrichten passten nicht zusammen. Bitte die Medizintechnik rufen.",
        RefusalReason::Locked => {
            "Diese Pumpe ist nach zu vielen Fehlern gesperrt. Die Administration kann sie entsperren."
        }
    },
    alarm: |kind| match kind {
        AlarmKind::DownstreamOcclusion => "Leitung verschlossen",
        AlarmKind::AirInLine => "Luft in der Leitung",
        AlarmKind::NearEnd => "Fast leer",
        AlarmKind::BatteryLow => "Akku schwach",
        AlarmKind::DoorOpen => "Klappe offen",
    },
    update: |update| match update {
        Update::Waits { revision, why: Postponed::Therapy } => {
            format!("Update {revision} wartet, bis die Infusion beendet ist.")
        }
        Update::Waits { revision, why: Postponed::Unsafe } => {
            format!("Update {revision} wartet auf einen ruhigen Moment.")
        }
        Update::Waits { revision, why: Postponed::Window } => {
            format!("Update {revision} wartet auf sein Wartungsfenster.")
        }
        Update::Waits { revision, why: Postponed::Confirmation } => {
            format!("Update {revision} ist bereit. Es wird installiert, wenn Sie es sagen.")
        }
        Update::Comes { revision, percent } => format!("Update {revision} kommt: {percent} %."),
        Update::WaitsForOthers { revision } => {
            format!("Update {revision} wartet auf die anderen Geräte, zu denen es gehört.")
        }
        Update::Restarts { revision } => format!("Neustart mit Update {revision}."),
        Update::Installed { revision } => format!("Update {revision} ist installiert."),
        Update::Failed { revision, reason } => format!("Update {revision} wurde nicht installiert: {reason}."),
        Update::Corrupt { revision } => {
            format!("Update {revision} kam mehrmals beschädigt an und wurde aufgegeben.")
        }
    },
};
