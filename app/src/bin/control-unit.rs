//! The control unit's page.

fn main() {
    wardlink_app::start_control_unit();
}
