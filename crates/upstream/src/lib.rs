//! The outbound side: connecting to upstreams, sending requests, and reading replies about tasks.
//!
//! Not here: choosing a channel, money, status codes of our own. Nothing in this crate changes a
//! byte of a body unless it is called to ([`splice`], [`multipart`], [`links`]).
#![warn(unreachable_pub, clippy::disallowed_methods)]

pub mod address;
mod body;
pub mod client;
mod connect;
mod decode;
mod echo;
mod encode;
mod error;
mod fields;
pub mod guard;
pub mod headers;
pub mod links;
pub mod media;
pub mod multipart;
mod parameters;
pub mod path;
mod proxy;
pub mod query;
mod reply;
pub mod splice;
mod stale;
pub mod task_reply;
mod tls;
pub mod urlencoded;

pub use address::{AddressError, BaseUrl};
pub use body::Payload;
pub use client::{Client, ClientConfig, Deadlines, OutboundRequest, Reply, redirects_elsewhere};
pub use decode::{BROKEN_ENCODING, Decoded};
pub use echo::{
    EchoGuard, EchoWatch, Echoed, is_part_of_a_text, is_repeated_request, keep_readable_codings,
};
pub use encode::{encode_path, encode_segment};
pub use error::{BoxError, ConnectError, Phase, SendError, Sent};
pub use guard::AddressGuard;
pub use path::{PathError, decode_model_path, percent_decoded};
pub use proxy::{Proxies, ProxyChoice, ProxyError};
pub use query::{says, with_precharge};
pub use reply::ReplyBody;
