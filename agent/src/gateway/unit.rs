//! `wardlink gateway unit`: a hardened unit for systemd.

use super::settings::GatewayArgs;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Flags of `wardlink gateway run` that are not for a unit: what it says itself, what others on the machine must not read, and what is for tests.
const NOT_IN_A_UNIT: [&str; 6] = ["provisioning", "state", "label", "secret", "json", "fail"];
/// Those that name a folder to which the gateway writes.
const WRITTEN: [&str; 2] = ["ports", "programs"];
/// Those that name a file, or a folder, which it reads.
const READ: [&str; 4] = ["devices", "media", "root", "tls_anchor"];
/// The one that names a file behind a manufacturer's name.
const MANUFACTURER: &str = "manufacturer";
/// Homes, which no service sees by itself.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
/// Folders of which a service has its own.
const OWN: [&str; 2] = ["/tmp", "/var/tmp"];

/// The flags of `wardlink gateway unit`.
#[derive(Clone, clap::Args)]
pub struct UnitArgs {
    /// Where the provisioning file lies; the unit hands it over as a credential, so that only root has to read it.
    #[arg(long, value_name = "FILE", default_value = "/etc/wardlink/gateway.json")]
    provisioning: PathBuf,
    /// Folders that the gateway writes to beside its state, such as those of file-backed devices; can be given several times.
    #[arg(long, value_name = "DIR")]
    writes: Vec<PathBuf>,
    /// A group whose folders the gateway may use, such as those of --writes: its own user is made anew at each start, and owns nothing.
    #[arg(long, value_name = "NAME", value_parser = group)]
    group: Option<String>,
    #[command(flatten)]
    run: Given,
}

/// Flags of `wardlink gateway run`, as they were given: by the command line, and not by the environment of whoever makes the unit.
#[derive(Clone, Debug)]
struct Given(Vec<Flag>);

/// One of them.
#[derive(Clone, Debug)]
struct Flag {
    id: String,
    long: String,
    /// None where it has none.
    value: Option<OsString>,
}

