//! The rules in force, and what they remember of each device.

use super::{note, series, text};
use wardlink_edge::platform::now;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, Row, blob, record};
use wardlink_protocol::Device;
use wardlink_protocol::api::{FlagSeverity, Person, ProblemKind, RuleView, RulesChange, RulesView};
use wardlink_records::kind::Definitions;
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
    for rule in rules.iter() {
        keep_meaning(database, rule)?;
    }
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
/// comes back only with the same meaning.
fn keep_meaning(database: &Database, rule: &Rule) -> Result<(), Failure> {
    let (version, meaning) = (u64::from(rule.version()), rule.meaning()?);
    let query = "SELECT version, meaning FROM rule_versions WHERE rule = ?";
    if let Some(mut row) = database.row(query, [text(rule.id())])? {
        let (used, meant): (u64, Vec<u8>) = (row.take()?, row.take()?);
        if version < used || (version == used && meant != meaning.0) {
            return Err(refused(&format!("rule {} has changed: its version has to rise above {used}", rule.id())));
        }
    }
    database.run(
        "INSERT OR REPLACE INTO rule_versions (rule, version, meaning) VALUES (?, ?, ?)",
        [text(rule.id()), version.into_value(), blob(&meaning)],
    )
}

/// What the rules remember of a device.
pub(super) fn evaluation(database: &Database, device: &Device) -> Result<Evaluation, Failure> {
    let rows = database.rows("SELECT state FROM evaluations WHERE device = ? ORDER BY used", [text(device)])?;
    let states = rows.into_iter().map(|mut row| row.take_record()).collect::<Result<_, _>>()?;
    let late = database.one("SELECT late FROM devices WHERE device = ?", [text(device)])?;
    Ok(Evaluation::restore(states, late.unwrap_or_default()))
}

/// Stores what has changed of what the rules remember of a device.
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
    Ok(())
}

fn names(id: &StateId) -> [SqlStorageValue; 2] {
    [text(&id.rule), text(id.patient.map(|patient| patient.to_string()).unwrap_or_default())]
}
