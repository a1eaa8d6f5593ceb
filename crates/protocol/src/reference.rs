//! The reference of the built-in protocols in `docs/protocols.md`, made of their documents.

use crate::document::{
    AskUsage, Document, ListWord, PriceWord, RefusalSection, RouteSection, TaskWord,
};
use crate::library::{BUILTIN, Library};
use std::fmt::Write;

/// Where the reference stands in the page.
pub const BEGIN: &str = "<!-- made by `cargo run -p protocol --example reference`; not by hand -->";

/// The reference of all built-in protocols, in Markdown.
#[must_use]
pub fn reference(library: &Library) -> String {
    let mut page = format!("{BEGIN}\n\n");
    page.push_str("| protocol | | calls | key | tasks |\n|---|---|--:|---|---|\n");
    let documents = || BUILTIN.iter().filter_map(|(name, _)| library.document(name));
    for document in documents() {
        let (name, routes) = (&document.name, document.routes.as_deref().unwrap_or_default());
        let calls: usize = routes.iter().map(|route| route.matches.0.len()).sum();
        let title = format!("{} · {}", document.title.en, document.title.zh);
        let has_tasks = document.task.is_some() || document.tasks.is_some();
        let tasks = if has_tasks { "yes" } else { "" };
        let _ = writeln!(
            page,
            "| [`{name}`](#{name}) | {title} | {calls} | {} | {tasks} |",
            key(document)
        );
    }
    for document in documents() {
        protocol(&mut page, document);
    }
    page
}

/// How the channel's key is presented.
fn key(document: &Document) -> String {
    let Some(auth) = &document.auth else { return "none".to_owned() };
    match (&auth.header, &auth.query) {
        (Some(header), _) => {
            format!("`{header}: {}`", auth.value.as_deref().unwrap_or("{key}"))
        }
        (None, Some(query)) => format!("`?{query}=`"),
        (None, None) => "none".to_owned(),
    }
}

fn protocol(page: &mut String, document: &Document) {
    let Document { name, title, auth, speaks, .. } = document;
    let _ = writeln!(page, "\n### {name}\n\n{} · {}. Key: {}.", title.en, title.zh, key(document));
    for (header, value) in auth.iter().flat_map(|auth| &auth.headers) {
        let _ = writeln!(page, "Sent where the client sent none: `{header}: {value}`.");
    }
    if !speaks.is_empty() {
        let _ = writeln!(page, "Also speaks {}, with its own address and key.", quoted(speaks));
    }
    if let Some(refuse) = document.refuse.as_ref().filter(|refuse| !refuse.is_empty()) {
        let _ = writeln!(page, "Calls that cost something may not say {}.", refusals(refuse));
    }
    page.push_str("\n| call | model | costs | |\n|---|---|---|---|\n");
    for route in document.routes.iter().flatten() {
        let calls = quoted(&route.matches.0).replace(", ", "<br>");
        let (model, price) = (quoted(&route.model.0), costs(route));
        let _ = writeln!(page, "| {calls} | {model} | {price} | {} |", notes(route));
    }
    counts(page, document);
    let named = document.tasks.iter().flatten().map(|(name, task)| (format!(" of {name}"), task));
    for (kind, task) in document.task.iter().map(|task| (String::new(), task)).chain(named) {
        let words = &task.words;
        let _ = write!(
            page,
            "\nTasks{kind} are asked about by `{}`, {} at once.",
            task.ask.request,
            task.ask.batch.unwrap_or(1)
        );
        let ends = [("done", &words.completed), ("failed", &words.failed)];
        let ends = ends.iter().filter(|(_, words)| !words.is_empty());
        let ends: Vec<_> = ends.map(|(end, words)| format!("{end}: {}", quoted(words))).collect();
        if !ends.is_empty() {
            let _ = write!(page, " Words that end one: {}.", ends.join("; "));
        }
        if let Some(count) = &task.count {
            let _ = write!(page, " Counted in `{}`.", count.request);
        }
        page.push('\n');
    }
    page.push_str("\nSources:\n\n");
    for source in &document.sources {
        let _ = writeln!(page, "- {source}");
    }
}

const fn costs(route: &RouteSection) -> &'static str {
    match route.price {
        Some(PriceWord::Free) => "nothing",
        Some(PriceWord::Use) => "the model's price, by use",
        Some(PriceWord::Call) => "the model's price, per call",
        _ => "the model's price",
    }
}

