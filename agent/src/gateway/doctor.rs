//! `wardlink gateway doctor`: looks at everything that a gateway needs, and says what to do about what is missing.
//!
//! It looks only: a gateway that runs is not disturbed.

use super::http::{Asked, Http};
use super::status;
use super::stored::StoredStatus;
use super::timekeeping::{self, Difference};
use crate::clock;
use crate::link::{Endpoint, Identity};
use crate::provisioned::{Provisioned, ProvisionedArgs};
use crate::pump::{Membership, kept_membership};
use crate::state::{Record, StateDirectory};
use serde::Serialize;
use std::net::ToSocketAddrs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::x509::Certificate;
use wardlink_protocol::UnixMillis;

/// With less room on the disk than this, in bytes, packages will soon not fit.
pub(super) const LITTLE_ROOM_BYTES: u64 = 1024 * 1024 * 1024;
/// With less than this, in bytes, the store itself is in danger.
const NO_ROOM_BYTES: u64 = 64 * 1024 * 1024;
/// A certificate that ends earlier than this should have been renewed.
const RENEWAL_OVERDUE: Duration = Duration::from_hours(7 * 24);
/// A server that was not heard for so long is a reason to look.
const LONG_SILENCE: Duration = Duration::from_hours(24);

/// The flags of `wardlink gateway doctor`.
#[derive(Clone, clap::Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    provisioned: ProvisionedArgs,
    /// The gateway's state directory.
    #[arg(long, env = "WARDLINK_STATE", value_name = "DIR", default_value = "wardlink-gateway")]
    state: PathBuf,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works, and not for long, or not well.
    Doubtful,
    /// It does not work.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub what: &'static str,
    /// How it stands.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do; none where all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<&'static str>,
}

impl Check {
    fn good(what: &'static str, found: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Good, found: found.into(), advice: None }
    }

    fn doubtful(what: &'static str, found: impl Into<String>, advice: &'static str) -> Self {
        Self { what, verdict: Verdict::Doubtful, found: found.into(), advice: Some(advice) }
    }

    fn bad(what: &'static str, found: impl Into<String>, advice: &'static str) -> Self {
        Self { what, verdict: Verdict::Bad, found: found.into(), advice: Some(advice) }
    }
}

/// Looks at everything.
pub async fn examine(args: &DoctorArgs) -> Vec<Check> {
    let mut checks = vec![rights(&args.state), room(&args.state)];
    let given = args.provisioned.read("the gateway", "gateway", "gateway-1").map_err(|error| format!("{error:#}"));
    let (paired, member) = pairing(&args.state, given.as_ref().ok().map(|given| &given.endpoint));
    checks.push(paired);
    if let Some(certificate) = member.as_ref().and_then(|member| member.identity.certificate.as_deref()) {
        checks.push(certificate_end(certificate, clock::now()));
    }
    match member.map_or_else(|| given.map(unpaired), |member| Ok((member.endpoint, member.identity))) {
        Ok((endpoint, identity)) => checks.extend(network(endpoint, identity).await),
        Err(found) => checks.push(Check::bad(
            "address",
            found,
            "give the provisioning file that the web app makes (--provisioning)",
        )),
    }
    checks.extend(of_status(&args.state, clock::now()));
    checks
}

/// The checks for people, in lines.
pub fn lines(checks: &[Check]) -> Vec<String> {
    let line = |check: &Check| {
        let word = match check.verdict {
            Verdict::Good => "ok  ",
            Verdict::Doubtful => "look",
            Verdict::Bad => "BAD ",
        };
        let advice = check.advice.map(|advice| format!("\n                   do: {advice}")).unwrap_or_default();
        format!("{word}  {:<12} {}{advice}", check.what, check.found)
    };
    checks.iter().map(line).collect()
}

fn rights(directory: &Path) -> Check {
    const WHAT: &str = "state";
    let shown = directory.display();
    let metadata = match std::fs::metadata(directory) {
        Ok(metadata) => metadata,
        Err(error) => {
            return Check::bad(
                WHAT,
                format!("{shown}: {error}"),
                "start the gateway once, or name its directory with --state",
            );
        }
    };
    if metadata.permissions().mode() & 0o077 != 0 {
        return Check::bad(
            WHAT,
            format!("{shown} is open to others"),
            "make it the gateway's own: chmod 700, and chmod 600 its files",
        );
    }
    match tempfile::NamedTempFile::new_in(directory) {
        Ok(_) => Check::good(WHAT, format!("{shown} is the gateway's own, and can be written")),
        Err(error) => Check::bad(
            WHAT,
            format!("{shown} cannot be written: {error}"),
            "run as the gateway's user, and mount the file system for writing",
        ),
    }
}

