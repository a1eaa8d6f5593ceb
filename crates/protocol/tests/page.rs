//! The page about protocols is of this program.
#![allow(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

use protocol::{Library, REFERENCE_BEGIN, reference};

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocols.md");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_reference_is_that_of_the_documents() {
    let page = page();
    let at = page.find(REFERENCE_BEGIN).unwrap();
    let made = reference(Library::builtin().unwrap());
    assert!(page[at..] == made, "run `cargo run -p protocol --example reference` for the page");
}

#[test]
fn every_document_of_the_page_is_in_order() {
    let page = page();
    let mut blocks = page.split("```toml\n").skip(1).map(|it| it.split("```").next().unwrap());
    let whole: Vec<&str> = blocks.by_ref().filter(|it| it.starts_with("name = ")).collect();
    assert!(whole.len() >= 2);
    for text in whole {
        let mut library = Library::builtin().unwrap().clone();
        library.add(text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    }
}
