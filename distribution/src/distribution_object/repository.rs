//! What is public: which file lies under which name, and what nothing names any more.

use super::{DistributionObject, blob, manufacturers, text};
use core::time::Duration;
use wardlink_edge::files::Files;
use wardlink_edge::messages::{PublicFile, PublicName};
use wardlink_edge::platform::now;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database};
use wardlink_protocol::api::ProblemKind;
use wardlink_protocol::identity::Sha256;

/// Files are kept so long after they came, whether or not something names them by then.
const KEEPING: Duration = Duration::from_hours(25);
/// How many files go in one round.
const GOING: u64 = 500;

/// The file under a public name; none of a manufacturer that was ended, and no program of one that keeps them confidential.
pub(super) fn find(database: &Database, name: &PublicName) -> Result<Option<PublicFile>, Failure> {
    let query = "SELECT public.sha256, public.length FROM public_files AS public
                 JOIN manufacturers USING (manufacturer)
                 WHERE public.manufacturer = ? AND public.is_metadata = ? AND public.name = ?
                     AND manufacturers.ended_at IS NULL
                     AND NOT (manufacturers.confidential AND public.is_program AND NOT public.is_metadata)";
    let values = [text(&name.manufacturer), name.is_metadata.into_value(), text(&name.name)];
    let Some(mut row) = database.row(query, values)? else { return Ok(None) };
    Ok(Some(PublicFile { sha256: manufacturers::take_hash(&mut row)?, length: row.take()? }))
}

/// One public name.
pub(super) struct Public {
    pub(super) is_metadata: bool,
    /// A package or a delta.
    pub(super) is_program: bool,
    pub(super) name: String,
    pub(super) file: PublicFile,
    /// Whether it stays whatever is published later: a root.
    pub(super) stays: bool,
}

/// Makes names public, and takes those away that belong to a publication before the last one.
pub(super) fn put(
    database: &Database,
    manufacturer: &str,
    generation: u64,
    names: impl IntoIterator<Item = Public>,
) -> Result<(), Failure> {
    for Public { is_metadata, is_program, name, file, stays } in names {
        let belongs = (!stays).then_some(generation);
        database.run(
            "INSERT OR REPLACE INTO public_files (manufacturer, is_metadata, name, sha256, length, generation, is_program)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                text(manufacturer),
                is_metadata.into_value(),
                text(&name),
                blob(&file.sha256),
                file.length.into_value(),
                belongs.into_value(),
                is_program.into_value(),
            ],
        )?;
    }
    let before = generation.saturating_sub(1);
    database.run(
        "DELETE FROM public_files WHERE manufacturer = ? AND generation < ?",
        [text(manufacturer), before.into_value()],
    )
}

/// A file comes. One that is just going cannot come before it is gone.
pub(super) fn comes(database: &Database, owner: &str, sha256: &Sha256, length: u64) -> Result<(), Failure> {
    let query = "SELECT is_going FROM files WHERE manufacturer = ? AND sha256 = ?";
    if database.one::<bool, _>(query, [text(owner), blob(sha256)])? == Some(true) {
        return Err(ProblemKind::Unavailable.into());
    }
    database.run(
        "INSERT OR REPLACE INTO files (manufacturer, sha256, length, stored_at) VALUES (?, ?, ?, ?)",
        [text(owner), blob(sha256), length.into_value(), now().into_value()],
    )
}

/// Takes files away that nothing names. They are marked first, so that nobody counts on them meanwhile.
pub(super) async fn remove_unnamed(object: &DistributionObject) -> Result<(), Failure> {
    let database = object.database.open()?;
    let before = now().0.saturating_sub(u64::try_from(KEEPING.as_millis()).unwrap_or(u64::MAX));
    database.run(
        "UPDATE files SET is_going = 1 WHERE stored_at < ?
             AND NOT EXISTS (SELECT 1 FROM public_files AS public
                 WHERE public.manufacturer = files.manufacturer AND public.sha256 = files.sha256)
             AND NOT EXISTS (SELECT 1 FROM trusted
                 WHERE trusted.manufacturer = files.manufacturer AND trusted.sha256 = files.sha256)
             AND NOT EXISTS (SELECT 1 FROM publication_files AS named
                 WHERE named.manufacturer = files.manufacturer AND named.sha256 = files.sha256)
             AND NOT EXISTS (SELECT 1 FROM added WHERE added.sha256 = files.sha256)",
        [before.into_value()],
    )?;
    let query = "SELECT manufacturer, sha256 FROM files WHERE is_going = 1 LIMIT ?";
    let going: Vec<(String, Sha256)> = database
        .rows(query, [GOING.into_value()])?
        .into_iter()
        .map(|mut row| Ok((row.take()?, manufacturers::take_hash(&mut row)?)))
        .collect::<Result<_, Failure>>()?;
    for (manufacturer, sha256) in going {
        Files::of(&object.env, &manufacturer)?.remove(&sha256).await?;
        database.run(
            "DELETE FROM files WHERE manufacturer = ? AND sha256 = ? AND is_going = 1",
            [text(&manufacturer), blob(&sha256)],
        )?;
    }
    Ok(())
}
