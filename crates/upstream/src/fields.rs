//! The fields of a form as the text of a JSON object, so that both are read in one way.

/// Most text of one form that is read, in bytes: prompts are shorter, and files are no text.
pub(crate) const MAX_TEXT: usize = 1 << 20;

/// The object, while fields are added.
pub(crate) struct FieldsJson(String);

impl FieldsJson {
    pub(crate) fn new() -> Self {
        Self("{".to_owned())
    }

    /// Adds a field; a list of one (`size[]`) is its element. What parsers read apart is there in
    /// another spelling, which is refused by whoever looks for that field, and by nobody else: a
    /// name that some cut or take for a member's member (`[size]`, `size.x`, `size[x]`), and a
    /// value that they may read differently (none), or that is too long.
    pub(crate) fn add(&mut self, name: &str, value: Option<&str>) {
        let one = name.strip_suffix("[]").unwrap_or(name);
        let fits = |value: &&str| self.0.len() + value.len() <= MAX_TEXT;
        match value.filter(fits).filter(|_| !one.contains(['[', ']', '.'])) {
            Some(value) => self.member(one, value),
            None => self.add_unclear(name),
        }
    }

    /// Adds a field of which parsers read another name, or another value.
    pub(crate) fn add_unclear(&mut self, name: &str) {
        // To PHP `max.tokens` is `max_tokens`, and so is `max[tokens`.
        self.member(&format!("[{}", name.replace('.', "[")), "");
    }

    fn member(&mut self, name: &str, value: &str) {
        let comma = if self.0.len() > 1 { "," } else { "" };
        let (name, value) = (serde_json::Value::from(name), serde_json::Value::from(value));
        self.0.push_str(&format!("{comma}{name}:{value}"));
    }

    pub(crate) fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}
