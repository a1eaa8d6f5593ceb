//! `newapi openapi`: the document of the admin API.

use super::out;
use std::process::ExitCode;

/// Prints the OpenAPI document of the admin API, as `GET /api/openapi.json` answers it.
#[derive(clap::Args, Debug)]
pub(super) struct Args {}

/// Prints it.
///
/// # Errors
/// When it can't be written out.
pub(super) fn run(_: &Args) -> anyhow::Result<ExitCode> {
    out::json(&admin::openapi())?;
    Ok(ExitCode::SUCCESS)
}
