//! What devices of the patent's classes (paragraph 0025, claim 11) and infusion pumps measure.

use std::collections::BTreeMap;

use super::{Allowed, KindDefinition};
use crate::decimal::Decimal;
use crate::name::{Instrument, Kind, Question};

/// Kind, unit, least, greatest, English, German.
type Row = (&'static str, &'static str, i64, i64, &'static str, &'static str);

const KINDS: [Row; 48] = [
    // Infusion pumps and other drug delivery.
    ("flow-rate", "mL/h", 0, 2000, "Flow rate", "Flussrate"),
    ("infused-volume", "mL", 0, 100_000, "Infused volume", "Infundiertes Volumen"),
    ("remaining-volume", "mL", 0, 100_000, "Remaining volume", "Restvolumen"),
    ("line-pressure", "mm[Hg]", -300, 2000, "Pressure in the line", "Druck in der Leitung"),
    ("bolus-dose", "[iU]", 0, 500, "Bolus dose", "Bolusdosis"),
    ("basal-rate", "[iU]/h", 0, 100, "Basal rate", "Basalrate"),
    ("battery-charge", "%", 0, 100, "Battery charge", "Batterieladung"),
    // Pacemaker, cardioverter-defibrillator, resynchronization.
    ("heart-rate", "/min", 0, 400, "Heart rate", "Herzfrequenz"),
    ("atrial-rate", "/min", 0, 800, "Atrial rate", "Vorhoffrequenz"),
    ("ventricular-pacing", "%", 0, 100, "Ventricular pacing", "Ventrikuläre Stimulation"),
    ("atrial-pacing", "%", 0, 100, "Atrial pacing", "Atriale Stimulation"),
    ("biventricular-pacing", "%", 0, 100, "Biventricular pacing", "Biventrikuläre Stimulation"),
    ("lead-impedance", "Ohm", 0, 20_000, "Lead impedance", "Elektrodenimpedanz"),
    ("shock-impedance", "Ohm", 0, 1000, "Shock impedance", "Schockimpedanz"),
    ("pacing-threshold", "V", 0, 20, "Pacing threshold", "Reizschwelle"),
    ("sensed-amplitude", "mV", 0, 100, "Sensed amplitude", "Wahrgenommene Amplitude"),
    ("shock-energy", "J", 0, 400, "Shock energy", "Schockenergie"),
    ("shock-count", "1", 0, 10_000, "Shocks delivered", "Abgegebene Schocks"),
    ("battery-voltage", "V", 0, 100, "Battery voltage", "Batteriespannung"),
    ("arrhythmia-burden", "%", 0, 100, "Arrhythmia burden", "Arrhythmielast"),
    // Neurological implant.
    ("stimulation-current", "mA", 0, 100, "Stimulation current", "Stimulationsstrom"),
    ("stimulation-rate", "Hz", 0, 20_000, "Stimulation rate", "Stimulationsfrequenz"),
    ("stimulation-width", "us", 0, 10_000, "Pulse width", "Impulsbreite"),
    // Heart and respiratory monitors, Holter monitor.
    ("respiratory-rate", "/min", 0, 200, "Respiratory rate", "Atemfrequenz"),
    ("tidal-volume", "mL", 0, 10_000, "Tidal volume", "Atemzugvolumen"),
    ("oxygen-saturation", "%", 0, 100, "Oxygen saturation", "Sauerstoffsättigung"),
    ("heart-interval", "ms", 0, 60_000, "Interval between beats", "Schlagabstand"),
    ("st-deviation", "mV", -10, 10, "ST deviation", "ST-Abweichung"),
    ("thoracic-impedance", "Ohm", 0, 1000, "Thoracic impedance", "Thoraximpedanz"),
    // Posture and activity.
    ("posture-angle", "deg", -180, 180, "Posture", "Körperlage"),
    ("step-count", "{step}", 0, 200_000, "Steps", "Schritte"),
    ("body-acceleration", "m/s2", -200, 200, "Acceleration", "Beschleunigung"),
    ("active-time", "min", 0, 1440, "Active time", "Bewegungszeit"),
    // Blood chemistry.
    ("glucose", "mmol/L", 0, 150, "Glucose", "Glukose"),
    ("glucose-mass", "mg/dL", 0, 2700, "Glucose (mass)", "Glukose (Masse)"),
    ("lactate", "mmol/L", 0, 50, "Lactate", "Laktat"),
    ("potassium", "mmol/L", 0, 20, "Potassium", "Kalium"),
    ("sodium", "mmol/L", 50, 250, "Sodium", "Natrium"),
    ("hemoglobin", "g/dL", 0, 30, "Hemoglobin", "Hämoglobin"),
    ("blood-acidity", "[pH]", 6, 9, "Acidity of the blood", "pH-Wert des Blutes"),
    // Blood pressure monitor, scale, thermometer, pill dispenser.
    ("systolic-pressure", "mm[Hg]", 0, 400, "Systolic pressure", "Systolischer Blutdruck"),
    ("diastolic-pressure", "mm[Hg]", 0, 300, "Diastolic pressure", "Diastolischer Blutdruck"),
    ("mean-pressure", "mm[Hg]", 0, 350, "Mean pressure", "Mittlerer Blutdruck"),
    ("body-weight", "kg", 0, 700, "Body weight", "Körpergewicht"),
    ("body-temperature", "Cel", 10, 50, "Body temperature", "Körpertemperatur"),
    ("body-mass-index", "kg/m2", 3, 250, "Body mass index", "Body-Mass-Index"),
    ("doses-taken", "{dose}", 0, 1000, "Doses taken", "Eingenommene Gaben"),
    ("doses-missed", "{dose}", 0, 1000, "Doses missed", "Ausgelassene Gaben"),
];

