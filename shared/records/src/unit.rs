//! The units that are understood: those of the patent's device classes, with their exact factors.
//!
//! Crates for the whole of UCUM calculate with binary floating point, which changes values, or round while they convert; so here is a
//! table of rational factors, and a test holds each row against such a crate. A conversion rounds once, to the nearest billionth
//! of the target unit, and to the even one of two. Whether a substance's mass can be told from its amount depends on the substance: units of the
//! two are not converted into each other.

use crate::decimal::{Billionths, SCALE};
use crate::name::Unit;

/// What a unit measures. Units are converted within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// How many, or which share.
    Number,
    /// How often.
    Rate,
    /// How long.
    Time,
    /// Mass.
    Mass,
    /// Length.
    Length,
    /// Volume.
    Volume,
    /// Volume in a time.
    Flow,
    /// Pressure.
    Pressure,
    /// Temperature.
    Temperature,
    /// Voltage.
    Voltage,
    /// Current.
    Current,
    /// Resistance, impedance.
    Resistance,
    /// Energy.
    Energy,
    /// Amount of a substance in a volume.
    AmountConcentration,
    /// Equivalents of a substance in a volume.
    Equivalents,
    /// Mass of a substance in a volume.
    MassConcentration,
    /// Mass of a substance in a time.
    MassFlow,
    /// Mass of a substance for a body's mass in a time.
    DoseRate,
    /// International units of a substance.
    Activity,
    /// International units in a time.
    ActivityFlow,
    /// Angle.
    Angle,
    /// Acceleration.
    Acceleration,
    /// Acidity.
    Acidity,
    /// Mass of a body for the square of its height.
    BodyMassIndex,
}

/// One unit: (value + `offset`) * `times` / `over` is the value in the dimension's base.
pub(crate) struct Row {
    pub(crate) code: &'static str,
    pub(crate) dimension: Dimension,
    offset: i128,
    times: i128,
    over: i128,
}

const fn row(code: &'static str, dimension: Dimension, times: i128, over: i128) -> Row {
    Row { code, dimension, offset: 0, times, over }
}

const fn temperature(code: &'static str, hundredths: i128, times: i128, over: i128) -> Row {
    Row { code, dimension: Dimension::Temperature, offset: hundredths * (SCALE / 100), times, over }
}

