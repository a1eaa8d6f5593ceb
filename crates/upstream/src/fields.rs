//! The fields of a form as the text of a JSON object, so that both are read in one way.

/// The object, while fields are added.
pub(crate) struct FieldsJson(String);

impl FieldsJson {
    pub(crate) fn new() -> Self {
        Self("{".to_owned())
    }

    /// Adds a field. A name that some parsers cut (`size[]`, `[size]`, `size.x`) is cut; one whose
    /// value two parsers may read differently (none) is there twice.
    pub(crate) fn add(&mut self, name: &str, value: Option<&str>) {
        let whole = name.trim_start_matches(['[', ']', '.']);
        let cut = whole.split(['[', ']', '.']).next();
        let text = serde_json::Value::from(value.unwrap_or_default());
        let twice = cut.filter(|_| value.is_none());
        // To PHP `max.tokens` is `max_tokens`.
        let joined = Some(whole).filter(|whole| whole.contains('.'));
        for name in cut.into_iter().chain(twice).chain(joined) {
            let comma = if self.0.len() > 1 { "," } else { "" };
            self.0.push_str(&format!("{comma}{}:{text}", serde_json::Value::from(name)));
        }
    }

    pub(crate) fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}
