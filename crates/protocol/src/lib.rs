//! Protocols: how an upstream is spoken to, as data.
//!
//! A document says how one kind of API is addressed, how its replies are read, and what they
//! count. It is compiled once ([`Library::add`]), and then shared. The walk of one request:
//!
//! ```
//! use domain::UnixMs;
//! use protocol::{ReplyHead, Library, Meter, CallOutcome, ReplyReader};
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
//! let credential = protocol.auth.apply("sk-channel", UnixMs(1_700_000_000_000));
//! assert!(credential.is_some());
//!
//! // What does the reply say? It passes in any pieces, and none of it is held.
//! let head = ReplyHead { status: 200, content_type: Some("application/json") };
//! let mut reader = ReplyReader::new(call.route, head);
//! for piece in [r#"{"type":"message","usage":{"input_tok"#, r#"ens":9,"output_tokens":4}}"#] {
//!     reader.push(piece.as_bytes());
//! }
//! let reading = reader.finish();
//! assert_eq!(reading.outcome, CallOutcome::Delivered);
//! assert_eq!(reading.meters.get(Meter::Output), Some(4));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Pure: nothing here waits, reads a file, or asks for the time. A body that is compressed is
//! decoded by the caller.
#![warn(unreachable_pub, clippy::disallowed_methods)]

mod auth;
mod billed;
mod compile;
mod count;
mod document;
mod errors;
mod found;
mod head_count;
mod ids;
mod library;
mod pointer;
mod probe;
mod program;
mod program_builder;
mod protocol;
mod reading;
mod reads;
mod reference;
mod refusal;
mod request;
mod route;
mod rules;
mod spoken;
mod task;
mod tokens;
mod value_source;
mod walk;

pub use auth::{Address, Auth, Credential};
pub use billed::PriceNeeds;
pub use compile::{DocumentProblem, DocumentProblems, MAX_DOCUMENT_BYTES};
pub use document::{ListWord, Merge, PriceWord, ProtocolTitle, TaskWord, TaskWords};
pub use domain::{Meter, Meters, UnknownMeter};
pub use errors::{ErrorShape, OwnError};
pub use library::{BUILTIN, Library};
pub use pointer::{ElementCondition, ElementFilter, Pointer, PointerError, Segment};
pub use probe::{ProbeCall, RouteProbe};
pub use protocol::Protocol;
pub use reading::{
    BodyShape, CallOutcome, MeterFault, ReplyFailure, ReplyHead, ReplyReader, ReplyReading,
};
pub use reference::{BEGIN as REFERENCE_BEGIN, reference};
pub use refusal::{Refusal, UnreadBody};
pub use request::{RequestReading, UnitSource};
pub use route::{
    PathCaptures, ProtocolRoute, RouteMatch, RoutePattern, RoutePatternError, RouteSession,
    UsageMember,
};
pub use spoken::SpokenProtocols;
pub use task::{TaskCount, TaskReading, TaskRequest, TaskRules};
pub use tokens::{TokenCounter, count_tokens};
pub use value_source::ValueSource;
