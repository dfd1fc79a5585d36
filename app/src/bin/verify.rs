//! The phone's verification page.

use leptos::prelude::*;

fn main() {
    mount_to_body(|| view! { <h1>"Wardlink: verify"</h1> });
}
