//! A list that comes in pages: what is known of it is looked at again as a whole, and stays as far as it goes.

use leptos::prelude::*;
use leptos::task::spawn_local;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wardlink_protocol::Device;
use wardlink_protocol::api::{CatalogEntry, CatalogPage, OfferDevice, OfferDevices, OfferView};

use crate::api::{self, Failure};
use crate::app::{App, use_app, use_text};
use crate::fetched::watch;

/// One page.
pub(crate) trait Page: DeserializeOwned + 'static {
    /// What it says beside its rows.
    type Head: Clone + PartialEq + Send + Sync + 'static;
    /// One row.
    type Row: Clone + PartialEq + Serialize + Send + Sync + 'static;

    /// What it says, its rows, and the device after which the next page begins.
    fn parts(self) -> Parts<Self>;
}

/// A page, or several of them, one after the other.
pub(crate) type Parts<P> = (<P as Page>::Head, Vec<<P as Page>::Row>, Option<Device>);

impl Page for CatalogPage {
    /// How many devices there are in all.
    type Head = u64;
    type Row = CatalogEntry;

    fn parts(self) -> Parts<Self> {
        (self.total, self.devices, self.next)
    }
}

impl Page for OfferDevices {
    type Head = OfferView;
    type Row = OfferDevice;

    fn parts(self) -> Parts<Self> {
        (self.offer, self.devices, self.next)
    }
}

/// Questions are numbered: only the answer to the newest one counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Questions {
    asked: u64,
    answered: u64,
}

impl Questions {
    /// Another question.
    const fn ask(&mut self) -> u64 {
        self.asked = self.asked.saturating_add(1);
        self.asked
    }

    /// Whether the answer to this question counts.
    const fn answer(&mut self, question: u64) -> bool {
        let counts = question == self.asked;
        if counts {
            self.answered = question;
        }
        counts
    }

    /// Whether nothing is under way.
    const fn is_quiet(self) -> bool {
        self.asked == self.answered
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// A person, who does something.
    Person,
    /// The page by itself.
    Page,
}

/// The pages that are known of a list. Screens that are gone hear of nothing more.
pub(crate) struct Pages<P: Page> {
    app: App,
    /// The question, without the place where a page begins.
    path: StoredValue<String>,
    /// What the pages say beside their rows, once it is known.
    pub(crate) head: RwSignal<Option<P::Head>>,
    /// The rows, once they are known.
    pub(crate) rows: RwSignal<Option<Vec<P::Row>>>,
    /// Why they are not.
    pub(crate) failure: RwSignal<Option<Failure>>,
    next: RwSignal<Option<Device>>,
    /// How many pages are shown.
    shown: StoredValue<usize>,
    questions: StoredValue<Questions>,
}

impl<P: Page> Clone for Pages<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Page> Copy for Pages<P> {}

impl<P: Page> Pages<P> {
    /// Begins to fetch the first page of `/api/v1<path>`.
    pub(crate) fn start(path: String) -> Self {
        let pages = Self {
            app: use_app(),
            path: StoredValue::new(path),
            head: RwSignal::new(None),
            rows: RwSignal::new(None),
            failure: RwSignal::new(None),
            next: RwSignal::new(None),
            shown: StoredValue::new(1),
            questions: StoredValue::new(Questions::default()),
        };
        pages.load();
        pages
    }

    /// The same, and looks again while the screen is shown and somebody may see it.
    pub(crate) fn follow(path: String) -> Self {
        let pages = Self::start(path);
        watch(pages.app, move || {
            if pages.questions.try_with_value(|questions| questions.is_quiet()) == Some(true) {
                pages.fetch(By::Page);
            }
        });
        pages
    }

    /// Asks something else from now on, from the first page on.
    pub(crate) fn ask(self, path: String) {
        self.path.set_value(path);
        self.shown.set_value(1);
        self.load();
    }

    /// Fetches again what is shown.
    pub(crate) fn load(self) {
        // The screen may be gone by now.
        let _ = self.failure.try_set(None);
        self.fetch(By::Person);
    }

    /// The question that is asked.
    pub(crate) fn path(self) -> String {
        self.path.get_value()
    }

