//! The database: PostgreSQL or SQLite, behind one small interface, and the tables that several
//! crates read. What only one crate writes has its SQL there.
//!
//! [`Db`] runs SQL in the dialect that both engines share. [`Live`] is the current configuration:
//! channels, prices and keys, following every change from any source. Money is written by the
//! `ledger` crate alone.
#![warn(unreachable_pub, clippy::disallowed_methods)]

mod catalog;
pub mod channel_fields;
mod db;
mod dsn;
mod error;
pub mod idempotency;
mod identity;
mod identity_cache;
mod key_uses;
mod libpq;
mod live;
mod live_feed;
mod long_reader;
mod migrations;
pub mod nodes;
pub mod patterns;
mod pg;
mod pg_types;
pub mod protocols;
pub mod resources;
mod row;
mod seal;
mod sealed_proxy;
mod sqlite;
mod sqlite_checkpoint;
mod sqlite_copy;
pub mod sums;
pub mod tasks;
mod tls;
mod value;
pub mod webhooks;

pub use catalog::{ALWAYS_SPOKEN, BadRow, Catalog, Channel, DEFAULT_GROUP, Problem, channel_now};
pub use channel_fields::{ChannelSetting, FieldError, Precharge};
pub use db::{Db, DbConfig, Engine, PoolStatus, Statement};
pub use error::StoreError;
pub use identity::{AdminIdentity, Identities, Identity};
pub use libpq::{Libpq, libpq};
pub use live::Live;
pub use live_feed::request_poll;
pub use long_reader::LongReader;
pub use migrations::{Migration, make_months, migrations_for, newest_schema};
pub use protocols::ChannelProtocol;
pub use row::{FromValue, Row};
pub use seal::{
    CHANNEL_KEY, REPLY, RESOURCE, SealError, Sealer, Secret, TASK_DATA, TASK_REQUEST, TOKEN_KEY,
    WEBHOOK_SECRET, WEBHOOK_URL, key_hash, key_hint, verify_secret,
};
pub use sealed_proxy::{open_proxy, seal_proxy};
pub use sqlite::{SqliteJob, SqliteWriter};
pub use sqlite_copy::{Contents, copy_sqlite, inspect_sqlite, replace_sqlite};
pub use value::Value;
