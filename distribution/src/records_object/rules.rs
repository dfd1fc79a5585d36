//! The rules in force, and what they remember of each device.

use super::{note, series, text};
use wardlink_edge::platform::now;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, Row, blob, record};
use wardlink_protocol::Device;
use wardlink_protocol::api::{FlagSeverity, Person, ProblemKind, RuleView, RulesChange, RulesView};
use wardlink_records::kind::Definitions;
use wardlink_records::limits::MAX_RULE_STATES;
use wardlink_records::record::Record;
use wardlink_records::rules::{Evaluation, Rule, Rules, Severity, StateId};
use wardlink_trust::audit::Act;
use worker::SqlStorageValue;

/// The rules before the first change.
const NONE: &str = "{\"rules\": []}\n";

/// The newest row.
fn newest(database: &Database) -> Result<Option<Row>, Failure> {
    database.row("SELECT version, text, changed_at, changed_by FROM rules ORDER BY version DESC LIMIT 1", [])
}

fn parse(text: &str, known: &Definitions) -> Result<Rules, Failure> {
    Rules::parse(text, known).map_err(|error| refused(&error))
}

fn refused(why: &dyn ToString) -> Failure {
    let detail = format!("Step rules: {}. Nothing has changed.", why.to_string());
    Failure::with_detail(ProblemKind::RefusedStep, detail)
}

/// The rules in force.
pub(super) fn in_force(database: &Database, known: &Definitions) -> Result<Rules, Failure> {
    let text: Option<String> = database.one("SELECT text FROM rules ORDER BY version DESC LIMIT 1", [])?;
    text.map_or_else(|| Ok(Rules::default()), |text| Rules::parse(&text, known).map_err(Failure::internal))
}

/// The rules as people see them.
pub(super) fn view(database: &Database, known: &Definitions) -> Result<RulesView, Failure> {
    let rules = in_force(database, known)?.iter().map(rule).collect();
    Ok(match newest(database)? {
        Some(mut row) => {
            let (version, text) = (row.take()?, row.take()?);
            RulesView { version, text, rules, changed_at: Some(row.take()?), changed_by: Some(row.take()?) }
        }
        None => RulesView { version: 0, text: NONE.to_owned(), rules, changed_at: None, changed_by: None },
    })
}

fn rule(rule: &Rule) -> RuleView {
    RuleView {
        rule: rule.id().to_string(),
        version: rule.version(),
        severity: severity(rule.severity()),
        series: series::word(rule.series()),
        english: rule.english().to_owned(),
        german: rule.german().to_owned(),
    }
}

/// How urgent it is, as the web API says it.
pub(super) const fn severity(severity: Severity) -> FlagSeverity {
    match severity {
        Severity::Information => FlagSeverity::Information,
        Severity::Warning => FlagSeverity::Warning,
        Severity::Critical => FlagSeverity::Critical,
    }
}

/// A person puts rules in force: all of them, or none.
pub(super) fn change(
    database: &Database,
    known: &Definitions,
    person: &Person,
    change: &RulesChange,
) -> Result<RulesView, Failure> {
    let before = newest(database)?.map(|mut row| row.take::<u64>()).transpose()?.unwrap_or_default();
    if change.version != before {
        return Err(ProblemKind::Outdated.into());
    }
    let rules = parse(&change.text, known)?;
    let mut as_before = Vec::new();
    for rule in rules.iter() {
        if keep_meaning(database, rule)? {
            as_before.push(rule.id());
        }
    }
    // What the others remember ends with them.
    let forget = "DELETE FROM evaluations WHERE rule NOT IN (SELECT value FROM json_each(?))";
    database.run(forget, [text(serde_json::to_string(&as_before).map_err(Failure::internal)?)])?;
    let version = before.saturating_add(1);
    database.run(
        "INSERT INTO rules (version, text, changed_at, changed_by) VALUES (?, ?, ?, ?)",
        [version.into_value(), text(&change.text), now().into_value(), text(&person.name)],
    )?;
    let detail = format!("version {version}, {} rules", rules.iter().count());
    note(database, person, Act::RulesChanged, "rules", detail)?;
    view(database, known)
}

/// A flag names the rule and its version, which say for good what was meant, also when the rule is no longer in force: versions rise, and one that was used
/// comes back only with the same meaning. Answers whether its version is the one that was used last.
fn keep_meaning(database: &Database, rule: &Rule) -> Result<bool, Failure> {
    let (version, meaning) = (u64::from(rule.version()), rule.meaning()?);
    let mut is_same = false;
    let query = "SELECT version, meaning FROM rule_versions WHERE rule = ?";
    if let Some(mut row) = database.row(query, [text(rule.id())])? {
        let (used, meant): (u64, Vec<u8>) = (row.take()?, row.take()?);
        if version < used || (version == used && meant != meaning.0) {
            return Err(refused(&format!("rule {} has changed: its version has to rise above {used}", rule.id())));
        }
        is_same = version == used;
    }
    database.run(
        "INSERT OR REPLACE INTO rule_versions (rule, version, meaning) VALUES (?, ?, ?)",
        [text(rule.id()), version.into_value(), blob(&meaning)],
    )?;
    Ok(is_same)
}

/// What the rules remember of a device, as far as it concerns these records.
pub(super) fn evaluation<'a>(
    database: &Database,
    device: &Device,
    rules: &Rules,
    records: impl IntoIterator<Item = &'a Record>,
) -> Result<Evaluation, Failure> {
    let mut states = Vec::new();
    for id in rules.concerned(records) {
        let [rule, patient] = names(&id);
        let query = "SELECT state FROM evaluations WHERE device = ? AND rule = ? AND patient = ?";
        if let Some(mut row) = database.row(query, [text(device), rule, patient])? {
            states.push(row.take_record()?);
        }
    }
    let late = database.one("SELECT late FROM devices WHERE device = ?", [text(device)])?;
    Ok(Evaluation::restore(states, late.unwrap_or_default()))
}

/// Stores what has changed of what the rules remember of a device; what was used least recently makes room.
pub(super) fn put_evaluation(database: &Database, device: &Device, evaluation: &Evaluation) -> Result<(), Failure> {
    let (kept, gone) = evaluation.changed();
    for id in gone {
        let [rule, patient] = names(id);
        let statement = "DELETE FROM evaluations WHERE device = ? AND rule = ? AND patient = ?";
        database.run(statement, [text(device), rule, patient])?;
    }
    for state in kept {
        let [rule, patient] = names(&state.id());
        database.run(
            "INSERT OR REPLACE INTO evaluations (device, rule, patient, used, state)
             VALUES (?1, ?2, ?3, (SELECT coalesce(max(used), 0) + 1 FROM evaluations WHERE device = ?1), ?4)",
            [text(device), rule, patient, record(state)?],
        )?;
    }
    database.run(
        "DELETE FROM evaluations WHERE device = ?1
         AND used <= (SELECT used FROM evaluations WHERE device = ?1 ORDER BY used DESC LIMIT 1 OFFSET ?2)",
        [text(device), u64::try_from(MAX_RULE_STATES).unwrap_or(u64::MAX).into_value()],
    )
}

fn names(id: &StateId) -> [SqlStorageValue; 2] {
    [text(&id.rule), text(id.patient.map(|patient| patient.to_string()).unwrap_or_default())]
}