    fn fetch(self, by: By) {
        let (Some(path), Some(shown)) = (self.path.try_get_value(), self.shown.try_get_value()) else { return };
        let Some(question) = self.questions.try_update_value(Questions::ask) else { return };
        spawn_local(async move {
            let fetched = collect::<P>(self.app, &path, shown, by).await;
            if !self.counts(question) {
                return;
            }
            match fetched {
                Ok((head, rows, next)) => {
                    self.failure.set(None);
                    set(self.head, Some(head));
                    set(self.rows, Some(rows));
                    set(self.next, next);
                }
                Err(failure) => self.failure.set(Some(failure)),
            }
        });
    }

    /// Fetches one page more.
    pub(crate) fn more(self) {
        let Some(after) = self.next.get_untracked() else { return };
        let Some(question) = self.questions.try_update_value(Questions::ask) else { return };
        self.failure.set(None);
        let path = self.path();
        spawn_local(async move {
            let page = self.app.get::<P>(&at(&path, Some(&after))).await.map(P::parts);
            if !self.counts(question) {
                return;
            }
            match page {
                Ok((head, rows, next)) => {
                    self.shown.update_value(|shown| *shown = shown.saturating_add(1));
                    set(self.head, Some(head));
                    self.rows.update(|known| known.get_or_insert_default().extend(rows));
                    set(self.next, next);
                }
                Err(failure) => self.failure.set(Some(failure)),
            }
        });
    }

    /// Whether the answer to this question is shown; the screen may be gone by now.
    fn counts(self, question: u64) -> bool {
        self.questions.try_update_value(|questions| questions.answer(question)) == Some(true)
    }

    /// Whether it is known, and whether there is none; it changes with that only.
    pub(crate) fn is_empty(self) -> Memo<Option<bool>> {
        Memo::new(move |_| self.rows.with(|rows| rows.as_ref().map(Vec::is_empty)))
    }

    /// The way to the next page, where there is one.
    pub(crate) fn further(self, name: &'static str) -> impl IntoView {
        let t = use_text();
        view! {
            <Show when=move || self.next.with(Option::is_some)>
                <p><button type="button" class="button quiet" data-testid=name on:click=move |_| self.more()>{t.catalog_more()}</button></p>
            </Show>
        }
    }
}

/// Sets what has changed; what stays is not drawn anew.
fn set<T: PartialEq + Send + Sync + 'static>(signal: RwSignal<T>, value: T) {
    if signal.with_untracked(|known| *known != value) {
        signal.set(value);
    }
}

/// The first pages, as many as these or all there are.
async fn collect<P: Page>(app: App, path: &str, pages: usize, by: By) -> Result<Parts<P>, Failure> {
    let mut read: Option<Parts<P>> = None;
    for _ in 0..pages.max(1) {
        let place = at(path, read.as_ref().and_then(|(_, _, next)| next.as_ref()));
        let page = match by {
            By::Person => app.get::<P>(&place).await,
            By::Page => app.look::<P>(&place).await,
        };
        let (head, rows, next) = page?.parts();
        let all = match read {
            Some((_, mut all, _)) => {
                all.extend(rows);
                all
            }
            None => rows,
        };
        let is_last = next.is_none();
        read = Some((head, all, next));
        if is_last {
            break;
        }
    }
    read.ok_or(Failure::Unreachable)
}

/// Every row of a list.
pub(crate) async fn all<P: Page>(app: App, path: &str) -> Result<Vec<P::Row>, Failure> {
    collect::<P>(app, path, usize::MAX, By::Person).await.map(|(_, rows, _)| rows)
}

/// The path of a page.
fn at(path: &str, after: Option<&Device>) -> String {
    let joint = if path.contains('?') { '&' } else { '?' };
    after.map_or_else(|| path.to_owned(), |after| format!("{path}{joint}after={after}"))
}

/// The key of a row: one that stays as it is, is not drawn anew.
pub(crate) fn key<T: Serialize>(row: &T) -> Option<String> {
    api::json(row)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn only_the_answer_to_the_newest_question_counts() {
        let mut questions = Questions::default();
        assert!(questions.is_quiet());
        let (first, second) = (questions.ask(), questions.ask());
        assert!(!questions.answer(first), "something else is asked meanwhile");
        assert!(!questions.is_quiet());
        assert!(questions.answer(second) && questions.is_quiet());
    }

    #[test]
    fn a_page_begins_after_a_device_whatever_else_is_asked() {
        let device: Device = "scale/s-1".parse().unwrap();
        assert_eq!(at("/catalog", None), "/catalog");
        assert_eq!(at("/catalog", Some(&device)), "/catalog?after=scale/s-1");
        assert_eq!(at("/catalog?find=PM2", Some(&device)), "/catalog?find=PM2&after=scale/s-1");
    }
}