fn room(directory: &Path) -> Check {
    const WHAT: &str = "room";
    match rustix::fs::statvfs(directory) {
        Err(error) => Check::bad(WHAT, error.to_string(), "name the gateway's directory with --state"),
        Ok(of) => {
            let free = of.f_bavail.saturating_mul(of.f_frsize);
            let found = format!("{} MB free", free / 1_000_000);
            if free < NO_ROOM_BYTES {
                Check::bad(WHAT, found, "make room on this disk: the gateway waits until there is some")
            } else if free < LITTLE_ROOM_BYTES {
                Check::doubtful(WHAT, found, "make room on this disk: large packages will not fit")
            } else {
                Check::good(WHAT, found)
            }
        }
    }
}

/// Whether the gateway is paired, and who it is then.
fn pairing(directory: &Path, way: Option<&Endpoint>) -> (Check, Option<Membership>) {
    const WHAT: &str = "pairing";
    const ADVICE: &str = "start the gateway, accept its request in the web app, and verify its code";
    let state = StateDirectory::to_look_at(directory);
    match kept_membership(&state, way) {
        Ok(Some(member)) => {
            let found = format!("{} is paired, at {}", member.identity.device, member.endpoint.host());
            (Check::good(WHAT, found), Some(member))
        }
        Ok(None) => {
            let asked = state.read(Record::Pairing).is_ok_and(|stored| stored.is_some());
            let found = if asked { "a pairing is under way" } else { "not paired" };
            (Check::bad(WHAT, found, ADVICE), None)
        }
        Err(error) => (Check::bad(WHAT, error.to_string(), "run as the gateway's user"), None),
    }
}

fn certificate_end(der: &[u8], now: UnixMillis) -> Check {
    const WHAT: &str = "certificate";
    let Ok(certificate) = Certificate::parse(der) else {
        return Check::bad(WHAT, "it cannot be read", "pair the gateway again");
    };
    let validity = certificate.validity();
    let left = validity.not_after.since(now);
    let days = left.as_secs() / (24 * 60 * 60);
    if now < validity.not_before {
        Check::bad(WHAT, "it does not count yet", "set the clock (NTP)")
    } else if now > validity.not_after {
        Check::bad(
            WHAT,
            "it has ended",
            "let the gateway reach the server: it renews its certificate by itself, or pairs again",
        )
    } else if left < RENEWAL_OVERDUE {
        Check::doubtful(
            WHAT,
            format!("it ends in {days} days"),
            "let the gateway reach the broker (/mqtt), by which it renews it",
        )
    } else {
        Check::good(WHAT, format!("it counts for {days} more days"))
    }
}

/// Before the pairing, the provisioning says where the server is.
fn unpaired(given: Provisioned) -> (Arc<Endpoint>, Arc<Identity>) {
    let key = PrivateKey::make(&mut clock::rng());
    let identity = Identity { key, device: given.device, certificate: None, root: given.cert_ca };
    (Arc::new(given.endpoint), Arc::new(identity))
}

async fn network(endpoint: Arc<Endpoint>, identity: Arc<Identity>) -> Vec<Check> {
    let mut checks = Vec::new();
    let (host, port) = match endpoint.proxy() {
        Some(proxy) => (proxy.address().0.to_owned(), proxy.address().1),
        None => endpoint.name_and_port(),
    };
    let through = if endpoint.proxy().is_some() { " (the proxy)" } else { "" };
    let asked = (host.clone(), port);
    let resolved = tokio::task::spawn_blocking(move || asked.to_socket_addrs().map(|mut found| found.next())).await;
    let Ok(Ok(Some(address))) = resolved else {
        let found = format!("{host}{through} has no address");
        checks.push(Check::bad("address", found, "check the name server (DNS), the network cable, and HTTPS_PROXY"));
        return checks;
    };
    checks.push(Check::good("address", format!("{host}{through} is {}", address.ip())));
    let http = Http::new(Arc::clone(&endpoint), identity);
    let answer = match http.get(Asked { path: "/", ..Asked::default() }).await {
        Ok(answer) => answer,
        Err(error) => {
            let advice = "if a name or port is wrong, provision the gateway anew; if a certificate is not trusted, check the clock, and \
                          give the root of a proxy that looks into TLS with --root; outbound port 443 has to be open";
            checks.push(Check::bad("connection", format!("{}: {error}", endpoint.address()), advice));
            return checks;
        }
    };
    let how = if endpoint.takes_any_server() {
        "reached; its certificate is not checked before the pairing"
    } else {
        "reached and trusted"
    };
    checks.push(Check::good("connection", format!("{} {how}", endpoint.host())));
    checks.push(clock_of(answer.date.as_deref(), clock::now()));
    checks
}

