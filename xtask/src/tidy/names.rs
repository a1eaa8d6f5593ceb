//! One type name, one type: what other files can name says whose it is.
//!
//! Two types clash where a file could mean either: in one crate, or when one of them is public. A
//! private type is visible in its own file only, and may share its name with one elsewhere.

use std::collections::BTreeMap;

use super::Finding;
use super::source::Source;

/// Names that several types may have, and why.
const SHARED: &[(&str, &str)] = &[
    ("Args", "clap: the arguments of one command, named by its module"),
    ("Command", "clap: the subcommands of one command, named by its module"),
    ("Metrics", "the metrics of one part, named by its module"),
    ("Parts", "what one crate is built from, named by its crate"),
];

/// Tools whose types no crate of the product sees.
const TOOLS: &[&str] = &["testkit", "xtask", "fuzz", "bench"];

/// A type that other files can name.
struct Visible<'a> {
    name: &'a str,
    crate_name: &'a str,
    place: String,
    /// Other crates can name it, too.
    is_public: bool,
}

/// Every type of the product whose name a file could also mean another by.
pub fn check(sources: &[Source]) -> Vec<Finding> {
    let mut types: BTreeMap<&str, Vec<Visible<'_>>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !TOOLS.contains(&source.crate_name())) {
        for visible in visible_types(source) {
            types.entry(visible.name).or_default().push(visible);
        }
    }
    types.retain(|name, _| !SHARED.iter().any(|(shared, _)| shared == name));
    types.values().filter_map(|namesakes| clash(namesakes)).collect()
}

/// Two types clash in one crate, and when one of them is public.
fn clash(namesakes: &[Visible<'_>]) -> Option<Finding> {
    let clashing = |one: &&Visible<'_>| {
        namesakes.iter().any(|other| {
            other.place != one.place
                && (other.crate_name == one.crate_name || other.is_public || one.is_public)
        })
    };
    let mut places = namesakes.iter().filter(clashing);
    let first = places.next()?;
    let others: Vec<_> = places.map(|other| other.place.as_str()).collect();
    Some(Finding {
        rule: "type-names",
        what: format!("{} is also a type at {}: say whose it is", first.name, others.join(", ")),
        place: first.place.clone(),
        fatal: true,
    })
}

/// Types that other files can name.
fn visible_types(source: &Source) -> impl Iterator<Item = Visible<'_>> {
    const KEYWORDS: [&str; 4] = ["struct ", "enum ", "trait ", "type "];
    let mut at = 0;
    source.code.split_inclusive('\n').filter_map(move |line| {
        let start = at;
        at += line.len();
        // Items of a module's own level: what is indented is inside another item.
        let rest = line.strip_prefix("pub")?;
        let is_public = !rest.starts_with('(');
        let rest = if is_public { rest } else { rest.split_once(')')?.1 }.trim_start();
        let name = KEYWORDS.iter().find_map(|keyword| rest.strip_prefix(keyword))?;
        let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
        let name = &name[..end];
        let at = start + line.find(name)?;
        let counts = !source.is_test(at) && !source.allows("type-names", at);
        let (crate_name, place) = (source.crate_name(), source.place(at));
        counts.then_some(Visible { name, crate_name, place, is_public })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<_> =
            files.iter().map(|(path, text)| Source::new(Path::new(path), text)).collect();
        check(&sources).into_iter().map(|finding| finding.place).collect()
    }

    #[test]
    fn a_name_that_two_files_show_is_found() {
        let one = ("crates/relay/src/a.rs", "/// A.\npub(crate) struct Answer;\n");
        let two = ("crates/tasks/src/b.rs", "\npub enum Answer {\n}\n");
        assert_eq!(found(&[one, two]), ["crates/relay/src/a.rs:2"]);
        assert!(found(&[one]).is_empty());
    }

    #[test]
    fn private_and_shared_names_and_tests_are_let_off() {
        let one = ("crates/relay/src/a.rs", "pub struct Metrics;\npub struct Answer;\n");
        let two = ("crates/tasks/src/b.rs", "pub struct Metrics;\nstruct Answer;\n");
        let tests = "#[cfg(test)]\nmod tests {\n    pub struct Answer;\n}\n";
        let three = ("crates/admin/src/c.rs", tests);
        assert!(found(&[one, two, three]).is_empty());
        let four = ("crates/tasks/src/d.rs", "pub(crate) struct Row;\n");
        let five = ("crates/relay/src/e.rs", "pub(crate) struct Row;\n");
        assert!(found(&[four, five]).is_empty(), "neither crate sees the other's");
        let six = ("crates/relay/src/f.rs", "pub(super) struct Row;\n");
        assert_eq!(found(&[five, six]).len(), 1, "one crate has both");
    }
}
