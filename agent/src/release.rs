//! `wardlink release`: the manufacturer's tool. It makes keys and a repository (TUF 1.0.34), signs, and publishes. Only
//! `publish` uses a network.
//!
//! Threats considered: keys may lie on several machines, none of which can publish alone where thresholds say so; what comes from
//! another machine is checked before it counts; a signer sees what a signature says, and may sign only what its role allows. Every
//! file is whole or not there, and an interrupted command leaves what was published before, or what comes after.

mod add;
mod ask;
mod error;
mod export;
mod files;
mod inventory;
mod keys;
mod publish;
mod repository;
mod request;
mod roles;
mod settings;
mod show;
mod sign;
mod summary;
mod verify;
mod work;

pub use error::ReleaseError;

use clap::{Args, Subcommand};
use repository::Repository;
use std::path::PathBuf;
use verify::{Places, Verified};

/// The flags of `wardlink release`.
#[derive(Args)]
pub struct ReleaseArgs {
    /// The repository's folder.
    #[arg(long, global = true, value_name = "FOLDER", default_value = ".")]
    repository: PathBuf,
    /// Do dangerous steps without asking.
    #[arg(long, global = true)]
    yes: bool,
    #[command(subcommand)]
    command: ReleaseCommand,
}

#[derive(Subcommand)]
enum ReleaseCommand {
    /// Makes and shows keys.
    #[command(subcommand)]
    Key(keys::KeyCommand),
    /// Makes a repository's folder, with a root to be signed.
    Init(Box<roles::InitArgs>),
    /// Trusts a manufacturer's role for its own models, and for nothing else.
    Delegate(roles::DelegateArgs),
    /// Changes the keys of a role.
    Rotate(roles::RotateArgs),
    /// Adds a package, with its documents.
    Add(Box<add::AddArgs>),
    /// Adds the delta from one package to another, where it is smaller.
    Delta(add::DeltaArgs),
    /// Recalls a package: no device installs it any more.
    Recall(add::RecallArgs),
    /// Makes signed initial records of devices.
    Inventory(inventory::InventoryArgs),
    /// Signs what waits; publishes when all signatures are there.
    Sign(Box<sign::SignArgs>),
    /// Verifies the published repository, or an exported folder, with the client that devices have.
    Verify {
        /// An exported folder, instead of the repository.
        folder: Option<PathBuf>,
        /// The root to begin with; left out, the repository's first one.
        #[arg(long, value_name = "ROOT")]
        root: Option<PathBuf>,
    },
    /// Shows what is published, and what waits.
    Show {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Gives what is published to a hospital's distribution server; an upload that was interrupted goes on.
    Publish(Box<publish::PublishArgs>),
    /// Writes a folder for a mirror or a USB stick, verified and in one step.
    Export {
        /// The folder; an earlier export is replaced.
        folder: PathBuf,
    },
}

/// Runs the command.
pub fn run(args: &ReleaseArgs) -> Result<(), ReleaseError> {
    let (folder, yes) = (args.repository.as_path(), args.yes);
    match &args.command {
        ReleaseCommand::Key(command) => keys::run(command),
        ReleaseCommand::Init(args) => roles::init(folder, args),
        ReleaseCommand::Delegate(args) => roles::delegate(folder, yes, args),
        ReleaseCommand::Rotate(args) => roles::rotate(folder, yes, args),
        ReleaseCommand::Add(args) => add::add(folder, args),
        ReleaseCommand::Delta(args) => add::delta(folder, args),
        ReleaseCommand::Recall(args) => add::recall(folder, yes, args),
        ReleaseCommand::Inventory(args) => inventory::run(folder, args),
        ReleaseCommand::Sign(args) => sign::run(folder, yes, args),
        ReleaseCommand::Show { json } => show::run(folder, *json),
        ReleaseCommand::Verify { folder: exported, root } => {
            let verified = if let Some(folder) = exported {
                verify::verify(&Places::of(folder), root.as_deref())?
            } else {
                let repository = Repository::open(folder)?;
                verify::verify(&repository.places(), root.as_deref())?
            };
            tell(&verified);
            Ok(())
        }
        ReleaseCommand::Publish(args) => publish::run(folder, args),
        ReleaseCommand::Export { folder: destination } => {
            tell(&export::run(folder, destination)?);
            println!("exported to {}", destination.display());
            Ok(())
        }
    }
}

fn tell(verified: &Verified) {
    let Verified { metadata, targets, inventories } = verified;
    println!("verified: {metadata} metadata files, {targets} targets, {inventories} inventories");
}
