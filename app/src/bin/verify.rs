//! The phone's verification page.

fn main() {
    wardlink_app::start_verify();
}
