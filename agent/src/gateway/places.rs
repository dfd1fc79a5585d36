//! Where files are at the site's host. Names are escaped here: one with a space or a `+` is asked for as what it is.

use super::http::{Asked, Http, HttpError};
use crate::tuf::{quoted, quoted_path};
use hyper::StatusCode;
use wardlink_protocol::Device;
use wardlink_update::client::{Fetched, Wanted};
use wardlink_update::package::Manufacturer;
use wardlink_update::uptane::Repository;

/// The director repository of a gateway, or of a device that does without one.
pub(crate) fn director(gateway: &Device) -> String {
    let (client, identifier) = (gateway.client.to_string(), gateway.identifier.to_string());
    format!("/api/gateways/{}/{}/director", quoted(&client), quoted(&identifier))
}

/// The control unit's word for a device that this gateway's director directs it.
pub(crate) fn director_of(gateway: &Device, device: &Device) -> String {
    let (client, identifier) = (device.client.to_string(), device.identifier.to_string());
    format!("{}/devices/{}/{}/root.cose", director(gateway), quoted(&client), quoted(&identifier))
}

/// A manufacturer's image repository.
pub(crate) fn images(manufacturer: &Manufacturer) -> String {
    of_manufacturer("/api/repositories", manufacturer)
}

/// A manufacturer's folder under an address, such as a mirror's.
pub(crate) fn of_manufacturer(base: &str, manufacturer: &Manufacturer) -> String {
    format!("{base}/{}", quoted(manufacturer.as_str()))
}

/// A target of the repository that is at `base`.
pub(crate) fn target(base: &str, name: &str) -> String {
    format!("{base}/targets/{}", quoted_path(name))
}

/// Fetches a metadata file of either repository of `gateway`; whoever shows the ticket `bearer` is let in at the director's.
pub(crate) async fn metadata(
    http: &Http,
    gateway: &Device,
    bearer: Option<&str>,
    repository: &Repository,
    wanted: &Wanted,
) -> Result<Fetched, HttpError> {
    let (base, bearer) = match repository {
        Repository::Director => (director(gateway), bearer),
        Repository::Image(manufacturer) => (images(manufacturer), None),
    };
    let path = format!("{base}/metadata/{}", quoted(&wanted.name()));
    let answer = http.get(Asked { path: &path, bearer, etag: None, from: 0 }).await?;
    match answer.status {
        StatusCode::OK => Ok(Fetched::Bytes(answer.bytes(wanted.max_bytes).await?)),
        StatusCode::NOT_FOUND | StatusCode::GONE => Ok(Fetched::Missing),
        status => Err(HttpError::Status(status)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_name_is_asked_for_as_what_it_is() {
        let maker: Manufacturer = "Acme Inc+Co".parse().unwrap();
        assert_eq!(images(&maker), "/api/repositories/Acme%20Inc%2BCo");
        assert_eq!(of_manufacturer("/mirror", &maker), "/mirror/Acme%20Inc%2BCo");
        assert_eq!(target("/m", "Acme Inc/scale/S 1+/a.bin"), "/m/targets/Acme%20Inc/scale/S%201%2B/a.bin");
        assert_eq!(director(&"gateway/ward-3".parse().unwrap()), "/api/gateways/gateway/ward-3/director");
    }
}
