//! A new step of the schema: `cargo xtask migration NAME`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

/// Both engines have the same steps.
const ENGINES: [&str; 2] = ["postgres", "sqlite"];

/// Creates the next migration for each engine, with a comment that explains what belongs in it.
pub fn create(root: &Path, name: &str) -> Result<ExitCode> {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    anyhow::ensure!(!name.is_empty() && name.chars().all(is_word), "a name is in snake_case");
    for engine in ENGINES {
        let directory = root.join("crates/store/migrations").join(engine);
        let steps = directory.read_dir().with_context(|| directory.display().to_string())?;
        let number = steps.count() + 1;
        let file = directory.join(format!("{number:04}_{name}.sql"));
        let text = match engine {
            "postgres" => "-- Why this is needed. Every table and column has a COMMENT.\n",
            _ => "-- The same as on PostgreSQL, where every column is explained.\n",
        };
        std::fs::write(&file, text).with_context(|| file.display().to_string())?;
        println!("{}", file.strip_prefix(root).unwrap_or(&file).display());
    }
    println!("now name both in crates/store/src/migrations.rs");
    Ok(ExitCode::SUCCESS)
}
