//! Exports the names of the workspace's crates, whose log lines are shown at every level.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let workspace = Path::new("../../Cargo.toml");
    println!("cargo:rerun-if-changed={}", workspace.display());
    let manifest = fs::read_to_string(workspace)?;
    let mut list = String::from("&[");
    for line in manifest.lines().filter(|line| line.contains("path = \"crates/")) {
        let name = line.split('=').next().unwrap_or_default().trim();
        // Writing to a String can't fail.
        let _ = write!(list, "{name:?}, ");
    }
    list.push(']');
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("no OUT_DIR"))?;
    fs::write(Path::new(&out).join("our_crates.rs"), list)
}
