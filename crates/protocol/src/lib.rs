//! Protocols: how an upstream is spoken to, as data.
//!
//! A document says how one kind of API is addressed, how its replies are read, and what they
//! count. It is compiled once ([`Library::add`]), and then shared. The walk of one request:
//!
//! ```
//! use protocol::{Head, Library, Meter, Outcome, Reader};
//!
//! let library = Library::builtin()?;
//! let protocol = library.get("anthropic").ok_or("no such protocol")?;
//!
//! // Which call is this, and of which model?
//! let call = protocol.route("POST", "/v1/messages").ok_or("no such route")?;
//! let body = br#"{"model":"claude","max_tokens":300,"messages":[{"content":"Hi"}]}"#;
//! let request = call.route.read_request(&call.captures, "", body);
//! assert_eq!(request.model.as_deref(), Some("claude"));
//! assert_eq!((request.output_limit, request.ambiguous), (Some(300), false));
//!
//! // How is the channel's key presented?
//! let credential = protocol.auth.apply("sk-channel");
//! assert!(credential.is_some());
//!
//! // What does the reply say? It passes in any pieces, and none of it is held.
//! let head = Head { status: 200, content_type: Some("application/json") };
//! let mut reader = Reader::new(call.route, head);
//! for piece in [r#"{"type":"message","usage":{"input_tok"#, r#"ens":9,"output_tokens":4}}"#] {
//!     reader.push(piece.as_bytes());
//! }
//! let reading = reader.finish();
//! assert_eq!(reading.outcome, Outcome::Delivered);
//! assert_eq!(reading.meters.get(Meter::Output), Some(4));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Pure: nothing here waits, reads a file, or asks for the time. A body that is compressed is
//! decoded by the caller.
#![warn(unreachable_pub, clippy::disallowed_methods)]

mod auth;
mod compile;
mod count;
mod document;
mod errors;
mod found;
mod library;
mod meter;
mod pointer;
mod program;
mod protocol;
mod reading;
mod reference;
mod request;
mod route;
mod rules;
mod task;
mod tokens;
mod walk;

pub use auth::{Address, Auth, Credential};
pub use compile::{MAX_DOCUMENT_BYTES, Problem, Problems};
pub use document::{ListWord, Merge, PriceWord, TaskWord, TaskWords, Title};
pub use errors::{ErrorShape, OwnError};
pub use library::{BUILTIN, Library};
pub use meter::{Meter, Meters, UnknownMeter};
pub use pointer::{Filter, Pointer, PointerError, Segment};
pub use protocol::Protocol;
pub use reading::{Failure, Head, MeterFault, Outcome, Reader, Reading, Shape};
pub use reference::{BEGIN as REFERENCE_BEGIN, reference};
pub use request::RequestReading;
pub use route::{Captures, Pattern, PatternError, Route, RouteMatch, Source, UsageRequest};
pub use task::{Question, TaskReading, TaskRules};
pub use tokens::{TokenCounter, count_tokens};
