//! `newapi completion` and `newapi man`: what shells and `man` want to know of the command line.

use super::Cli;
use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Prints the completions of a shell.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Which shell.
    shell: Shell,
}

/// Prints the man page, or writes those of all commands.
#[derive(clap::Args, Debug)]
pub(super) struct ManArgs {
    /// Directory to write one page a command into.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Prints completions.
///
/// # Errors
/// None: a closed pipe is ignored.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "newapi", &mut script);
    printed(&script)
}

/// Prints or writes man pages.
///
/// # Errors
/// When the directory can't be written to.
pub(super) fn man(args: &ManArgs) -> anyhow::Result<ExitCode> {
    if let Some(dir) = &args.dir {
        std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        clap_mangen::generate_to(Cli::command(), dir).with_context(|| dir.display().to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page)?;
    printed(&page)
}

/// A closed pipe is no error: its reader has seen enough.
fn printed(text: &[u8]) -> anyhow::Result<ExitCode> {
    let _ = std::io::stdout().lock().write_all(text);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
