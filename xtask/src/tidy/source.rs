//! A Rust file, taken apart just far enough: code without strings and comments, the strings by
//! themselves, and which lines are tests.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A Rust file.
pub struct Source {
    /// Its path from the root of the repository.
    pub path: PathBuf,
    /// The text as it stands.
    pub text: String,
    /// The text with the inside of strings and all comments turned into blanks, byte for byte.
    pub code: String,
    /// Where the insides of string literals lie.
    pub strings: Vec<Range<usize>>,
    /// Where test code lies.
    tests: Vec<Range<usize>>,
    line_starts: Vec<usize>,
}

impl Source {
    pub fn new(path: &Path, text: &str) -> Self {
        let (code, strings) = mask(text);
        let tests = test_items(&code);
        let line_starts =
            std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let path = path.to_path_buf();
        Self { path, text: text.to_owned(), code, strings, tests, line_starts }
    }

    /// The crate it belongs to: the directory under `crates`, or the top directory.
    pub fn crate_name(&self) -> &str {
        let mut parts = self.path.iter().filter_map(|part| part.to_str());
        match parts.next() {
            Some("crates") => parts.next().unwrap_or_default(),
            other => other.unwrap_or_default(),
        }
    }

    /// The line of a byte, from 1.
    pub fn line(&self, at: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= at)
    }

    /// `path:line` of a byte.
    pub fn place(&self, at: usize) -> String {
        format!("{}:{}", self.path.display(), self.line(at))
    }

    /// Whether the byte lies in test code.
    pub fn is_test(&self, at: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&at))
    }

    /// Whether a comment on the line of this byte, or on the line above, lets it off.
    pub fn allows(&self, rule: &str, at: usize) -> bool {
        let line = self.line(at);
        let pardon = format!("tidy:allow({rule})");
        let lines =
            self.text.lines().skip(line.saturating_sub(2)).take(if line > 1 { 2 } else { 1 });
        // A pardon without a reason is none.
        lines.filter_map(|text| text.split_once(&pardon)).any(|(_, why)| why.trim().len() > 8)
    }

    /// The files that this one declares as modules for tests only.
    pub fn declared_test_modules(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for range in &self.tests {
            let item = &self.code[range.clone()];
            let Some(item) = item.trim_end().strip_suffix(';') else { continue };
            let mut words = item.split_whitespace().rev();
            let (Some(name), Some("mod")) = (words.next(), words.next()) else { continue };
            let dir = self.path.parent().unwrap_or(Path::new(""));
            let stem = self.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let dir = match stem {
                "lib" | "main" | "mod" => dir.to_path_buf(),
                other => dir.join(other),
            };
            found.push(dir.join(format!("{name}.rs")));
            found.push(dir.join(name));
        }
        found
    }

    /// Marks the whole file as test code when it is.
    pub fn mark_test_file(&mut self, modules: &BTreeSet<PathBuf>) {
        let beside = ["tests", "benches", "examples"];
        let in_tests = self.path.iter().any(|part| beside.iter().any(|dir| part == *dir));
        let declared = self.path.ancestors().any(|place| modules.contains(place));
        if in_tests || declared || self.code.trim_start().starts_with("#![cfg(test)]") {
            self.tests.clear();
            self.tests.push(0..self.text.len() + 1);
        }
    }

    /// Where `word` stands in the code as a whole word (its ends are not within an identifier).
    pub fn words(&self, word: &str) -> Vec<usize> {
        let inner = |byte: Option<&u8>| byte.is_some_and(|b| is_ident(*b));
        let code = self.code.as_bytes();
        let (starts, ends) = (word.as_bytes().first(), word.as_bytes().last());
        let hits = self.code.match_indices(word).map(|(at, _)| at);
        hits.filter(|at| !(inner(starts) && *at > 0 && inner(code.get(at - 1))))
            .filter(|at| !(inner(ends) && inner(code.get(at + word.len()))))
            .collect()
    }
}

pub fn is_ident(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric() || byte >= 0x80
}

/// The end of the block that opens at or after `from`: the byte after its closing brace.
/// Stops at a `;` that comes before any brace.
pub fn block(code: &str, from: usize) -> Option<Range<usize>> {
    let bytes = code.as_bytes();
    let mut nesting = 0_usize;
    let mut open = from;
    // Brackets of the signature, such as `[u8; 4]`, hold semicolons of their own.
    loop {
        match bytes.get(open)? {
            b'(' | b'[' => nesting += 1,
            b')' | b']' => nesting = nesting.saturating_sub(1),
            b';' if nesting == 0 => return None,
            b'{' if nesting == 0 => break,
            _ => {}
        }
        open += 1;
    }
    let mut depth = 0_usize;
    for (at, byte) in bytes.iter().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(open..at + 1);
        }
    }
    None
}

/// The items under `#[cfg(test)]`, `#[test]` and alike, with their attributes.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (at, _) in code.match_indices("#[") {
        if found.iter().any(|range| range.contains(&at)) {
            continue;
        }
        let Some(length) = code[at..].find(']') else { continue };
        let attribute: String =
            code[at + 2..at + length].chars().filter(|c| !c.is_whitespace()).collect();
        let is_test = attribute == "test"
            || attribute.starts_with("cfg(test")
            || attribute.starts_with("cfg(any(test,")
            || attribute.starts_with("cfg(all(test,")
            || attribute.starts_with("tokio::test");
        if !is_test {
            continue;
        }
        let from = at + length + 1;
        let end = match block(code, from) {
            Some(block) => block.end,
            None => code[from..].find(';').map_or(code.len(), |end| from + end + 1),
        };
        found.push(at..end);
    }
    found
}

