//! The paths that calls may have: the routes of the protocols by which paths are read now.

use crate::{AdminError, AdminState};
use protocol::Protocol;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// The routes of one protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SpokenRoutes {
    /// Name of the protocol.
    pub protocol: String,
    /// What it is called in Chinese.
    pub title_zh: String,
    /// What it is called in English.
    pub title_en: String,
    /// Methods and paths, like `POST /v1/chat/completions`; `{name}` stands for a part of a path,
    /// `{+name}` for one that may have slashes, `*` at the end for anything.
    pub calls: Vec<String>,
}

/// The protocols that enabled channels speak and those that always are, by name.
///
/// # Errors
/// When this process serves nothing.
pub fn list(state: &AdminState) -> Result<Vec<SpokenRoutes>, AdminError> {
    let live = state.live.as_ref();
    let live = live.ok_or_else(|| AdminError::System("routes without a live view".to_owned()))?;
    let catalog = live.catalog.load();
    Ok(catalog.spoken_protocols().iter().map(shown).collect())
}

fn shown(protocol: &Arc<Protocol>) -> SpokenRoutes {
    let patterns = protocol.routes.iter().flat_map(|route| &route.patterns);
    SpokenRoutes {
        protocol: protocol.name.to_string(),
        title_zh: protocol.title.zh.clone(),
        title_en: protocol.title.en.clone(),
        calls: patterns.map(ToString::to_string).collect(),
    }
}
