//! The vocabulary of the domain: quota, prices, meters, usage, ids, faults.
//!
//! Pure by design: no waiting, no files, no SQL, no HTTP, no clock.
#![warn(unreachable_pub, clippy::disallowed_methods)]

mod charge_note;
mod clock;
mod duration;
mod explained;
mod fault;
mod ids;
mod meter;
mod model;
mod price;
mod quota;
mod ratio;
mod schedule;
pub mod spelling;
mod task;
mod terms;
mod usage;

pub use charge_note::{ChargeNote, Reported, UNKNOWN_OUTCOME};
pub use clock::{Clock, DAY_MS, HOUR_MS, UnixMs};
pub use duration::millis;
pub use fault::{Fault, FaultKind};
pub use ids::{ChannelId, HoldId, KeyId, NodeId, RedemptionId, TaskUid, UserId};
pub use meter::{METERS, Meter, Meters, UnknownMeter};
pub use model::{ModelName, ModelNameError, submission_of, task_base};
pub use price::{FrozenPrice, PriceError, PriceRow, Pricing, Rule, UseRatios};
pub use quota::Quota;
pub use ratio::{Ratio, RatioError, UnitPrice};
pub use schedule::{RequestMember, RequestPlace, Schedule, ScheduleError, Tier};
pub use task::{StatusWords, TaskStatus, task_status};
pub use usage::{Usage, UsageError, UsageReport};