const INSTRUMENT: &str = "daily-wellbeing";
const DEGREES: [&str; 5] = ["none", "slight", "moderate", "severe", "extreme"];
const CHOICES: [(&str, &[&str]); 4] =
    [("breathlessness", &DEGREES), ("tiredness", &DEGREES), ("anxiety", &DEGREES), ("slept-well", &["yes", "no"])];

pub(super) fn kinds() -> BTreeMap<Kind, KindDefinition> {
    let row = |(kind, unit, least, greatest, english, german): Row| {
        let definition = KindDefinition {
            unit: unit.parse().ok()?,
            least: Decimal::new(least, 0).ok()?,
            greatest: Decimal::new(greatest, 0).ok()?,
            english: english.to_owned(),
            german: german.to_owned(),
        };
        Some((kind.parse().ok()?, definition))
    };
    KINDS.into_iter().filter_map(row).collect()
}

pub(super) fn questions() -> BTreeMap<(Instrument, Question), Allowed> {
    let number = |greatest| Some(Allowed::Number(Decimal::new(0, 0).ok()?, Decimal::new(greatest, 0).ok()?));
    let choices = |words: &[&str]| Allowed::Choices(words.iter().filter_map(|word| word.parse().ok()).collect());
    CHOICES
        .into_iter()
        .map(|(question, words)| (question, Some(choices(words))))
        .chain([("overall", number(100)), ("pain", number(10)), ("remark", Some(Allowed::Text))])
        .filter_map(|(question, allowed)| Some(((INSTRUMENT.parse().ok()?, question.parse().ok()?), allowed?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_read() {
        assert_eq!(kinds().len(), KINDS.len());
        assert!(
            kinds().values().all(|kind| crate::unit::dimension(&kind.unit).is_some() && kind.least != kind.greatest)
        );
        assert_eq!(questions().len(), CHOICES.len() + 3);
        assert!(questions().values().all(|allowed| !matches!(allowed, Allowed::Choices(few) if few.len() < 2)));
    }
}
