//! From bytes to documents: which kind of body it is, where its documents begin and end, and what
//! they say.

mod framing;
mod json;
mod scalar;
mod sse;
mod text;

pub(crate) use framing::Framer;
pub(crate) use json::JsonWalker;

/// Receives each document that ended.
pub(crate) trait DocumentEvents {
    /// A document of a stream ended, whole or broken, in an event of this name.
    fn document(&mut self, walker: &JsonWalker, event: &[u8]);
    /// The one document ended, whole or broken.
    fn single(&mut self, walker: &JsonWalker);
    /// An event without data ended.
    fn bare_event(&mut self, event: &[u8]);
    /// The stream sent `[DONE]`.
    fn done(&mut self);
    /// A document was malformed.
    fn broken(&mut self);
}
