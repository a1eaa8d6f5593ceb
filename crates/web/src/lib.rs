//! Shared by all HTTP surfaces: bodies, faults as responses, request ids, and the client's address.
//!
//! Status codes are chosen here and nowhere else (an upstream's own status passes through).
#![warn(unreachable_pub, clippy::disallowed_methods)]

mod body;
mod client_address;
mod collect;
mod fault;
mod json;
pub mod memory;
mod request_id;
mod seconds;
mod unread;

pub use body::{Body, BodyError, boxed, empty, full};
pub use client_address::TrustedProxies;
pub use collect::{CollectError, CollectLimits, Pieces, collect};
pub use fault::{Shown, render_admin_fault, render_fault, render_fault_as, show};
pub use json::json;
pub use request_id::{X_REQUEST_ID, request_id, uuid_v7};
pub use seconds::Seconds;
pub use unread::Unread;
