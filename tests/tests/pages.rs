//! The pages as they are served: what a browser is told to allow, and who may send people to them.

use anyhow::{Context as _, Result, ensure};
use wardlink_protocol::api::ProblemKind;
use wardlink_tests::api::problem;
use wardlink_tests::scene;
use wardlink_tests::worker::Worker;

#[test]
fn every_page_is_served_with_a_strict_policy() -> Result<()> {
    scene(|scene| {
        let worker = Worker::start(scene)?;
        for path in ["/", "/verify", "/V/MFRGG"] {
            let mut page = worker.api().page(path, "none")?;
            assert_eq!(page.status().as_u16(), 200, "{path}");
            let headers = page.headers().clone();
            let header = |name: &str| {
                let value = headers.get(name).with_context(|| format!("{path} has no {name}"))?;
                anyhow::Ok(value.to_str()?.to_owned())
            };
            let policy = header("content-security-policy")?;
            for part in ["default-src 'none'", "script-src 'self' 'wasm-unsafe-eval'", "frame-ancestors 'none'"] {
                ensure!(policy.contains(part), "{path} lacks {part}: {policy}");
            }
            ensure!(!policy.contains("unsafe-inline") && !policy.contains('*'), "{path} allows too much: {policy}");
            ensure!(header("permissions-policy")?.contains("camera=(self)"), "{path} may use the camera");
            assert_eq!(header("referrer-policy")?, "no-referrer", "{path}");
            assert_eq!(header("x-content-type-options")?, "nosniff", "{path}");
            let text = page.body_mut().read_to_string()?;
            ensure!(text.contains("<!doctype html>") || text.contains("<!DOCTYPE html>"), "{path} is a page");
            if path.starts_with("/V/") {
                assert_eq!(header("cache-control")?, "no-store", "a code's page is kept by nobody");
            }
        }
        Ok(())
    })
}

#[test]
fn a_foreign_page_cannot_send_people_to_a_code() -> Result<()> {
    scene(|scene| {
        let worker = Worker::start(scene)?;
        for site in ["cross-site", "same-site"] {
            let refused = problem(worker.api().page("/V/MFRGG", site)?)?.0;
            assert_eq!(refused.kind, ProblemKind::ForeignOrigin, "{site}");
        }
        Ok(())
    })
}
