//! The web interface, as a script of a signed-in person uses it.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::Agent;
use ureq::http::request::Builder;
use ureq::http::{Method, Request, Response, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use wardlink_protocol::Device;
use wardlink_protocol::api::{
    Accept, AskedRecords, Bootstrap, Credentials, DeviceView, DevicesPage, NewPerson, NewProvisioning, NewRevocation,
    PairingPhase, PairingPolicy, PairingView, Person, PersonChange, PolicyView, Problem, ProblemKind, RecordedValue,
    RecordsPage, Reject, Revocation, RevocationReason, Role, VerificationProof, Verify, VerifyAnswer,
};
use wardlink_protocol::identity::SessionId;
use wardlink_protocol::pairing::Mode;
use wardlink_protocol::provisioning::Provisioning;

use crate::wait;
use crate::worker::BOOTSTRAP_TOKEN;

/// The sign-in name of the first administrator.
pub const ADMINISTRATOR: &str = "ada";
/// The password of everybody.
pub const PASSWORD: &str = "correct horse battery";
const COOKIE: &str = "__Host-wardlink=";

/// A caller of the web interface, signed in or not.
#[derive(Clone, Debug)]
pub struct Api {
    agent: Agent,
    origin: String,
    cookie: Option<String>,
}

/// The worker said no.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the worker refused with {status}: {0}", status = .0.status)]
pub struct Refused(pub Problem);

/// Asks, and once more where no answer came: a worker that has much to do may close a connection that it has not looked at for long.
pub fn ask_again<T>(ask: impl Fn() -> Result<T>) -> Result<T> {
    match ask() {
        Err(error) if !error.is::<Refused>() => ask(),
        outcome => outcome,
    }
}

impl Api {
    /// Speaks to the worker at `origin`, with nobody signed in.
    pub fn new(origin: String) -> Self {
        Self::over_tls(origin, &TlsConfig::default())
    }

    /// Speaks to the worker at an https origin whose certificate comes from this CA (DER), with nobody signed in.
    pub fn trusting(origin: String, root: &[u8]) -> Self {
        let roots = RootCerts::new_with_certs(&[Certificate::from_der(root).to_owned()]);
        Self::over_tls(origin, &TlsConfig::builder().root_certs(roots).build())
    }

    fn over_tls(origin: String, tls: &TlsConfig) -> Self {
        let config = Agent::config_builder()
            .tls_config(tls.clone())
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .max_idle_connections_per_host(64)
            // The worker closes a connection that was idle for five seconds.
            .max_idle_age(Duration::from_secs(2))
            .max_idle_connections(64)
            .timeout_global(Some(wait::LIMIT))
            .timeout_connect(Some(Duration::from_secs(5)))
            .build();
        Self { agent: config.into(), origin, cookie: None }
    }

    /// The same person, who reaches the worker at another origin.
    #[must_use]
    pub fn at(&self, origin: String) -> Self {
        Self { origin, ..self.clone() }
    }

    /// The control unit's web origin.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The session cookie, as a Cookie field carries it.
    pub fn cookie(&self) -> Option<&str> {
        self.cookie.as_deref()
    }

    /// Whether the worker answers. A proxy that has no worker behind it yet may keep silent: then it is asked again.
    pub fn is_healthy(&self) -> bool {
        let Ok(request) = self.request(Method::GET, "health").body(()) else { return false };
        let request = self.agent.configure_request(request).timeout_global(Some(Duration::from_secs(2))).build();
        self.agent.run(request).is_ok_and(|response| response.status().is_success())
    }

    /// Makes the first administrator, and is signed in as that person.
    pub fn bootstrap(&self) -> Result<Self> {
        let body = Bootstrap { token: BOOTSTRAP_TOKEN.to_owned(), credentials: credentials(ADMINISTRATOR, PASSWORD) };
        self.signed_in("bootstrap", &body)
    }

    /// Signs in, as soon as there are not too many attempts.
    pub fn sign_in(&self, name: &str, password: &str) -> Result<Self> {
        wait::until("a turn to sign in", || match self.try_to_sign_in(name, password) {
            Err(error) if is_of(&error, ProblemKind::TooManyAttempts) => Ok(None),
            answered => answered.map(Some),
        })
    }

    /// Signs in, at once or not at all.
    pub fn try_to_sign_in(&self, name: &str, password: &str) -> Result<Self> {
        self.signed_in("session", &credentials(name, password))
    }

    /// Makes an account with [`PASSWORD`], and signs in with it.
    pub fn add_person(&self, name: &str, role: Role) -> Result<(Person, Self)> {
        let person: Person = self.post("people", &NewPerson { credentials: credentials(name, PASSWORD), role })?;
        let api = Self { cookie: None, ..self.clone() }.sign_in(name, PASSWORD)?;
        Ok((person, api))
    }

    /// Changes an account.
    pub fn change_person(&self, id: u64, change: &PersonChange) -> Result<Person> {
        self.call(Method::PATCH, &format!("people/{id}"), Some(change))
    }

    /// Signs out.
    pub fn sign_out(&self) -> Result<()> {
        self.answered(Method::DELETE, "session", None::<&()>).map(drop)
    }

    /// Who is signed in.
    pub fn whoami(&self) -> Result<Person> {
        self.get("session")
    }

    /// Makes a provisioning file for any infusion pump.
    pub fn provisioning(&self) -> Result<Provisioning> {
        self.provisioning_for("infusion-pump")
    }

    /// Makes a provisioning file that any device of a class can use.
    pub fn provisioning_for(&self, class: &str) -> Result<Provisioning> {
        let client = class.parse().context("a class")?;
        self.post("provisioning", &NewProvisioning { client, identifier: None, secret: None })
    }

    /// Makes a provisioning file for one infusion pump, with an access secret of its own.
    pub fn provisioning_of(&self, identifier: &str) -> Result<Provisioning> {
        let client = "infusion-pump".parse().context("a class")?;
        let identifier = Some(identifier.parse().context("an identifier")?);
        self.post("provisioning", &NewProvisioning { client, identifier, secret: None })
    }

    /// The pairings.
    pub fn pairings(&self) -> Result<Vec<PairingView>> {
        self.get("pairings")
    }

    /// One pairing.
    pub fn pairing(&self, session: SessionId) -> Result<PairingView> {
        self.get(&format!("pairings/{session}"))
    }

    /// The newest pairing of a device, once there is one in a phase that `fits`.
    pub fn wait_for_pairing(&self, identifier: &str, fits: impl Fn(&PairingView) -> bool) -> Result<PairingView> {
        wait::until(&format!("a pairing of {identifier} in the expected phase"), || {
            let pairings = self.pairings()?.into_iter();
            let newest = pairings
                .filter(|pairing| pairing.device.identifier.as_str() == identifier)
                .max_by_key(|pairing| pairing.requested_at);
            Ok(newest.filter(&fits))
        })
    }

    /// The newest pairing of a device, once the control unit has heard that it is finished: a pump may say so a moment earlier.
    pub fn wait_for_finished_pairing(&self, identifier: &str) -> Result<PairingView> {
        self.wait_for_pairing(identifier, |pairing| pairing.phase == PairingPhase::Finished)
    }

    /// Accepts a request in a mode.
    pub fn accept(&self, session: SessionId, mode: Mode) -> Result<PairingView> {
        self.post(&format!("pairings/{session}/accept"), &Accept { mode: Some(mode), location: "Bed 4".to_owned() })
    }

    /// Rejects a request, with what the device is to show.
    pub fn reject(&self, session: SessionId, note: &str) -> Result<()> {
        self.answered(Method::POST, &format!("pairings/{session}/reject"), Some(&Reject { note: note.to_owned() }))
            .map(drop)
    }

    /// Acts on a pairing without saying more: `dismiss` or `cancel`.
    pub fn act(&self, session: SessionId, what: &str) -> Result<()> {
        self.answered(Method::POST, &format!("pairings/{session}/{what}"), None::<&()>).map(drop)
    }

    /// Brings a proof from the device, as a new attempt.
    pub fn verify(&self, session: SessionId, proof: VerificationProof) -> Result<VerifyAnswer> {
        self.verify_again(session, new_attempt()?, proof)
    }

    /// Brings a proof from the device, as the attempt of this key.
    pub fn verify_again(
        &self,
        session: SessionId,
        attempt: SessionId,
        proof: VerificationProof,
    ) -> Result<VerifyAnswer> {
        self.post(&format!("pairings/{session}/verify"), &Verify { attempt, proof, serial_ending: None })
    }

    /// Lifts the lock of an identifier.
    pub fn unlock(&self, device: &Device) -> Result<()> {
        self.answered(Method::POST, &format!("devices/{device}/unlock"), None::<&()>).map(drop)
    }

    /// Revokes devices as lost.
    pub fn revoke(&self, devices: &[Device]) -> Result<Vec<Revocation>> {
        let new = NewRevocation { devices: devices.to_vec(), reason: RevocationReason::Lost, note: String::new() };
        self.post("revocations", &new)
    }

    /// Lets a revoked device ask to pair again.
    pub fn reinstate(&self, device: &Device) -> Result<DeviceView> {
        self.call(Method::POST, &format!("devices/{device}/reinstate"), None::<&()>)
    }

    /// The rules of pairing.
    pub fn policy(&self) -> Result<PolicyView> {
        self.get("policy")
    }

    /// Sets the rules of pairing.
    pub fn set_policy(&self, policy: &PairingPolicy) -> Result<PolicyView> {
        self.call(Method::PUT, "policy", Some(policy))
    }

    /// The devices, all pages of them.
    pub fn devices(&self) -> Result<Vec<DeviceView>> {
        let (mut devices, mut path) = (Vec::new(), "devices".to_owned());
        loop {
            let page: DevicesPage = self.get(&path)?;
            devices.extend(page.devices);
            match page.next {
                Some(next) => path = format!("devices?after={next}"),
                None => return Ok(devices),
            }
        }
    }

    /// Every value that the server has of a device.
    pub fn recorded_values(&self, device: &Device) -> Result<Vec<RecordedValue>> {
        let (mut values, mut after) = (Vec::new(), 0);
        loop {
            let page: RecordsPage = self.get(&format!("records/{device}/values?after={after}"))?;
            values.extend(page.values);
            match page.next {
                Some(next) => after = next,
                None => return Ok(values),
            }
        }
    }

    /// Has a device's gateways asked for everything that they hold of it; who is not there is asked later.
    pub fn ask_for_records(&self, device: &Device) -> Result<AskedRecords> {
        self.post(&format!("records/{device}/ask"), &())
    }

    /// One device.
    pub fn device(&self, device: &Device) -> Result<DeviceView> {
        self.get(&format!("devices/{device}"))
    }

    /// Reads something.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.call(Method::GET, path, None::<&()>)
    }

    /// Reads something that is no JSON.
    pub fn bytes(&self, path: &str) -> Result<Vec<u8>> {
        let mut response = self.answered(Method::GET, path, None::<&()>)?;
        response.body_mut().read_to_vec().context("cannot read the worker's answer")
    }

    /// Opens a page of the control unit, as a browser that comes from `site` (Fetch Metadata) would.
    pub fn page(&self, path: &str, site: &str) -> Result<Response<ureq::Body>> {
        let request = Request::builder().uri(format!("{}{path}", self.origin)).header("Sec-Fetch-Site", site);
        self.send(request.header("Sec-Fetch-Mode", "navigate").header("Sec-Fetch-Dest", "document"), None)
    }

    /// Posts something from the control unit's own page.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.call(Method::POST, path, Some(body))
    }

    /// Puts something from the control unit's own page.
    pub fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.call(Method::PUT, path, Some(body))
    }

    /// Changes the policy that is in force.
    pub fn change_policy(&self, change: impl FnOnce(&mut PairingPolicy)) -> Result<PolicyView> {
        let mut policy = self.get::<PolicyView>("policy")?.policy;
        change(&mut policy);
        self.put("policy", &policy)
    }

    /// Posts something with these header fields instead of those of the control unit's own page.
    pub fn post_with(
        &self,
        path: &str,
        fields: &[(&str, &str)],
        body: &impl Serialize,
    ) -> Result<Response<ureq::Body>> {
        let mut request = Request::builder().method(Method::POST).uri(self.url(path));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = self.with_cookie(request).header(header::CONTENT_TYPE, "application/json");
        self.send(request, json(Some(body))?)
    }

    /// Says what there is to publish of a manufacturer, from the control unit's own page and with these header fields; the status.
    pub fn publish(&self, manufacturer: &str, fields: &[(&str, &str)], list: &str) -> Result<u16> {
        let mut request = self.with_cookie(self.request(Method::POST, ""));
        request = request.uri(format!("{}/api/publish/{manufacturer}", self.origin));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        Ok(self.send(request, Some(list.as_bytes().to_vec()))?.status().as_u16())
    }

    fn signed_in(&self, path: &str, body: &impl Serialize) -> Result<Self> {
        let response = self.answered(Method::POST, path, Some(body))?;
        let mut cookies = response.headers().get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
        let cookie = cookies.find(|value| value.starts_with(COOKIE)).context("signing in sets the session cookie")?;
        for attribute in ["Secure", "HttpOnly", "SameSite=Strict", "Path=/"] {
            if !cookie.split("; ").any(|part| part == attribute) {
                bail!("the session cookie lacks {attribute}: {cookie}");
            }
        }
        let value = cookie.split(';').next().map(str::to_owned);
        Ok(Self { cookie: value, ..self.clone() })
    }

    fn call<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> Result<T> {
        let mut response = self.answered(method, path, body)?;
        let text = response.body_mut().read_to_string().context("cannot read the worker's answer")?;
        serde_json::from_str(&text).with_context(|| format!("the answer of {path} has another form: {text}"))
    }

    fn answered(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> Result<Response<ureq::Body>> {
        let request = self.with_cookie(self.request(method, path));
        let response = self.send(request.header(header::CONTENT_TYPE, "application/json"), json(body)?)?;
        if response.status().is_success() { Ok(response) } else { Err(problem(response)?.into()) }
    }

    /// A request as the control unit's own page makes it.
    fn request(&self, method: Method, path: &str) -> Builder {
        Request::builder()
            .method(method)
            .uri(self.url(path))
            .header(header::ORIGIN, &self.origin)
            .header("Sec-Fetch-Site", "same-origin")
    }

    fn with_cookie(&self, request: Builder) -> Builder {
        match &self.cookie {
            Some(cookie) => request.header(header::COOKIE, cookie),
            None => request,
        }
    }

    fn send(&self, request: Builder, body: Option<Vec<u8>>) -> Result<Response<ureq::Body>> {
        let answered = match body {
            Some(body) => self.agent.run(request.body(body).context("a malformed request")?),
            None => self.agent.run(request.body(()).context("a malformed request")?),
        };
        answered.context("the worker does not answer")
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/v1/{path}", self.origin)
    }
}

