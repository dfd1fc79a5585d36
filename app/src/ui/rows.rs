//! Rows of a list that changes while somebody works in it: each stays where it stands, and what has the focus in it keeps it.

use core::hash::Hash;
use std::collections::BTreeMap;

use leptos::prelude::*;
use wardlink_protocol::Device;
use wardlink_protocol::api::{
    CatalogEntry, FlagView, GatewayView, ManufacturerView, OfferDevice, OfferView, OutcomeView, Person, RecordsDevice,
    RecordsGap, ReleaseView,
};
use wardlink_protocol::identity::RecordChain;

/// What a row shows, told apart from other rows whatever else of it changes.
pub(crate) trait Identified: Clone + PartialEq + Send + Sync + 'static {
    /// What it is known by.
    type Id: Clone + Ord + Hash + Send + Sync + 'static;

    /// What this one is known by.
    fn id(&self) -> Self::Id;
}

macro_rules! identified {
    ($($row:ty: $field:ident, $id:ty;)*) => {$(
        impl Identified for $row {
            type Id = $id;

            fn id(&self) -> $id {
                Clone::clone(&self.$field)
            }
        }
    )*};
}

identified! {
    CatalogEntry: device, Device;
    FlagView: id, u64;
    GatewayView: gateway, Device;
    ManufacturerView: manufacturer, String;
    OfferDevice: device, Device;
    OfferView: id, u64;
    OutcomeView: id, u64;
    Person: id, u64;
    RecordsDevice: device, Device;
    ReleaseView: path, String;
}

impl Identified for RecordsGap {
    type Id = (Device, RecordChain);

    fn id(&self) -> Self::Id {
        (self.device.clone(), self.chain)
    }
}

/// What is known of each row.
type Known<T> = BTreeMap<<T as Identified>::Id, ArcRwSignal<T>>;

/// The rows of a list. One that changes is drawn anew in its place, of the same elements; the others are left alone.
pub(crate) fn rows<T: Identified, V: IntoView + 'static>(
    list: impl Fn() -> Vec<T> + Send + Sync + 'static,
    row: impl Fn(T) -> V + Copy + Send + Sync + 'static,
) -> impl IntoView {
    let known = StoredValue::new(Known::<T>::new());
    let each = move || {
        let list = list();
        known.try_update_value(|known| follow(known, list)).unwrap_or_default()
    };
    view! { <For each=each key=|(id, _)| id.clone() let:one>{move || row(one.1.get())}</For> }
}

/// Takes over what the rows are now: those that were there are told of their changes, the others begin or end.
fn follow<T: Identified>(known: &mut Known<T>, list: Vec<T>) -> Vec<(T::Id, ArcRwSignal<T>)> {
    let mut before = core::mem::take(known);
    let present = list.into_iter().map(|one| {
        let id = one.id();
        let Some(row) = before.remove(&id) else { return (id, ArcRwSignal::new(one)) };
        if row.with_untracked(|known| *known != one) {
            row.set(one);
        }
        (id, row)
    });
    let present: Vec<_> = present.collect();
    known.extend(present.iter().cloned());
    present
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn person(id: u64, name: &str) -> Person {
        let role = wardlink_protocol::api::Role::Nurse;
        Person { id, name: name.to_owned(), role, active: true, last_signed_in: None }
    }

    #[test]
    fn a_row_that_changes_or_moves_stays_the_one_that_it_is() {
        let owner = Owner::new();
        owner.set();
        let mut known = Known::<Person>::new();
        let first = follow(&mut known, vec![person(1, "anna"), person(2, "ben")]);
        let later = follow(&mut known, vec![person(3, "cleo"), person(2, "bea"), person(1, "anna")]);
        assert_eq!(later.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [3, 2, 1]);
        assert_eq!(first[1].1.get_untracked().name, "bea", "it is told of its change");
        assert!(first[1].1 == later[1].1 && first[0].1 == later[2].1, "each is the same as before");
        // One that is gone begins anew when it comes again.
        assert!(follow(&mut known, Vec::new()).is_empty() && known.is_empty());
        let again = follow(&mut known, vec![person(1, "anna")]);
        assert!(again[0].1 != first[0].1);
    }
}
