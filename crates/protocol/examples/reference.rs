//! Prints the reference of the built-in protocols, which ends `docs/protocols.md`:
//! `cargo run -p protocol --example reference`.
#![allow(clippy::print_stdout, reason = "it prints")]

fn main() -> Result<(), Box<dyn std::error::Error>> {
    print!("{}", protocol::reference(protocol::Library::builtin()?));
    Ok(())
}
