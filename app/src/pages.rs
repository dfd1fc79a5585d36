//! A list that comes in pages: what is known of it is looked at again as a whole, and stays as far as it goes.

use core::fmt::Display;

use leptos::prelude::*;
use leptos::task::spawn_local;
use serde::de::DeserializeOwned;
use wardlink_protocol::api::{
    CatalogEntry, CatalogPage, FLAGS_PAGE, FlagView, OUTCOMES_PAGE, OfferDevice, OfferDevices, OfferView, OutcomeView,
    RecordsDevice, RecordsView,
};
use wardlink_protocol::{Device, UnixMillis};

use crate::api::Failure;
use crate::app::{App, use_app, use_text};
use crate::fetched::{REFRESH, watch};
use crate::ui::rows::{Identified, rows};
use crate::ui::{Loading, Trouble};

/// One page.
pub(crate) trait Page: DeserializeOwned + 'static {
    /// What it says beside its rows.
    type Head: Clone + PartialEq + Send + Sync + 'static;
    /// One row.
    type Row: Identified;
    /// Where a page begins.
    type Place: Clone + Display + PartialEq + Send + Sync + 'static;
    /// What a question calls that place.
    const PLACE: &'static str;

    /// What it says, its rows, and where the next page begins.
    fn parts(self) -> Parts<Self>;
}

/// A page, or several of them, one after the other.
pub(crate) type Parts<P> = (<P as Page>::Head, Vec<<P as Page>::Row>, Option<<P as Page>::Place>);

impl Page for CatalogPage {
    /// How many devices there are in all.
    type Head = u64;
    type Row = CatalogEntry;
    type Place = Device;
    const PLACE: &'static str = "after";

    fn parts(self) -> Parts<Self> {
        (self.total, self.devices, self.next)
    }
}

impl Page for OfferDevices {
    type Head = OfferView;
    type Row = OfferDevice;
    type Place = Device;
    const PLACE: &'static str = "after";

    fn parts(self) -> Parts<Self> {
        (self.offer, self.devices, self.next)
    }
}

impl Page for RecordsView {
    /// Everything but the devices.
    type Head = Self;
    type Row = RecordsDevice;
    type Place = Device;
    const PLACE: &'static str = "after";

    fn parts(mut self) -> Parts<Self> {
        let (devices, next) = (core::mem::take(&mut self.devices), self.next.take());
        (self, devices, next)
    }
}

impl Page for Vec<OutcomeView> {
    type Head = ();
    type Row = OutcomeView;
    type Place = u64;
    const PLACE: &'static str = "before";

    fn parts(self) -> Parts<Self> {
        let next = self.last().filter(|_| self.len() >= OUTCOMES_PAGE).map(|last| last.id);
        ((), self, next)
    }
}

impl Page for Vec<FlagView> {
    type Head = ();
    type Row = FlagView;
    type Place = u64;
    const PLACE: &'static str = "before";

