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
