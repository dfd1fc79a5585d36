//! Orders to devices.

use crate::identity::Device;
use crate::order::{OrderId, OrderRefusal, Task};
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// `POST /api/v1/devices/{client}/{identifier}/orders`: gives a device an order; [`OrderView`] is the answer. A repetition with the same
/// id has the same answer, and is the same order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    /// Drawn anew for each order.
    pub id: OrderId,
    /// What is to be done.
    pub task: Task,
    /// After so many seconds it is not carried out any more; at most a day.
    pub lifetime_secs: u32,
}

/// How far an order has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderState {
    /// The device has not said that it has it.
    Waiting,
    /// The device has it, and carries it out.
    Delivered,
    /// It was carried out.
    Done,
    /// The device refused it.
    Refused,
    /// It was not carried out in time, as far as is known.
    Expired,
}

/// An order: a row of `GET /api/v1/devices/{client}/{identifier}/orders`, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderView {
    /// Which order.
    pub id: OrderId,
    /// To which device.
    pub device: Device,
    /// What is to be done.
    pub task: Task,
    /// When it was given.
    pub given_at: UnixMillis,
    /// Who gave it: a person's name, or a service's.
    pub given_by: String,
    /// Whether a service gave it.
    pub by_service: bool,
    /// From then on it is not carried out.
    pub expires_at: UnixMillis,
    /// How far it has come.
    pub state: OrderState,
    /// Why the device refused it.
    pub refusal: Option<OrderRefusal>,
    /// When it was done, refused or expired.
    pub ended_at: Option<UnixMillis>,
}

impl OrderView {
    /// Whether both are the same order, however far each has come: an id is drawn by its giver, and counts among the giver's.
    pub fn is_same(&self, other: &Self) -> bool {
        let which = |order: &Self| (order.id, order.by_service);
        which(self) == which(other) && self.device == other.device && self.given_by == other.given_by
    }

    /// Whether the same order had come further: what is told of it in two ways may arrive in either order.
    pub fn is_behind(&self, other: &Self) -> bool {
        self.state.steps() < other.state.steps()
    }
}

impl OrderState {
    /// How many steps it has behind it; all ends are as far.
    const fn steps(self) -> u8 {
        match self {
            Self::Waiting => 0,
            Self::Delivered => 1,
            Self::Done | Self::Refused | Self::Expired => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn an_order_is_known_by_its_device_its_giver_and_its_id() {
        let order = OrderView {
            id: OrderId([1; 16]),
            device: "infusion-pump/ip-1".parse().unwrap(),
            task: Task::ReportNow,
            given_at: UnixMillis(1),
            given_by: "desk".to_owned(),
            by_service: false,
            expires_at: UnixMillis(2),
            state: OrderState::Waiting,
            refusal: None,
            ended_at: None,
        };
        let later = OrderView { state: OrderState::Done, ended_at: Some(UnixMillis(2)), ..order.clone() };
        assert!(order.is_same(&later));
        let delivered = OrderView { state: OrderState::Delivered, ..order.clone() };
        assert!(order.is_behind(&delivered) && delivered.is_behind(&later) && order.is_behind(&later));
        let expired = OrderView { state: OrderState::Expired, ..order.clone() };
        for (one, other) in
            [(&later, &delivered), (&delivered, &order), (&later, &later), (&expired, &later), (&later, &expired)]
        {
            assert!(!one.is_behind(other), "{one:?} {other:?}");
        }
        for other in [
            OrderView { id: OrderId([2; 16]), ..order.clone() },
            OrderView { device: "infusion-pump/ip-2".parse().unwrap(), ..order.clone() },
            OrderView { given_by: "ada".to_owned(), ..order.clone() },
            // A service may have a person's name.
            OrderView { by_service: true, ..order.clone() },
        ] {
            assert!(!order.is_same(&other), "{other:?}");
        }
    }
}
