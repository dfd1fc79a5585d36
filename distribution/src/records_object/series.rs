//! What a device has measured and asked, and how it is shown: as lists, plots and pages.

use super::{devices, note, text};
use core::ops::Range;
use core::time::Duration;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, Row};
use wardlink_protocol::api::{
    Person, PlotBucket, ProblemKind, RecordedAnswer, RecordedValue, RecordsBeginning, RecordsDetail, RecordsPage,
    RecordsPlot, RecordsSeries, SetAsideRecord,
};
use wardlink_protocol::{Device, UnixMillis};
use wardlink_records::decimal::Billionths;
use wardlink_records::kind::Definitions;
use wardlink_records::plot::{Plot, Point};
use wardlink_records::record::{Content, Record, Response, Series};
use wardlink_trust::audit::Act;
use worker::Delay;

/// The parts of a plot.
const BUCKETS: usize = 120;
/// How many values are read at once, before others have their turn.
const AT_ONCE: u64 = 5_000;
/// The most values of one plot: a year with one a minute, and some.
const MAX_PLOTTED: u64 = 600_000;
/// The records of one page.
const PAGE: usize = 1_000;
/// The beginnings, and the records that were set aside, that are shown.
const SHOWN: u64 = 50;
/// The series of records that a device could not keep.
const UNRECORDED: &str = "unrecorded";

/// The name of a record's series.
pub(super) fn name(record: &Record) -> String {
    record.series().as_ref().map_or_else(|| UNRECORDED.to_owned(), word)
}

/// The name of a series.
pub(super) fn word(series: &Series) -> String {
    match series {
        Series::Kind(kind) => format!("kind/{kind}"),
        Series::Question(instrument, question) => format!("question/{instrument}/{question}"),
    }
}

/// Counts a value that is stored.
pub(super) fn count(
    database: &Database,
    device: &Device,
    series: &str,
    at: UnixMillis,
    is_number: bool,
) -> Result<(), Failure> {
    database.run(
        "INSERT INTO series (device, series, count, numbers, first_at, last_at) VALUES (?1, ?2, 1, ?3, ?4, ?4)
         ON CONFLICT (device, series) DO UPDATE SET count = count + 1, numbers = numbers + excluded.numbers,
             first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at)",
        [text(device), text(series), is_number.into_value(), at.into_value()],
    )
}

/// What a record says, and in which unit.
fn said(record: &Record) -> (String, Option<String>) {
    match &record.content {
        Content::Measure(measure) => (measure.value.to_string(), Some(measure.unit.to_string())),
        Content::Answer(answer) => match &answer.response {
            Response::Choice(choice) => (choice.to_string(), None),
            Response::Number(number) => (number.to_string(), None),
            Response::Text(text) => (text.to_string(), None),
        },
        Content::Unrecorded(span) => (span.count.to_string(), None),
    }
}

/// The unit of a series, and its names in English and German.
fn described(series: &str, known: &Definitions) -> (Option<String>, String, String) {
    let kind = series.strip_prefix("kind/").and_then(|kind| kind.parse().ok());
    match kind.and_then(|kind| known.kind(&kind)) {
        Some(kind) => (Some(kind.unit.to_string()), kind.english.clone(), kind.german.clone()),
        None => (None, series.to_owned(), series.to_owned()),
    }
}

/// What of a device is stored.
pub(super) fn detail(database: &Database, known: &Definitions, device: &Device) -> Result<RecordsDetail, Failure> {
    let found = devices::find(database, device)?;
    let query = "SELECT series, count, numbers, first_at, last_at FROM series WHERE device = ? ORDER BY series";
    let series = database.rows(query, [text(device)])?.into_iter().map(|mut row| {
        let name: String = row.take()?;
        let (unit, english, german) = described(&name, known);
        let (count, numbers) = (row.take()?, row.take()?);
        let (first_at, last_at) = (row.take()?, row.take()?);
        Ok(RecordsSeries { series: name, english, german, unit, count, numbers, first_at, last_at })
    });
    let query = "SELECT received_at, chain, standing, reason FROM batches WHERE device = ? AND standing IS NOT NULL
                 ORDER BY id DESC LIMIT ?";
    let beginnings = database.rows(query, [text(device), SHOWN.into_value()])?.into_iter().map(|mut row| {
        let at = row.take()?;
        let chain = row.take::<String>()?.parse().map_err(Failure::internal)?;
        Ok(RecordsBeginning { at, chain, standing: row.take()?, reason: row.take()? })
    });
    let query = "SELECT received_at, step, record FROM set_aside WHERE device = ? ORDER BY id DESC LIMIT ?";
    let set_aside = database.rows(query, [text(device), SHOWN.into_value()])?.into_iter().map(|mut row| {
        let (received_at, step) = (row.take()?, row.take()?);
        let record: Record = row.take_record()?;
        let (value, unit) = said(&record);
        Ok(SetAsideRecord { received_at, at: record.at, series: name(&record), value, unit, step })
    });
    Ok(RecordsDetail {
        device: found,
        series: series.collect::<Result<_, Failure>>()?,
        beginnings: beginnings.collect::<Result<_, Failure>>()?,
        set_aside: set_aside.collect::<Result<_, Failure>>()?,
    })
}

