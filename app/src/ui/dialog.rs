//! A question that must be answered before anything else: the browser's own modal dialog.

use leptos::html;
use leptos::prelude::*;

use crate::app::use_text;
use crate::ui::{icon, unique_id};

/// Closes the dialog that a part stands in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CloseDialog(NodeRef<html::Dialog>);

impl CloseDialog {
    /// Closes it; the focus goes back to where it was.
    pub(crate) fn run(self) {
        if let Some(dialog) = self.0.get_untracked() {
            dialog.close();
        }
    }
}

/// Asks what is to be asked now, until its dialog is closed.
pub(crate) fn asking<A: Clone + Send + Sync + 'static>(
    ask: RwSignal<Option<A>>,
    title: impl Fn(&A) -> String + Send + 'static,
    content: impl Fn(A, CloseDialog) -> AnyView + Copy + Send + Sync + 'static,
) -> impl IntoView {
    let closed = Callback::new(move |()| ask.set(None));
    move || {
        ask.get().map(|question| {
            let title = title(&question);
            let content = Callback::new(move |close| content(question.clone(), close));
            view! { <Dialog title=title closed=closed content=content/> }
        })
    }
}

/// Opens as soon as it is drawn.
#[component]
fn Dialog(
    /// Its heading.
    #[prop(into)]
    title: String,
    /// Called when it has closed, by whatever way.
    closed: Callback<()>,
    /// What it asks, given the means to close it.
    #[prop(into)]
    content: Callback<CloseDialog, AnyView>,
) -> impl IntoView {
    let t = use_text();
    let node = NodeRef::<html::Dialog>::new();
    let heading = unique_id("dialog");
    let labelled = heading.clone();
    Effect::new(move |_| {
        if let Some(dialog) = node.get() {
            // It fails only for a dialog that is open already.
            let _ = dialog.show_modal();
        }
    });
    let close = CloseDialog(node);
    view! {
        <dialog node_ref=node class="dialog" aria-labelledby=labelled on:close=move |_| closed.run(())>
            <div class="dialog-head">
                <h2 id=heading>{title}</h2>
                <button type="button" class="icon-button" aria-label=t.close() on:click=move |_| close.run()>{icon::close()}</button>
            </div>
            {content.run(close)}
        </dialog>
    }
}
