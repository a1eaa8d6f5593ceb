//! The string table of a profile.

use std::collections::HashMap;

/// Strings by their index. The first is empty.
pub(crate) struct Strings {
    indices: HashMap<String, i64>,
    table: Vec<String>,
}

impl Default for Strings {
    fn default() -> Self {
        Self { indices: HashMap::from([(String::new(), 0)]), table: vec![String::new()] }
    }
}

impl Strings {
    /// The index of `text`.
    pub(crate) fn index(&mut self, text: &str) -> i64 {
        if let Some(index) = self.indices.get(text) {
            return *index;
        }
        let index = i64::try_from(self.table.len()).unwrap_or(0);
        self.table.push(text.to_owned());
        self.indices.insert(text.to_owned(), index);
        index
    }

    /// All strings, by index.
    pub(crate) fn table(self) -> Vec<String> {
        self.table
    }
}
