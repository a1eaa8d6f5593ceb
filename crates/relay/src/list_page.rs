//! A page of a list, as OpenAI's API has it, and those that follow it.

use serde::Serialize;

/// A page of a list.
#[derive(Debug, Serialize)]
pub(crate) struct ListPage<T> {
    /// `list`.
    pub object: &'static str,
    pub first_id: Option<String>,
    pub last_id: Option<String>,
    pub has_more: bool,
    pub data: Vec<T>,
}

impl<T> Default for ListPage<T> {
    fn default() -> Self {
        Self { object: "list", first_id: None, last_id: None, has_more: false, data: Vec::new() }
    }
}
