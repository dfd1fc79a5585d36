//! Wardlink worker.

use worker::*;

#[event(fetch)]
async fn fetch(request: Request, env: Env, _context: Context) -> Result<Response> {
    if request.path().starts_with("/V/") {
        return env.assets("ASSETS")?.fetch("https://assets/verify", None).await;
    }
    Response::from_json(&"wardlink")
}

macro_rules! object {
    ($name:ident) => {
        /// A Durable Object.
        #[durable_object]
        pub struct $name {}

        impl DurableObject for $name {
            fn new(_state: State, _env: Env) -> Self {
                Self {}
            }

            async fn fetch(&self, _request: Request) -> Result<Response> {
                Response::empty()
            }
        }
    };
}
object!(SiteObject);
object!(BridgeObject);
object!(AccountsObject);