pub(crate) const UNITS: [Row; 89] = {
    use Dimension as D;
    [
        row("1", D::Number, 1, 1),
        row("%", D::Number, 1, 100),
        row("{step}", D::Number, 1, 1),
        row("{dose}", D::Number, 1, 1),
        row("/min", D::Rate, 1, 1),
        row("{beat}/min", D::Rate, 1, 1),
        row("{breath}/min", D::Rate, 1, 1),
        row("/s", D::Rate, 60, 1),
        row("Hz", D::Rate, 60, 1),
        row("/h", D::Rate, 1, 60),
        row("/d", D::Rate, 1, 1440),
        row("us", D::Time, 1, 1000),
        row("ms", D::Time, 1, 1),
        row("s", D::Time, 1000, 1),
        row("min", D::Time, 60_000, 1),
        row("h", D::Time, 3_600_000, 1),
        row("d", D::Time, 86_400_000, 1),
        row("ug", D::Mass, 1, 1000),
        row("mg", D::Mass, 1, 1),
        row("g", D::Mass, 1000, 1),
        row("kg", D::Mass, 1_000_000, 1),
        row("[lb_av]", D::Mass, 45_359_237, 100),
        row("um", D::Length, 1, 1000),
        row("mm", D::Length, 1, 1),
        row("cm", D::Length, 10, 1),
        row("m", D::Length, 1000, 1),
        row("[in_i]", D::Length, 254, 10),
        row("uL", D::Volume, 1, 1000),
        row("mL", D::Volume, 1, 1),
        row("dL", D::Volume, 100, 1),
        row("L", D::Volume, 1000, 1),
        row("uL/h", D::Flow, 1, 1000),
        row("mL/h", D::Flow, 1, 1),
        row("L/h", D::Flow, 1000, 1),
        row("uL/min", D::Flow, 60, 1000),
        row("mL/min", D::Flow, 60, 1),
        row("L/min", D::Flow, 60_000, 1),
        row("mL/d", D::Flow, 1, 24),
        row("Pa", D::Pressure, 1, 1),
        row("hPa", D::Pressure, 100, 1),
        row("kPa", D::Pressure, 1000, 1),
        row("mbar", D::Pressure, 100, 1),
        row("bar", D::Pressure, 100_000, 1),
        row("mm[Hg]", D::Pressure, 133_322, 1000),
        row("cm[H2O]", D::Pressure, 980_665, 10_000),
        temperature("K", 0, 1, 1),
        temperature("Cel", 27_315, 1, 1),
        temperature("[degF]", 45_967, 5, 9),
        row("uV", D::Voltage, 1, 1000),
        row("mV", D::Voltage, 1, 1),
        row("V", D::Voltage, 1000, 1),
        row("kV", D::Voltage, 1_000_000, 1),
        row("uA", D::Current, 1, 1000),
        row("mA", D::Current, 1, 1),
        row("A", D::Current, 1000, 1),
        row("Ohm", D::Resistance, 1, 1),
        row("kOhm", D::Resistance, 1000, 1),
        row("uJ", D::Energy, 1, 1_000_000),
        row("mJ", D::Energy, 1, 1000),
        row("J", D::Energy, 1, 1),
        row("kJ", D::Energy, 1000, 1),
        row("kcal", D::Energy, 4184, 1),
        row("umol/L", D::AmountConcentration, 1, 1000),
        row("mmol/L", D::AmountConcentration, 1, 1),
        row("mol/L", D::AmountConcentration, 1000, 1),
        row("meq/L", D::Equivalents, 1, 1),
        row("ug/L", D::MassConcentration, 1, 1000),
        row("ng/mL", D::MassConcentration, 1, 1000),
        row("mg/L", D::MassConcentration, 1, 1),
        row("ug/mL", D::MassConcentration, 1, 1),
        row("mg/dL", D::MassConcentration, 10, 1),
        row("g/L", D::MassConcentration, 1000, 1),
        row("g/dL", D::MassConcentration, 10_000, 1),
        row("ug/h", D::MassFlow, 1, 1000),
        row("ug/min", D::MassFlow, 60, 1000),
        row("mg/d", D::MassFlow, 1, 24),
        row("mg/h", D::MassFlow, 1, 1),
        row("mg/min", D::MassFlow, 60, 1),
        row("ng/kg/min", D::DoseRate, 60, 1000),
        row("ug/kg/h", D::DoseRate, 1, 1),
        row("ug/kg/min", D::DoseRate, 60, 1),
        row("mg/kg/h", D::DoseRate, 1000, 1),
        row("[iU]", D::Activity, 1, 1),
        row("[iU]/h", D::ActivityFlow, 1, 1),
        row("deg", D::Angle, 1, 1),
        row("m/s2", D::Acceleration, 1, 1),
        row("[g]", D::Acceleration, 980_665, 100_000),
        row("[pH]", D::Acidity, 1, 1),
        row("kg/m2", D::BodyMassIndex, 1, 1),
    ]
};

fn find(unit: &Unit) -> Option<&'static Row> {
    UNITS.iter().find(|row| row.code == unit.as_str())
}

/// What a unit measures; none where it is not understood.
pub fn dimension(unit: &Unit) -> Option<Dimension> {
    find(unit).map(|row| row.dimension)
}

/// A value in another unit. None where the two do not measure the same, and both are not the very same unit; or where the value is
/// too large to calculate with.
pub fn convert(value: Billionths, from: &Unit, to: &Unit) -> Option<Billionths> {
    if from == to {
        return Some(value);
    }
    let (from, to) = (find(from)?, find(to)?);
    if from.dimension != to.dimension {
        return None;
    }
    let above = value.0.checked_add(from.offset)?.checked_mul(from.times.checked_mul(to.over)?)?;
    let rounded = divide(above, from.over.checked_mul(to.times)?)?;
    rounded.checked_sub(to.offset).map(Billionths)
}

/// Divides and rounds to the nearest whole number, to the even one of two. None where `over` is not positive.
pub(crate) fn divide(above: i128, over: i128) -> Option<i128> {
    if over <= 0 {
        return None;
    }
    let (whole, rest) = (above.div_euclid(over), above.rem_euclid(over));
    let up = match rest.cmp(&(over - rest)) {
        core::cmp::Ordering::Greater => true,
        core::cmp::Ordering::Less => false,
        core::cmp::Ordering::Equal => whole.rem_euclid(2) == 1,
    };
    whole.checked_add(i128::from(up))
}

#[cfg(test)]
mod tests;