/// One series over a time. Batches are taken while it is read.
pub(super) async fn plot(
    database: &Database,
    known: &Definitions,
    device: &Device,
    series: &str,
    time: Range<UnixMillis>,
) -> Result<RecordsPlot, Failure> {
    let mut plot = Plot::new(time.start, time.end, BUCKETS)
        .map_err(|error| Failure::with_detail(ProblemKind::BadRequest, format!("The time: {error}.")))?;
    let (mut from, mut read) = (Place { at: time.start, position: 0 }, 0);
    while let Some(last) = add_some(&mut plot, database, device, series, (&from, time.end))? {
        read += AT_ONCE;
        if read > MAX_PLOTTED {
            let detail =
                format!("Step plot: that time has more than {MAX_PLOTTED} values. A shorter one can be shown.");
            return Err(Failure::with_detail(ProblemKind::RefusedStep, detail));
        }
        from = last;
        Delay::from(Duration::ZERO).await;
    }
    let buckets = plot.buckets().map(|bucket| PlotBucket {
        from: bucket.from,
        count: bucket.count,
        least: bucket.least.value.to_string(),
        greatest: bucket.greatest.value.to_string(),
        mean: bucket.mean.to_string(),
    });
    let query = "SELECT record FROM records
                 WHERE device = ? AND series = ? AND at >= ? AND at < ? AND amount IS NULL
                 ORDER BY at DESC, position DESC LIMIT ?";
    let [start, end] = [time.start.into_value(), time.end.into_value()];
    let answers = database.rows(query, [text(device), text(series), start, end, SHOWN.into_value()])?.into_iter();
    let answers = answers.map(|mut row| {
        let record: Record = row.take_record()?;
        Ok(RecordedAnswer { at: record.at, answer: said(&record).0 })
    });
    let answers = answers.collect::<Result<_, Failure>>()?;
    Ok(RecordsPlot { unit: described(series, known).0, buckets: buckets.collect(), answers })
}

/// Where a value stands in the order of time. Positions begin with 1.
struct Place {
    at: UnixMillis,
    position: u64,
}

/// Adds the next values behind a place; answers the last of them where there may be more.
fn add_some(
    plot: &mut Plot,
    database: &Database,
    device: &Device,
    series: &str,
    (after, end): (&Place, UnixMillis),
) -> Result<Option<Place>, Failure> {
    let query = "SELECT at, position, amount FROM records
                 WHERE device = ? AND series = ? AND (at, position) > (?, ?) AND at < ? AND amount IS NOT NULL
                 ORDER BY at, position LIMIT ?";
    let values = [
        text(device),
        text(series),
        after.at.into_value(),
        after.position.into_value(),
        end.into_value(),
        AT_ONCE.into_value(),
    ];
    let rows = database.rows(query, values)?;
    let is_last = u64::try_from(rows.len()).is_ok_and(|count| count < AT_ONCE);
    let mut last = None;
    for mut row in rows {
        let place = Place { at: row.take()?, position: row.take()? };
        let amount = row.take::<String>()?.parse().map_err(Failure::internal)?;
        plot.add(Point { at: place.at, value: Billionths::new(amount) });
        last = Some(place);
    }
    Ok(last.filter(|_| !is_last))
}

/// A page of what counts. Whoever reads one exports: that stands in the audit log, with what it was.
pub(super) fn values(
    database: &Database,
    person: &Person,
    device: &Device,
    series: &str,
    after: u64,
) -> Result<RecordsPage, Failure> {
    devices::find(database, device)?;
    // Each has an index of its own, which a condition that may count or not would leave unused.
    let of = if series.is_empty() { "? = ''" } else { "series = ?" };
    let query = format!(
        "SELECT position, received_at, chain, sequence, record FROM records
         WHERE device = ? AND {of} AND position > ? ORDER BY position LIMIT ?"
    );
    let limit = u64::try_from(PAGE + 1).unwrap_or(u64::MAX);
    let asked = [text(device), text(series), after.into_value(), limit.into_value()];
    let mut values = database.rows(&query, asked)?.into_iter().map(value).collect::<Result<Vec<_>, _>>()?;
    let has_more = values.len() > PAGE;
    values.truncate(PAGE);
    let what = if series.is_empty() { "everything" } else { series };
    let detail = match (values.first(), values.last()) {
        (Some(first), Some(last)) => format!("{what}, positions {} to {}", first.position, last.position),
        _ => format!("{what}, nothing after position {after}"),
    };
    note(database, person, Act::RecordsExported, &device.to_string(), detail)?;
    let next = values.last().filter(|_| has_more).map(|last| last.position);
    Ok(RecordsPage { values, next })
}

fn value(mut row: Row) -> Result<RecordedValue, Failure> {
    let (position, received_at) = (row.take()?, row.take()?);
    let chain = row.take::<String>()?.parse().map_err(Failure::internal)?;
    let sequence = row.take()?;
    let record: Record = row.take_record()?;
    let (value, unit) = said(&record);
    let (at, patient, series) = (record.at, record.patient, name(&record));
    Ok(RecordedValue { position, at, received_at, chain, sequence, patient, series, value, unit })
}
