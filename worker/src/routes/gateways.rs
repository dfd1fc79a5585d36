//! Gateways: their polls, their director's repository, and their sessions, handed on to each one's object.

use crate::guard::{Origin, check_page};
use wardlink_edge::objects;
use wardlink_edge::problem::Failure;
use wardlink_protocol::Device;
use wardlink_protocol::api::ProblemKind;
use worker::{Env, Method, Request, Response};

/// The gateway that a path names: `/api/gateways/<client>/<identifier>/session`, `…/director/metadata/…`, `…/director/targets/…` or
/// `…/director/devices/…`.
pub(super) fn of(path: &str) -> Option<Device> {
    let mut parts = path.strip_prefix("/api/gateways/")?.splitn(3, '/');
    let (client, identifier, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let is_asked = match rest.strip_prefix("director/") {
        Some(file) => ["metadata/", "targets/", "devices/"].iter().any(|folder| file.starts_with(folder)),
        None => rest == "session",
    };
    if is_asked { super::device(client, identifier) } else { None }
}

/// Hands a request on. Gateways are no browsers: what they send proves itself, by a ticket or by their key.
pub(super) async fn hand_on(request: Request, env: &Env, gateway: &Device) -> Result<Response, Failure> {
    if request.method() != Method::Get {
        return Err(ProblemKind::MethodNotAllowed.into());
    }
    let origin = Origin::of(&request, env)?;
    check_page(&request, &origin, true)?;
    if request.path().ends_with("/session") {
        super::socket::check_upgrade(&request)?;
    }
    objects::gateway(env, gateway)?.fetch_with_request(request).await.map_err(|error| {
        worker::console_error!("a gateway's object does not answer: {error}");
        ProblemKind::Unavailable.into()
    })
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn only_what_a_gateway_asks_is_handed_on() {
        assert!(of("/api/gateways/gateway/ward-3/director/metadata/timestamp.json").is_some());
        assert!(of("/api/gateways/gateway/ward-3/session").is_some());
        assert!(of("/api/gateways/gateway/ward-3/director/targets/added/x.json").is_some());
        assert!(of("/api/gateways/gateway/ward-3/director/devices/infusion-pump/p1/root.cose").is_some());
        let others = [
            "gateway/ward-3",
            "gateway/ward-3/x",
            "gateway/ward-3/director/x",
            "gateway/ward-3/director/",
            "A/b/session",
        ];
        for other in others {
            assert!(of(&format!("/api/gateways/{other}")).is_none(), "{other}");
        }
    }
}