/// What an answer says that must be a problem.
pub fn problem(mut response: Response<ureq::Body>) -> Result<Refused> {
    let status = response.status();
    let form = response.headers().get(header::CONTENT_TYPE).cloned();
    let text = response.body_mut().read_to_string().context("cannot read the worker's answer")?;
    if form.is_none_or(|form| form != "application/problem+json") {
        bail!("{status} without problem details: {text}");
    }
    let problem: Problem = serde_json::from_str(&text).with_context(|| format!("no problem details: {text}"))?;
    if problem.status != status.as_u16() || problem.kind.status() != problem.status {
        bail!("the problem's status differs from the answer's ({status}): {text}");
    }
    Ok(Refused(problem))
}

/// The kind of problem with which the worker refused; an error when it did not refuse.
pub fn refusal<T>(outcome: Result<T>) -> Result<ProblemKind> {
    match outcome {
        Ok(_) => bail!("the worker did not refuse"),
        Err(error) => Ok(error.downcast::<Refused>()?.0.kind),
    }
}

/// Whether the worker refused with this kind of problem.
fn is_of(error: &anyhow::Error, kind: ProblemKind) -> bool {
    error.downcast_ref::<Refused>().is_some_and(|refused| refused.0.kind == kind)
}

/// A new idempotency key.
pub fn new_attempt() -> Result<SessionId> {
    let mut bytes = [0; SessionId::LENGTH];
    getrandom::fill(&mut bytes).context("no randomness")?;
    Ok(SessionId(bytes))
}

/// A name and a password.
pub fn credentials(name: &str, password: &str) -> Credentials {
    Credentials { name: name.to_owned(), password: password.to_owned() }
}

fn json(body: Option<&impl Serialize>) -> Result<Option<Vec<u8>>> {
    body.map(|body| serde_json::to_vec(body).context("cannot write JSON")).transpose()
}