impl Given {
    fn flags() -> Vec<Arg> {
        let run = GatewayArgs::augment_args(Command::new("run"));
        let flags = run.get_arguments().filter(|flag| !NOT_IN_A_UNIT.contains(&flag.get_id().as_str()));
        flags.map(|flag| flag.clone().env(None::<&'static str>)).collect()
    }
}

impl Args for Given {
    fn augment_args(command: Command) -> Command {
        command.args(Self::flags())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Vec::new();
        for flag in Self::flags() {
            let id = flag.get_id().as_str();
            let (true, Some(long)) = (matches.value_source(id) == Some(ValueSource::CommandLine), flag.get_long())
            else {
                continue;
            };
            let flag_of = |value| Flag { id: id.to_owned(), long: long.to_owned(), value };
            if flag.get_action().takes_values() {
                let values = matches.get_raw(id).into_iter().flatten();
                given.extend(values.map(|value| flag_of(Some(value.to_owned()))));
            } else {
                given.push(flag_of(None));
            }
        }
        Ok(Self(given))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn group(text: &str) -> Result<String, String> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
    if !text.is_empty() && text.chars().all(is_name) {
        Ok(text.to_owned())
    } else {
        Err("a group's name has letters, digits, '_', '-' and '.'".to_owned())
    }
}

/// What a unit says of the files beside the gateway's state.
#[derive(Default)]
struct Files {
    lines: String,
    sees_homes: bool,
}

impl Files {
    fn add(&mut self, path: &Path, writes: bool) {
        let lies_in = |folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
        let is_home = lies_in(&HOMES);
        self.sees_homes |= is_home;
        let setting = match (is_home || lies_in(&OWN), writes) {
            (true, true) => "BindPaths",
            (true, false) => "BindReadOnlyPaths",
            (false, true) => "ReadWritePaths",
            // Everything else can be read.
            (false, false) => return,
        };
        let line = format!("{setting}={}\n", quoted(&shown(path)));
        if !self.lines.contains(&line) {
            self.lines.push_str(&line);
        }
    }
}

/// A path as it is named from anywhere.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The value of a flag in the unit, and what the unit has to say of its file.
fn value_of(flag: &Flag, value: &OsStr, files: &mut Files) -> String {
    let text = value.to_string_lossy();
    let writes = WRITTEN.contains(&flag.id.as_str());
    if writes || READ.contains(&flag.id.as_str()) {
        let path = absolute(Path::new(value));
        files.add(&path, writes);
        shown(&path)
    } else if let Some((name, file)) = text.split_once('=').filter(|_| flag.id == MANUFACTURER) {
        let path = absolute(Path::new(file));
        files.add(&path, false);
        format!("{name}={}", shown(&path))
    } else {
        text.into_owned()
    }
}

/// The unit's text, for this program.
pub fn text(args: &UnitArgs, program: &Path) -> String {
    let (mut flags, mut files) = (String::new(), Files::default());
    for flag in &args.run.0 {
        let _ = write!(flags, " --{}", flag.long);
        if let Some(value) = &flag.value {
            let _ = write!(flags, " {}", command_word(&value_of(flag, value, &mut files)));
        }
    }
    for folder in &args.writes {
        files.add(&absolute(folder), true);
    }
    let mut more = files.lines;
    if let Some(group) = &args.group {
        let _ = writeln!(more, "SupplementaryGroups={group}");
    }
    // What it writes into the group's folders is the group's, too; its state stays its own.
    let mask = if args.group.is_some() { "0007" } else { "0077" };
    let home = if files.sees_homes { "tmpfs" } else { "yes" };
    format!(
        "[Unit]
Description=Wardlink gateway
Documentation=man:systemd.exec(5)
Wants=network-online.target time-sync.target
After=network-online.target time-sync.target
StartLimitIntervalSec=0

[Service]
ExecStart={program} gateway run --provisioning %d/provisioning --state %S/wardlink-gateway{flags}
LoadCredential=provisioning:{provisioning}
Restart=always
RestartSec=5
TimeoutStopSec=30
DynamicUser=yes
StateDirectory=wardlink-gateway
StateDirectoryMode=0700
UMask={mask}
{more}NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome={home}
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
ProtectProc=invisible
ProcSubset=pid
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
CapabilityBoundingSet=
AmbientCapabilities=
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
MemoryMax=1G
TasksMax=256

[Install]
WantedBy=multi-user.target
",
        program = command_word(&shown(program)),
        provisioning = plain(&shown(&absolute(&args.provisioning))),
    )
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// A text for a unit: its `%` are no specifiers of systemd's.
fn plain(text: &str) -> String {
    text.replace('%', "%%")
}

/// The same in a command line, which replaces variables, too.
fn command_word(text: &str) -> String {
    quoted(text).replace('$', "$$")
}

/// One word of a unit's line (systemd.syntax(7)).
fn quoted(text: &str) -> String {
    let text = plain(text);
    if text.is_empty() || text.chars().any(|letter| letter.is_whitespace() || "\"'\\;".contains(letter)) {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        unit: UnitArgs,
    }

    fn unit(flags: &[&str]) -> String {
        let line = Line::try_parse_from([&["unit"], flags].concat()).unwrap();
        text(&line.unit, Path::new("/usr/bin/wardlink"))
    }

    #[test]
    fn the_unit_runs_this_program_with_what_it_was_given() {
        let unit = unit(&[
            "--provisioning",
            "/etc/wardlink/ward 3%i.json",
            "--devices",
            "/etc/wardlink/100% $cales.json",
            "--writes",
            "/var/lib/scales",
            "--status",
            "127.0.0.1:8791",
        ]);
        for line in [
            "ExecStart=/usr/bin/wardlink gateway run --provisioning %d/provisioning --state %S/wardlink-gateway \
             --devices \"/etc/wardlink/100%% $$cales.json\" --status 127.0.0.1:8791\n",
            "LoadCredential=provisioning:/etc/wardlink/ward 3%%i.json\n",
            "ReadWritePaths=/var/lib/scales\n",
            "NoNewPrivileges=yes\n",
            "StateDirectoryMode=0700\n",
            "UMask=0077\n",
            "ProtectHome=yes\n",
        ] {
            assert!(unit.contains(line), "{line}: {unit}");
        }
    }

    #[test]
    fn every_flag_of_a_service_comes_into_the_unit_and_nothing_that_is_not_given() {
        let given = [
            "--hub 0.0.0.0:8884",
            "--hub-name gateway.ward.example",
            "--hub-name other.example:8884",
            "--offline-hours 2",
            "--programs /var/lib/programs",
            "--mirror https://mirror.example/packages",
            "--media /media/stick",
            "--ports /srv/ports",
            "--manufacturer acme=/etc/wardlink/acme.json",
            "--poll-secs 60",
            "--poll-only",
            "--collect-secs 5",
            "--upload-secs 90",
            "--trial-secs 900",
            "--stored-mb 512",
            "--proxy http://proxy.example:3128",
            "--no-proxy intern.example",
            "--root /etc/wardlink/proxy.pem",
        ];
        let words: Vec<&str> = given.iter().flat_map(|flag| flag.split(' ')).collect();
        let unit = unit(&words);
        let command = unit.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
        for flag in given {
            assert!(format!("{command} ").contains(&format!(" {flag} ")), "{flag}: {command}");
        }
        let flags = command.split(' ').filter(|word| word.starts_with("--")).count();
        assert_eq!(flags, given.len() + 2, "and the two that every unit has: {command}");
        for line in ["ReadWritePaths=/srv/ports\n", "ReadWritePaths=/var/lib/programs\n"] {
            assert!(unit.contains(line), "{line}: {unit}");
        }
        assert!(!unit.contains("Bind"), "{unit}");
    }

    #[test]
    fn no_secret_and_no_nonsense_comes_into_a_unit() {
        for refused in
            [["--secret", "AAECAwQFBgcICQoLDA0ODw"], ["--state", "x"], ["--poll-secs", "0"], ["--group", "a b"]]
        {
            assert!(Line::try_parse_from([&["unit"][..], &refused[..]].concat()).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn folders_that_no_service_sees_are_shown_to_it_and_a_group_may_use_its_own() {
        let unit = unit(&["--devices", "/home/anna/devices.json", "--ports", "/tmp/ports", "--group", "ward"]);
        for line in [
            "BindReadOnlyPaths=/home/anna/devices.json\n",
            "BindPaths=/tmp/ports\n",
            "ProtectHome=tmpfs\n",
            "SupplementaryGroups=ward\n",
            "UMask=0007\n",
        ] {
            assert!(unit.contains(line), "{line}: {unit}");
        }
    }
}
