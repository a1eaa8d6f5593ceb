//! The rules on one Rust file.

use super::Finding;
use super::source::{Source, block, is_ident};
use super::sql;

const FILE_LINES: usize = 700;
const FILE_LINES_WISHED: usize = 400;
const FUNCTION_LINES: usize = 80;
const COLUMNS: usize = 100;

/// Crates that are no part of the product.
const TOOLS: &[&str] = &["testkit", "xtask", "fuzz", "bench"];

/// Where a float is a measurement and not money.
const FLOAT_FILES: &[&str] = &["crates/ledger/src/metrics.rs"];

/// Which files open files because that is their purpose: the embedded database is one, the log is
/// one, a profile reads the names in the running program, and a build script reads the workspace.
const FILE_OWNERS: &[&str] = &[
    "crates/store/src/sqlite.rs",
    "crates/oplog/build.rs",
    "crates/oplog/src/file.rs",
    "crates/profiles/src/code.rs",
];

/// Every finding in a file.
pub fn check(source: &Source) -> Vec<Finding> {
    let mut findings = sizes(source);
    let tool = TOOLS.contains(&source.crate_name());
    let path = source.path.to_string_lossy();
    let mut at_each = |rule: &'static str, mut places: Vec<usize>, what: &str| {
        // Two words of a rule often stand on one line, such as `std::env` and `env::var`.
        places.sort_unstable();
        places.dedup_by_key(|at| source.line(*at));
        for at in places {
            if !source.is_test(at) && !source.allows(rule, at) {
                let what = what.to_owned();
                findings.push(Finding { rule, place: source.place(at), what, fatal: true });
            }
        }
    };
    if !tool {
        at_each("unwrap", unwraps(source), "may panic: answer the error instead");
    }
    if !tool && source.crate_name() != "gateway" {
        let what = "the environment and files are read in gateway alone: take it as an argument";
        if !FILE_OWNERS.contains(&path.as_ref()) {
            at_each("files", files(source), what);
        }
        // Of the others clippy keeps this: `disallowed-methods` in clippy.toml.
        if source.crate_name() == "ledger" {
            let what = "the time is asked in gateway alone: take a Clock or a UnixMs";
            at_each("clock", clocks(source), what);
        }
    }
    let exact = matches!(source.crate_name(), "domain" | "ledger");
    if exact && !FLOAT_FILES.contains(&path.as_ref()) {
        let places = ["f32", "f64"].iter().flat_map(|word| source.words(word)).collect();
        at_each("float", places, "no float comes near money: use Quota, Ratio or an integer");
    }
    if !tool && source.crate_name() != "ledger" {
        for range in &source.strings {
            let Some(what) = sql::money_write(&source.text[range.clone()]) else { continue };
            at_each("money", vec![range.start], &format!("{what}, which only ledger may do"));
        }
    }
    findings
}

fn sizes(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = source.text.lines().count();
    let place = source.path.display().to_string();
    let too_long = lines > FILE_LINES;
    if too_long || lines > FILE_LINES_WISHED {
        let what =
            format!("{lines} lines; about {FILE_LINES_WISHED} is good, {FILE_LINES} the end");
        findings.push(Finding { rule: "file-size", place, what, fatal: too_long });
    }
    let mut start = 0;
    for line in source.text.split('\n') {
        let columns = line.chars().count();
        if columns > COLUMNS && !source.allows("columns", start) {
            let what = format!("{columns} columns, more than {COLUMNS}");
            let place = source.place(start);
            findings.push(Finding { rule: "columns", place, what, fatal: true });
        }
        start += line.len() + 1;
    }
    for at in source.words("fn") {
        // `fn(…)` is a type.
        let named = source.code[at + 2..].trim_start().bytes().next().is_some_and(is_ident);
        let Some(body) = block(&source.code, at).filter(|_| named) else { continue };
        let lines = source.line(body.end - 1) - source.line(at) + 1;
        if lines > FUNCTION_LINES && !source.is_test(at) && !source.allows("function-size", at) {
            let what = format!("a function of {lines} lines, more than {FUNCTION_LINES}");
            let place = source.place(at);
            findings.push(Finding { rule: "function-size", place, what, fatal: true });
        }
    }
    findings
}

fn unwraps(source: &Source) -> Vec<usize> {
    // `expect` is clippy's to judge: an `#[expect(…, reason = "…")]` may argue for one.
    let words = [".unwrap()", ".unwrap_err()", "todo!(", "unimplemented!("];
    words.iter().flat_map(|word| source.words(word)).collect()
}

fn files(source: &Source) -> Vec<usize> {
    let mut places: Vec<usize> = ["std::env", "std::fs", "tokio::fs", "File::open", "env::var"]
        .iter()
        .flat_map(|word| source.words(word))
        .collect();
    places.extend(grouped_imports(source, &["env", "fs"]));
    places
}

/// `use std::{env, fs}` and alike.
fn grouped_imports(source: &Source, names: &[&str]) -> Vec<usize> {
    let mut found = Vec::new();
    for head in ["use std::{", "use tokio::{"] {
        for at in source.words(head) {
            let Some(group) = block(&source.code, at) else { continue };
            let inside = &source.code[group.start + 1..group.end - 1];
            let mut words = inside.split(|c: char| !(c == '_' || c.is_alphanumeric()));
            // Of tokio only files: it has no environment.
            let wanted =
                |word: &str| names.contains(&word) && (word == "fs" || head.contains("std"));
            if words.any(wanted) {
                found.push(at);
            }
        }
    }
    found
}

