//! `wardlink gateway unit`: a hardened unit for systemd.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The flags of `wardlink gateway unit`.
#[derive(Clone, clap::Args)]
pub struct UnitArgs {
    /// Where the provisioning file lies; the unit hands it over as a credential, so that only root has to read it.
    #[arg(long, value_name = "FILE", default_value = "/etc/wardlink/gateway.json")]
    provisioning: PathBuf,
    /// The file of passive devices.
    #[arg(long, value_name = "FILE")]
    devices: Option<PathBuf>,
    /// Folders that the gateway writes to beside its state, such as those of file-backed devices; can be given several times.
    #[arg(long, value_name = "DIR")]
    writes: Vec<PathBuf>,
    /// Where the status page is shown.
    #[arg(long, value_name = "ADDRESS")]
    status: Option<std::net::SocketAddr>,
}

/// The unit's text, for this program.
pub fn text(args: &UnitArgs, program: &Path) -> String {
    let mut flags = String::new();
    if let Some(devices) = &args.devices {
        let _ = write!(flags, " --devices {}", command_word(devices));
    }
    if let Some(status) = args.status {
        let _ = write!(flags, " --status {status}");
    }
    let mut writes = String::new();
    for folder in &args.writes {
        let _ = writeln!(writes, "ReadWritePaths={}", quoted(folder));
    }
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
UMask=0077
{writes}NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
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
        program = command_word(program),
        provisioning = plain(&args.provisioning),
    )
}

/// A path for a unit: its `%` are no specifiers of systemd's.
fn plain(path: &Path) -> String {
    path.display().to_string().replace('%', "%%")
}

/// The same in a command line, which replaces variables, too.
fn command_word(path: &Path) -> String {
    quoted(path).replace('$', "$$")
}

/// One word of a unit's line (systemd.syntax(7)).
fn quoted(path: &Path) -> String {
    let text = plain(path);
    if text.chars().any(|letter| letter.is_whitespace() || letter == '"' || letter == '\\') {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_runs_this_program_with_what_it_was_given() {
        let args = UnitArgs {
            provisioning: "/etc/wardlink/ward 3%i.json".into(),
            devices: Some("/etc/wardlink/100% $cales.json".into()),
            writes: vec!["/var/lib/scales".into()],
            status: Some(([127, 0, 0, 1], 8791).into()),
        };
        let unit = text(&args, Path::new("/usr/bin/wardlink"));
        for line in [
            "ExecStart=/usr/bin/wardlink gateway run --provisioning %d/provisioning --state %S/wardlink-gateway \
             --devices \"/etc/wardlink/100%% $$cales.json\" --status 127.0.0.1:8791\n",
            "LoadCredential=provisioning:/etc/wardlink/ward 3%%i.json\n",
            "ReadWritePaths=/var/lib/scales\n",
            "NoNewPrivileges=yes\n",
            "StateDirectoryMode=0700\n",
        ] {
            assert!(unit.contains(line), "{line}: {unit}");
        }
    }
}
