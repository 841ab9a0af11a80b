//! `switchboard compile`: plugins into the cache of compiled ones, without serving them.
//!
//! Called by `main`. Goes the way of `serve` up to the point where a port would be taken; the host keeps what it
//! compiles.

use std::process::ExitCode;

use anyhow::Result;
use switchboard_host::ConfigError;

use super::check::say_plugins;
use super::{explain, prepare};
use crate::EXIT_FAILED;
use crate::args::Compile;
use crate::settings::Sources;

/// Runs the command.
pub(crate) fn run(args: Compile) -> Result<ExitCode> {
    let sources = Sources::new(args.flags);
    let text = sources.text()?;
    let loaded = sources.load(text.as_deref())?;
    let configuration = &loaded.configuration;
    if configuration.host.cache.is_none() {
        let fault = format!(
            "{} must name the folder to compile into, the same that serve is given",
            loaded.names.of("cache.folder")
        );
        return Err(ConfigError(vec![fault]).into());
    }
    let _log = super::process::init_log("warn", configuration.log_format, "")?;
    let runtime = prepare::runtime(&loaded, "compile")?;
    let built = runtime.block_on(prepare::builder(&loaded, None).build(&configuration.paths));
    let host = built.map_err(|error| explain::build(error, &loaded))?;
    say_plugins(&host)?;
    let refused = host.refused().len();
    if host.services().is_empty() {
        anyhow::bail!(explain::nothing_to_serve(configuration, refused));
    }
    runtime.shutdown_background();
    Ok(if refused == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_FAILED)
    })
}