fn clocks(source: &Source) -> Vec<usize> {
    let words = ["SystemTime", "UNIX_EPOCH", "Timestamp::now", "Zoned::now", "Uuid::now_v7"];
    words.iter().flat_map(|word| source.words(word)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// The rules that `text` breaks as the file `path`.
    fn broken(path: &str, text: &str) -> Vec<&'static str> {
        let mut source = Source::new(Path::new(path), text);
        source.mark_test_file(&BTreeSet::new());
        check(&source).into_iter().map(|finding| finding.rule).collect()
    }

    const NONE: Vec<&str> = Vec::new();

    #[test]
    fn long_files_are_found() {
        let findings = |lines: usize| {
            check(&Source::new(Path::new("crates/web/src/a.rs"), &"// x\n".repeat(lines)))
        };
        assert_eq!(findings(400), []);
        assert!(!findings(401)[0].fatal);
        assert!(findings(701)[0].fatal);
    }

    #[test]
    fn long_lines_are_found() {
        let fits = "中".repeat(97);
        assert_eq!(broken("crates/web/src/a.rs", &format!("// {fits}\n")), NONE);
        assert_eq!(broken("crates/web/src/a.rs", &format!("// {fits}x\n")), ["columns"]);
    }

    #[test]
    fn long_functions_are_found_outside_tests() {
        let body = "    // }\n    let s = \"}\";\n".repeat(40);
        let long = format!("fn a(x: [u8; 2]) {{\n{body}}}\n");
        let short = format!("fn a(x: [u8; 2]) {{\n{}}}\n", "    b();\n".repeat(78));
        assert_eq!(broken("crates/web/src/a.rs", &long), ["function-size"]);
        assert_eq!(broken("crates/web/src/a.rs", &short), NONE);
        assert_eq!(broken("crates/web/tests/a.rs", &long), NONE);
        assert_eq!(broken("crates/web/src/a.rs", "type F = fn(u8);\nfn a();\n"), NONE);
    }

    #[test]
    fn panics_are_found_outside_tests() {
        for bad in ["a.unwrap()", "a.unwrap_err()", "todo!()"] {
            let text = format!("fn a() {{ {bad}; }}\n");
            assert_eq!(broken("crates/web/src/a.rs", &text), ["unwrap"], "{bad}");
            let test = format!("#[cfg(test)]\nmod tests {{ {text} }}\n");
            assert_eq!(broken("crates/web/src/a.rs", &test), NONE, "{bad}");
            assert_eq!(broken("crates/testkit/src/a.rs", &text), NONE, "{bad}");
        }
        assert_eq!(broken("crates/web/src/a.rs", "// a.unwrap()\nfn a() { \".unwrap()\"; }"), NONE);
        assert_eq!(broken("crates/web/src/a.rs", "fn a() { b.unwrap_or(0); }"), NONE);
    }

    #[test]
    fn files_and_the_environment_are_found_outside_the_gateway() {
        for bad in [
            "let a = std::env::var(\"A\");",
            "use std::fs;",
            "use std::{env, io};",
            "use std::{\n    io,\n    fs::File,\n};",
            "use tokio::fs::File;",
            "use tokio::{fs, io};",
        ] {
            assert!(broken("crates/relay/src/a.rs", bad).contains(&"files"), "{bad}");
            assert_eq!(broken("crates/gateway/src/a.rs", bad), NONE, "{bad}");
            assert_eq!(broken("xtask/src/a.rs", bad), NONE, "{bad}");
            assert_eq!(broken("crates/relay/tests/a.rs", bad), NONE, "{bad}");
        }
        assert_eq!(broken("crates/relay/src/a.rs", "use std::{fmt, io};\nuse std::time;"), NONE);
        assert_eq!(broken("crates/store/src/sqlite.rs", "use std::fs::File;"), NONE);
    }

    #[test]
    fn clocks_are_found_in_the_ledger() {
        for bad in ["SystemTime::now()", "jiff::Timestamp::now()", "Uuid::now_v7()"] {
            let text = format!("fn a() {{ {bad}; }}");
            assert_eq!(broken("crates/ledger/src/a.rs", &text), ["clock"], "{bad}");
            assert_eq!(broken("crates/gateway/src/a.rs", &text), NONE, "{bad}");
        }
        assert_eq!(broken("crates/ledger/src/a.rs", "fn a() { Instant::now(); }"), NONE);
    }

    #[test]
    fn floats_are_found_near_money() {
        assert_eq!(broken("crates/domain/src/a.rs", "fn a(x: f64) {}"), ["float"]);
        assert_eq!(broken("crates/ledger/src/a.rs", "fn a() { x as f32; }"), ["float"]);
        assert_eq!(broken("crates/ledger/src/metrics.rs", "fn a(x: f64) {}"), NONE);
        assert_eq!(broken("crates/web/src/a.rs", "fn a(x: f64) {}"), NONE);
    }

    #[test]
    fn writes_of_money_are_found_outside_the_ledger() {
        let text = "fn a() { run(\"UPDATE users SET quota = 0\"); }";
        assert_eq!(broken("crates/admin/src/a.rs", text), ["money"]);
        assert_eq!(broken("crates/gateway/src/a.rs", text), ["money"]);
        assert_eq!(broken("crates/ledger/src/a.rs", text), NONE);
        assert_eq!(broken("crates/gateway/tests/it/a.rs", text), NONE);
        let raw = "const A: &str = r#\"INSERT INTO holds (id) VALUES ($1)\"#;";
        assert_eq!(broken("crates/store/src/a.rs", raw), ["money"]);
    }

    #[test]
    fn a_line_is_let_off_with_a_reason() {
        let text =
            "// tidy:allow(clock) the lease is between machines\nfn a() { SystemTime::now() }";
        assert_eq!(broken("crates/ledger/src/a.rs", text), NONE);
    }
}