/// The clock against the server's (RFC 9110 section 6.6.1).
fn clock_of(date: Option<&str>, now: UnixMillis) -> Check {
    const WHAT: &str = "clock";
    let Some(server) = date.and_then(timekeeping::told) else {
        return Check::doubtful(WHAT, "the server does not tell the time", "compare the clock with another one");
    };
    let found = format!("{} s from the server's", server.since(now).max(now.since(server)).as_secs());
    match timekeeping::compare(now, server) {
        Difference::None => Check::good(WHAT, found),
        Difference::Behind(_) | Difference::Ahead(_) => {
            Check::bad(WHAT, found, "set the clock (NTP): certificates and signatures do not count at a wrong time")
        }
    }
}

/// What the gateway itself has said last.
fn of_status(directory: &Path, now: UnixMillis) -> Vec<Check> {
    const START: &str = "start the gateway: wardlink gateway run";
    let Ok(status) = status::read(directory) else {
        return vec![Check::bad("contact", "the gateway has never run here", START)];
    };
    let mut checks = Vec::new();
    checks.push(match status.last_contact {
        None => Check::bad("contact", "the server was never heard", "see what is bad above"),
        Some(at) if now.since(at) > LONG_SILENCE => {
            let hours = now.since(at).as_secs() / 3_600;
            Check::doubtful(
                "contact",
                format!("the server was heard {hours} h ago"),
                "see whether the gateway runs, and what is bad above",
            )
        }
        Some(at) => Check::good("contact", format!("the server was heard {} s ago", now.since(at).as_secs())),
    });
    checks.push(if status.manufacturers.is_empty() {
        let advice = "let somebody onboard a manufacturer at the server, or give its root with --manufacturer";
        Check::doubtful("trust", "no manufacturer is trusted: nothing can be installed", advice)
    } else {
        Check::good("trust", format!("packages of {}", status.manufacturers.join(", ")))
    });
    checks.push(stored(&status.stored, now));
    for trouble in &status.troubles {
        let found = format!("{}: {}", trouble.what, trouble.why);
        checks.push(Check::doubtful("trouble", found, "it is tried again by itself; see the log for more"));
    }
    checks
}

/// The stored data of the devices.
fn stored(stored: &StoredStatus, now: UnixMillis) -> Check {
    const WHAT: &str = "stored data";
    let oldest = stored.oldest.map(|at| now.since(at));
    let age = oldest.map(|age| format!(", the oldest {} min old", age.as_secs() / 60)).unwrap_or_default();
    let megabytes = (stored.bytes / 1_000_000, stored.capacity / 1_000_000);
    let found = format!("{} records{age}; {} of {} MB", stored.records, megabytes.0, megabytes.1);
    if stored.refused_batches > 0 {
        let found = format!("{found}; the server has refused {} batches", stored.refused_batches);
        let advice = "look at them on the gateway's page or with wardlink gateway status; have them sent once more when the cause is gone";
        Check::bad(WHAT, found, advice)
    } else if stored.is_nearly_full() {
        Check::bad(
            WHAT,
            found,
            "let the gateway reach the server, or give it more room (--stored-mb): full, it takes no more",
        )
    } else if oldest.is_some_and(|age| age > LONG_SILENCE) {
        Check::doubtful(WHAT, found, "see whether the gateway reaches the server, and what is bad above")
    } else {
        Check::good(WHAT, found)
    }
}

#[cfg(test)]
mod tests;
