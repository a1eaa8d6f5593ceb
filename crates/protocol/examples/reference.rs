//! Writes the reference of the built-in protocols where it stands, in `docs/protocols.md`:
//! `cargo run -p protocol --example reference`.

use protocol::{Library, REFERENCE_BEGIN, reference};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocols.md");
    let mut page = std::fs::read_to_string(path)?;
    page.truncate(page.find(REFERENCE_BEGIN).ok_or("the page has no place for the reference")?);
    page.push_str(&reference(Library::builtin()?));
    Ok(std::fs::write(path, page)?)
}