fn notes(route: &RouteSection) -> String {
    let mut notes = Vec::new();
    match route.task {
        Some(TaskWord::Submit) => notes.push("submits a task".to_owned()),
        Some(TaskWord::Ask) => notes.push("asks about a task".to_owned()),
        Some(TaskWord::Fetch) => notes.push("fetches a result".to_owned()),
        Some(TaskWord::Cancel) => notes.push("cancels a task".to_owned()),
        None => {}
    }
    match route.list {
        Some(ListWord::Own) => notes.push("answered from our own record".to_owned()),
        Some(ListWord::Refuse) => {
            notes.push("refused: it would show other customers' things".into())
        }
        None => {}
    }
    if !route.uses.0.is_empty() {
        notes.push(format!("about {}", quoted(&route.uses.0)));
    }
    if !route.makes.0.is_empty() && route.task.is_none() {
        notes.push("makes a resource".to_owned());
    }
    for (word, sources) in &route.meters {
        if !sources.0.is_empty() {
            notes.push(format!("counts {word}"));
        }
    }
    if !route.refuse.is_empty() {
        notes.push(format!("refuses {}", refusals(&route.refuse)));
    }
    if route.session.is_some() {
        notes.push("continues at an address of ours".to_owned());
    }
    if let Some(suffix) = &route.model_suffix {
        notes.push(format!("priced as MODEL`{suffix}`"));
    }
    match &route.ask_usage {
        AskUsage::Never => {}
        AskUsage::Streams => notes.push("a stream's usage has to be asked for".to_owned()),
        AskUsage::All(member) => notes.push(format!("usage is asked for by `{member}`")),
    }
    for (name, value) in &route.headers {
        notes.push(match value.is_empty() {
            true => format!("sent without `{name}`"),
            false => format!("sent with `{name}: {value}`"),
        });
    }
    if route.probe.wanted {
        notes.push("tries a channel".to_owned());
    }
    notes.join("; ")
}

/// What requests may not say.
fn refusals(sections: &[RefusalSection]) -> String {
    let each = sections.iter().map(|section| {
        let RefusalSection { at, query, except, header, free, .. } = section;
        let RefusalSection { is, not, above, priced, .. } = section;
        let query = query.iter().map(|name| format!("?{name}"));
        let header = header.iter().map(|name| format!("{name}:"));
        let places: Vec<String> = at.0.iter().cloned().chain(query).chain(header).collect();
        let places = quoted(&places);
        let mut text = match (is, not, above) {
            (Some(words), ..) => format!("{places} of {}", quoted(&words.0)),
            (None, Some(words), _) => format!("{places} other than {}", quoted(&words.0)),
            (None, None, Some(above)) => format!("{places} above {above}"),
            (None, None, None) => places,
        };
        if !except.0.is_empty() {
            let _ = write!(text, " except {}", quoted(&except.0));
        }
        if *free {
            text.push_str(" (nor may those that cost nothing)");
        }
        if let Some(unit) = priced {
            let _ = write!(text, " where {unit} have a price");
        }
        text
    });
    each.collect::<Vec<_>>().join(", ")
}

/// What is counted, and where it stands.
fn counts(page: &mut String, document: &Document) {
    let Some(usage) = document.usage.as_ref().filter(|usage| !usage.meters.is_empty()) else {
        page.push_str("\nNo usage is read.\n");
        return;
    };
    let at = quoted(&usage.at.0);
    let at = if at.is_empty() {
        String::new()
    } else {
        format!(" Paths without a slash begin at {at}.")
    };
    let _ = writeln!(page, "\nCounted:{at}\n\n| meter | where | part of |\n|---|---|---|");
    for (meter, sources) in &usage.meters {
        let places = |plus: bool| {
            let wanted = sources.0.iter().filter(|source| source.plus == plus);
            quoted(&wanted.map(|source| source.at.clone()).collect::<Vec<_>>())
        };
        let more = places(true);
        let more = if more.is_empty() { more } else { format!("; and added to it {more}") };
        let inside = usage.inside.get(meter).map_or("", String::as_str);
        let _ = writeln!(page, "| {meter} | {}{more} | {inside} |", places(false));
    }
}

fn quoted(words: &[String]) -> String {
    // A bar would end the cell.
    let quote = |word: &String| format!("`{}`", word.replace('|', "\\|"));
    words.iter().map(quote).collect::<Vec<_>>().join(", ")
}
