//! The icons: strokes on a grid of 24, in the colour of the text beside them, hidden from screen readers.

use leptos::prelude::*;

fn icon(path: &'static str) -> impl IntoView {
    view! {
        <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
            <path d=path></path>
        </svg>
    }
}

/// Closes something.
pub(crate) fn close() -> impl IntoView {
    icon("M6 6l12 12M18 6L6 18")
}

/// Something to know.
pub(crate) fn notice() -> impl IntoView {
    icon("M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18M12 8v5M12 16.5v.01")
}

/// Done.
pub(crate) fn check() -> impl IntoView {
    icon("M5 12.5l4.5 4.5L19 7.5")
}

/// Ended without success.
pub(crate) fn stop() -> impl IntoView {
    icon("M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18M8.5 8.5l7 7M15.5 8.5l-7 7")
}

/// Requests: a link between two ends.
pub(crate) fn requests() -> impl IntoView {
    icon("M9 15l6-6M10.5 6.5l1.6-1.6a4.5 4.5 0 0 1 6.4 6.4L17 12.9M13.5 17.5l-1.6 1.6a4.5 4.5 0 0 1-6.4-6.4L7 11.1")
}

/// Devices: a pump with its display.
pub(crate) fn devices() -> impl IntoView {
    icon(
        "M5 4h14a1 1 0 0 1 1 1v14a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1M8 8h8v4H8zM8 16h.01M12 16h.01M16 16h.01",
    )
}

/// Provisioning: a key.
pub(crate) fn key() -> impl IntoView {
    icon("M14.5 4a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11M10.4 13.6L4 20M7 17l2 2M16 8.5h.01")
}

/// People.
pub(crate) fn people() -> impl IntoView {
    icon(
        "M9 4.5a3.5 3.5 0 1 0 0 7a3.5 3.5 0 1 0 0-7M2.5 20c.4-3.6 3-5.5 6.5-5.5s6.1 1.9 6.5 5.5M16 5a3.2 3.2 0 0 1 0 6.2M18 14.8c2 .6 3.2 2.3 3.5 5.2",
    )
}

/// A phone that scans.
pub(crate) fn phone() -> impl IntoView {
    icon("M8 3h8a1.5 1.5 0 0 1 1.5 1.5v15A1.5 1.5 0 0 1 16 21H8a1.5 1.5 0 0 1-1.5-1.5v-15A1.5 1.5 0 0 1 8 3M11 18h2")
}

/// A camera.
pub(crate) fn camera() -> impl IntoView {
    icon(
        "M4 8h3l1.5-2.5h7L17 8h3a1 1 0 0 1 1 1v9a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V9a1 1 0 0 1 1-1M12 10a3.5 3.5 0 1 0 0 7a3.5 3.5 0 1 0 0-7",
    )
}

/// The lamp of the camera.
pub(crate) fn lamp() -> impl IntoView {
    icon("M13 3L5 14h6l-1 7l8-11h-6z")
}

/// The other camera.
pub(crate) fn turn() -> impl IntoView {
    icon("M4 12a8 8 0 0 1 13.7-5.6L20 8.5M20 4v4.5h-4.5M20 12a8 8 0 0 1-13.7 5.6L4 15.5M4 20v-4.5h4.5")
}

/// Back to where one came from.
pub(crate) fn back() -> impl IntoView {
    icon("M14.5 5L8 12l6.5 7")
}

/// Updates: a package.
pub(crate) fn package() -> impl IntoView {
    icon("M12 3l8 4.2v9.6L12 21l-8-4.2V7.2zM4 7.2l8 4.3l8-4.3M12 11.5V21M8 5.1l8 4.3")
}

/// Finds something.
pub(crate) fn search() -> impl IntoView {
    icon("M10.5 4a6.5 6.5 0 1 0 0 13a6.5 6.5 0 1 0 0-13M15.5 15.5L20 20")
}

/// Signs out.
pub(crate) fn leave() -> impl IntoView {
    icon("M10 4H5a1 1 0 0 0-1 1v14a1 1 0 0 0 1 1h5M15 8l4 4l-4 4M19 12H9")
}

/// Saves a file.
pub(crate) fn download() -> impl IntoView {
    icon("M12 4v11M7.5 11L12 15.5l4.5-4.5M5 20h14")
}

/// Earlier in an order.
pub(crate) fn up() -> impl IntoView {
    icon("M5 15l7-7l7 7")
}

/// Later in an order.
pub(crate) fn down() -> impl IntoView {
    icon("M5 9l7 7l7-7")
}

/// The rules of a site: a shield.
pub(crate) fn rules() -> impl IntoView {
    icon("M12 3l7.5 2.8v5.4c0 4.6-3 8.1-7.5 9.8c-4.5-1.7-7.5-5.2-7.5-9.8V5.8zM8.5 12l2.5 2.5l4.5-4.5")
}

/// Stored data: a line over its ground.
pub(crate) fn chart() -> impl IntoView {
    icon("M4 4v16h16M8 14l3.5-4l3 2.5L19 7")
}

/// The audit log: lines on a page.
pub(crate) fn log() -> impl IntoView {
    icon("M6 3.5h9l3.5 3.5v13a.5 .5 0 0 1-.5 .5H6a.5 .5 0 0 1-.5-.5V4a.5 .5 0 0 1 .5-.5zM9 10h6M9 13.5h6M9 17h4")
}

/// Something is locked.
pub(crate) fn lock() -> impl IntoView {
    icon("M6 11h12a1 1 0 0 1 1 1v7a1 1 0 0 1-1 1H6a1 1 0 0 1-1-1v-7a1 1 0 0 1 1-1M8 11V8a4 4 0 0 1 8 0v3M12 15v2")
}

/// Prints something.
pub(crate) fn printer() -> impl IntoView {
    icon("M7 9V4h10v5M7 17H5a1 1 0 0 1-1-1v-6a1 1 0 0 1 1-1h14a1 1 0 0 1 1 1v6a1 1 0 0 1-1 1h-2M7 14h10v6H7z")
}

/// Adds something.
pub(crate) fn add() -> impl IntoView {
    icon("M12 5v14M5 12h14")
}

/// The product's mark: two ends, joined.
pub(crate) fn mark() -> impl IntoView {
    view! {
        <svg class="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
            <rect width="32" height="32" rx="9"></rect>
            <path d="M8 11l4 11l4-9l4 9l4-11"></path>
        </svg>
    }
}
