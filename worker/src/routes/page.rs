//! The verification page, as a phone's camera app opens it from the device's QR code.

use super::Call;
use wardlink_edge::platform::log;
use wardlink_edge::problem::Failure;
use wardlink_protocol::api::ProblemKind;
use worker::Response;

/// The page within the assets; the host says nothing.
const PAGE_URL: &str = "https://assets/verify";

/// `GET /V/{token}`: serves the page and does nothing else; what the token says is read in the page. A link on another
/// website does not lead here.
pub(super) async fn verification(call: &Call) -> Result<Response, Failure> {
    let from = call.request.headers().get("Sec-Fetch-Site")?;
    if matches!(from.as_deref(), Some("cross-site" | "same-site")) {
        log!("web: a link on another website to a code is refused");
        let detail = "Scan the code on the device, or open the control unit and type the code.";
        return Err(Failure::with_detail(ProblemKind::ForeignOrigin, detail));
    }
    let page = call.env.assets("ASSETS")?.fetch(PAGE_URL, None).await?;
    let headers = super::copied(page.headers());
    headers.set("Cache-Control", "no-store")?;
    Ok(page.with_headers(headers))
}
