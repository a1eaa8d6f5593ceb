//! Administration: the use cases ([`ops`]) and the JSON API over them ([`router`]).
//!
//! The command line calls the same use cases. No key, hash or password is in any answer or log,
//! but for a key, an access token and a first password on the one occasion they are made.
#![warn(unreachable_pub, clippy::disallowed_methods)]

mod api;
mod counted;
mod error;
mod exact;
mod fields;
mod login_guard;
pub mod ops;
mod page;
mod password;
mod random;
mod request_body;
pub mod session_cookie;
mod sheet;
mod site;
mod state;
mod survey;
mod words;

pub use api::{openapi, router};
pub use counted::counted;
pub use error::AdminError;
pub use exact::Exact;
pub use fields::Fields;
pub use login_guard::LoginGuard;
pub use ops::option::{Changed, OptionRefused, OptionView, Options};
pub use ops::redemption::WrongCodes;
pub use page::{Page, PageRequest, Query};
pub use password::Passwords;
pub use request_body::BodyShare;
pub use site::{check_site, foreign_site};
pub use state::{Actor, AdminState, ROLE_ADMIN, ROLE_ROOT, ROLE_USER};