    fn parts(self) -> Parts<Self> {
        let next = self.last().filter(|_| self.len() >= FLAGS_PAGE).map(|last| last.id);
        ((), self, next)
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
    next: RwSignal<Option<P::Place>>,
    /// How many pages are shown.
    shown: StoredValue<u32>,
    /// When they were looked at last.
    looked_at: StoredValue<UnixMillis>,
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
            looked_at: StoredValue::new(UnixMillis(0)),
            questions: StoredValue::new(Questions::default()),
        };
        pages.load();
        pages
    }

    /// The same, and looks again while the screen is shown and somebody may see it.
    pub(crate) fn follow(path: String) -> Self {
        let pages = Self::start(path.clone());
        watch(pages.app, &path, move || {
            if pages.is_due() == Some(true) {
                pages.fetch(By::Page);
            }
        });
        pages
    }

    /// Whether it is time to look again. The more pages there are, the rarer: a long list costs the server no more than a short one.
    fn is_due(self) -> Option<bool> {
        let is_quiet = self.questions.try_with_value(|questions| questions.is_quiet())?;
        let pause = REFRESH.saturating_mul(self.shown.try_get_value()?.saturating_sub(1));
        Some(is_quiet && self.app.clock.now_untracked().since(self.looked_at.try_get_value()?) >= pause)
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
        self.looked_at.set_value(self.app.clock.now_untracked());
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
            let page = self.app.get::<P>(&at::<P>(&path, Some(&after))).await.map(P::parts);
            if !self.counts(question) {
                return;
            }
            match page {
                Ok((_, rows, next)) => {
                    self.shown.update_value(|shown| *shown = shown.saturating_add(1));
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

    /// What went wrong, if anything did, with a way to try again.
    pub(crate) fn trouble(self) -> impl IntoView {
        view! { <Trouble failure=self.failure retry=Callback::new(move |()| self.load())/> }
    }

    /// Shows that it comes, until it is known or has failed.
    pub(crate) fn waiting(self) -> impl IntoView {
        let is_empty = self.is_empty();
        move || {
            let is_waiting = is_empty.get().is_none() && self.failure.with(Option::is_none);
            is_waiting.then(|| view! { <div class="card"><Loading/></div> })
        }
    }

    /// The rows by themselves; each stays in its place while it changes.
    pub(crate) fn each<V: IntoView + 'static>(
        self,
        row: impl Fn(P::Row) -> V + Copy + Send + Sync + 'static,
    ) -> impl IntoView {
        rows(move || self.rows.get().unwrap_or_default(), row)
    }

    /// The rows, where there are some, as a list of this name and style.
    pub(crate) fn list<V: IntoView + 'static>(
        self,
        name: &'static str,
        style: &'static str,
        row: impl Fn(P::Row) -> V + Copy + Send + Sync + 'static,
    ) -> impl IntoView {
        let is_empty = self.is_empty();
        move || {
            (is_empty.get() == Some(false)).then(|| {
                view! {
                    <ul class=style data-testid=name>
                        {self.each(row)}
                    </ul>
                }
            })
        }
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

/// The first pages, as many as these or all there are. What the first one says beside its rows is said of all.
async fn collect<P: Page>(app: App, path: &str, pages: u32, by: By) -> Result<Parts<P>, Failure> {
    let mut read: Option<Parts<P>> = None;
    for _ in 0..pages.max(1) {
        let place = at::<P>(path, read.as_ref().and_then(|(_, _, next)| next.as_ref()));
        let page = match by {
            By::Person => app.get::<P>(&place).await,
            By::Page => app.look::<P>(&place).await,
        };
        let (head, rows, next) = page?.parts();
        let is_last = next.is_none();
        read = Some(match read {
            Some((head, mut all, _)) => {
                all.extend(rows);
                (head, all, next)
            }
            None => (head, rows, next),
        });
        if is_last {
            break;
        }
    }
    read.ok_or(Failure::Unreachable)
}

/// Every row of a list.
pub(crate) async fn all<P: Page>(app: App, path: &str) -> Result<Vec<P::Row>, Failure> {
    collect::<P>(app, path, u32::MAX, By::Person).await.map(|(_, rows, _)| rows)
}

/// The path of a page.
fn at<P: Page>(path: &str, place: Option<&P::Place>) -> String {
    let joint = if path.contains('?') { '&' } else { '?' };
    place.map_or_else(|| path.to_owned(), |place| format!("{path}{joint}{}={place}", P::PLACE))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use wardlink_protocol::UnixMillis;

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
    fn a_page_begins_at_its_place_whatever_else_is_asked() {
        let device: Device = "scale/s-1".parse().unwrap();
        assert_eq!(at::<CatalogPage>("/catalog", None), "/catalog");
        assert_eq!(at::<CatalogPage>("/catalog", Some(&device)), "/catalog?after=scale/s-1");
        assert_eq!(at::<CatalogPage>("/catalog?find=PM2", Some(&device)), "/catalog?find=PM2&after=scale/s-1");
        assert_eq!(at::<Vec<FlagView>>("/flags?open=true", Some(&7)), "/flags?open=true&before=7");
    }

    #[test]
    fn the_place_of_the_next_page_is_known_by_a_full_one_and_the_end_by_one_that_is_not() {
        let outcome = |id| OutcomeView {
            id,
            at: UnixMillis(1_000),
            gateway: "gateway/north".parse().unwrap(),
            device: "infusion-pump/ip-1".parse().unwrap(),
            directive: 3,
            outcome: "installed".to_owned(),
            detail: String::new(),
        };
        let full: Vec<OutcomeView> = (1..=200).rev().map(outcome).collect();
        let ((), rows, next) = full.parts();
        assert_eq!((rows.len(), next), (200, Some(1)));
        let ((), rows, next) = vec![outcome(9)].parts();
        assert_eq!((rows.len(), next), (1, None));
    }
}
