//! The protocols that are known: the built-in ones, and an operator's own.

use crate::compile::{DocumentProblems, compile};
use crate::document::Document;
use crate::protocol::Protocol;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// The built-in documents, each behind those that it builds on.
pub const BUILTIN: &[(&str, &str)] = &[
    ("openai", include_str!("../protocols/openai.toml")),
    ("anthropic", include_str!("../protocols/anthropic.toml")),
    ("gemini", include_str!("../protocols/gemini.toml")),
    ("azure", include_str!("../protocols/azure.toml")),
    ("cohere", include_str!("../protocols/cohere.toml")),
    ("jina", include_str!("../protocols/jina.toml")),
    ("ollama", include_str!("../protocols/ollama.toml")),
    ("http", include_str!("../protocols/http.toml")),
    ("custompass", include_str!("../protocols/custompass.toml")),
    ("openai-video", include_str!("../protocols/openai-video.toml")),
    ("kling", include_str!("../protocols/kling.toml")),
    ("runway", include_str!("../protocols/runway.toml")),
    ("dashscope", include_str!("../protocols/dashscope.toml")),
    ("suno", include_str!("../protocols/suno.toml")),
    ("midjourney", include_str!("../protocols/midjourney.toml")),
    ("replicate", include_str!("../protocols/replicate.toml")),
    ("fal", include_str!("../protocols/fal.toml")),
];

/// Protocols by name.
#[derive(Clone, Debug, Default)]
pub struct Library {
    known: BTreeMap<String, (Document, Arc<Protocol>)>,
}

impl Library {
    /// The built-in protocols.
    ///
    /// # Errors
    /// Never: a test compiles them all.
    pub fn builtin() -> Result<&'static Self, DocumentProblems> {
        static BUILT: OnceLock<Result<Library, DocumentProblems>> = OnceLock::new();
        let built = BUILT.get_or_init(|| {
            let mut library = Self::default();
            for (_, text) in BUILTIN {
                library.add(text)?;
            }
            Ok(library)
        });
        built.as_ref().map_err(Clone::clone)
    }

    /// Adds the protocol of a document, in the place of one of the same name.
    ///
    /// # Errors
    /// Everything that is wrong with it; nothing is changed then.
    pub fn add(&mut self, text: &str) -> Result<Arc<Protocol>, DocumentProblems> {
        let (document, protocol) = compile(text, self)?;
        let protocol = Arc::new(protocol);
        self.known.insert(document.name.clone(), (document, Arc::clone(&protocol)));
        Ok(protocol)
    }

    /// The protocol of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Protocol>> {
        self.known.get(name).map(|(_, protocol)| protocol)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Protocol>> {
        self.known.values().map(|(_, protocol)| protocol)
    }

    pub(crate) fn document(&self, name: &str) -> Option<&Document> {
        self.known.get(name).map(|(document, _)| document)
    }
}