/// Blanks strings and comments, and returns where the strings were.
fn mask(text: &str) -> (String, Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut strings = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let in_word = at > 0 && is_ident(bytes[at - 1]);
        if rest.starts_with(b"//") {
            let end = find(bytes, at, b"\n").unwrap_or(bytes.len());
            blank(&mut code, at..end);
            at = end;
        } else if rest.starts_with(b"/*") {
            let end = comment_end(bytes, at);
            blank(&mut code, at..end);
            at = end;
        } else if let Some((inside, end)) = if in_word { None } else { raw_string(bytes, at) } {
            blank(&mut code, inside.clone());
            strings.push(inside);
            at = end;
        } else if rest[0] == b'"' {
            let end = string_end(bytes, at + 1);
            blank(&mut code, at + 1..end);
            strings.push(at + 1..end);
            at = end + 1;
        } else if rest[0] == b'\'' {
            let end = char_end(bytes, at);
            if let Some(end) = end {
                blank(&mut code, at + 1..end);
            }
            at = end.map_or(at + 1, |end| end + 1);
        } else {
            at += 1;
        }
    }
    (String::from_utf8_lossy(&code).into_owned(), strings)
}

fn blank(code: &mut [u8], range: Range<usize>) {
    let end = range.end.min(code.len());
    for byte in &mut code[range.start.min(end)..end] {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

fn find(bytes: &[u8], from: usize, needle: &[u8]) -> Option<usize> {
    let at = bytes[from..].windows(needle.len()).position(|window| window == needle);
    at.map(|at| from + at)
}

/// Block comments nest.
fn comment_end(bytes: &[u8], from: usize) -> usize {
    let (mut depth, mut at) = (0_usize, from);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// `r"…"`, `r#"…"#`, `br"…"`: the inside, and the byte after the whole.
fn raw_string(bytes: &[u8], from: usize) -> Option<(Range<usize>, usize)> {
    let rest = bytes[from..].strip_prefix(b"b").unwrap_or(&bytes[from..]);
    let rest = rest.strip_prefix(b"r")?;
    let hashes = rest.iter().take_while(|byte| **byte == b'#').count();
    if rest.get(hashes) != Some(&b'"') {
        return None;
    }
    let start = bytes.len() - rest.len() + hashes + 1;
    let mut close = vec![b'"'];
    close.resize(hashes + 1, b'#');
    let end = find(bytes, start, &close).unwrap_or(bytes.len());
    Some((start..end, (end + close.len()).min(bytes.len())))
}

fn string_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at.min(bytes.len())
}

/// The closing quote of a character literal; `None` for a lifetime.
fn char_end(bytes: &[u8], from: usize) -> Option<usize> {
    if bytes.get(from + 1) == Some(&b'\\') {
        return find(bytes, from + 3, b"'");
    }
    // One character of up to four bytes.
    let width = match bytes.get(from + 1)? {
        0..=0x7f => 1,
        0x80..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    (bytes.get(from + 1 + width) == Some(&b'\'')).then_some(from + 1 + width)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new(Path::new("crates/web/src/lib.rs"), text)
    }

    #[test]
    fn strings_and_comments_are_blanked() {
        let text = "let a = \"f64 \\\" {\"; // f64\n/* { /* f64 */ } */ let b = r#\"f64 \" {\"#;";
        let source = source(text);
        assert!(source.words("f64").is_empty(), "{}", source.code);
        assert!(!source.code.contains('{'), "{}", source.code);
        assert_eq!(source.code.len(), text.len());
        assert_eq!(&text[source.strings[1].clone()], "f64 \" {");
    }

    #[test]
    fn characters_and_lifetimes_are_told_apart() {
        let source =
            source("fn a<'a>(x: &'a str) { m('{', '\\'', '\"', '中', b'}'); } struct F64;");
        assert!(block(&source.code, 0).is_some());
        assert_eq!(source.code.matches('{').count(), 1, "{}", source.code);
        assert!(source.code.contains("struct F64"));
    }

    #[test]
    fn words_are_whole_words() {
        let source = source("let x: f64 = y.as_secs_f64(); f64::MAX");
        assert_eq!(source.words("f64").len(), 2);
    }

    #[test]
    fn test_code_is_known() {
        let source = source("fn a() {}\n#[cfg(test)]\nmod tests { fn b() {} }\nfn c() {}\n");
        assert!(!source.is_test(source.text.find("fn a").unwrap()));
        assert!(source.is_test(source.text.find("fn b").unwrap()));
        assert!(!source.is_test(source.text.find("fn c").unwrap()));
    }

    #[test]
    fn a_declared_test_module_is_a_test_file() {
        let parent = Source::new(Path::new("crates/web/src/a.rs"), "#[cfg(test)]\nmod cases;\n");
        let modules: BTreeSet<_> = parent.declared_test_modules().into_iter().collect();
        let mut child = Source::new(Path::new("crates/web/src/a/cases.rs"), "fn a() {}");
        child.mark_test_file(&modules);
        assert!(child.is_test(0));
        let mut other = Source::new(Path::new("crates/web/src/cases.rs"), "fn a() {}");
        other.mark_test_file(&modules);
        assert!(!other.is_test(0));
    }

    #[test]
    fn a_pardon_needs_a_reason() {
        let text = "// tidy:allow(clock) the one clock that there is\nnow();\n\
                    now(); // tidy:allow(clock)\n";
        let source = source(text);
        assert!(source.allows("clock", text.find("now").unwrap()));
        assert!(!source.allows("clock", text.rfind("now").unwrap()));
        assert!(!source.allows("files", text.find("now").unwrap()));
    }
}
