//! `switchboard check`: settings, the files they name, and plugins, without serving.
//!
//! Called by `main`. Goes the way of `serve` up to the point where a port would be taken, and goes on where
//! `serve` would stop, to say everything that is wrong at once. Wrong settings are the exception: with them
//! nobody can say what a plugin may have.

use std::process::ExitCode;

use anyhow::{Error, Result};
use switchboard_host::{ConfigError, Host};

use super::process::log_filter;
use super::{explain, observe, prepare, say};
use crate::args::Check;
use crate::settings::{Fault, Faults, Loaded, Sources};
use crate::{EXIT_FAILED, EXIT_USAGE};

/// Runs the command.
pub(crate) fn run(args: Check) -> Result<ExitCode> {
    let sources = Sources::new(args.flags);
    let text = sources.text()?;
    let loaded = sources.load(text.as_deref())?;
    let mut wrong = Vec::new();
    let misspelt = Sources::misspelt_variables();
    wrong.extend((!misspelt.is_empty()).then(|| Error::from(Faults::new(misspelt))));
    let configuration = &loaded.configuration;
    let filter = log_filter(&configuration.log, &loaded.names.of("telemetry.log"));
    wrong.extend(filter.err().map(Error::from));
    wrong.extend(prepare::tls(&loaded).err());
    wrong.extend(prepare::tokens(&loaded).err());
    wrong.extend(observe::traces(&loaded).err());
    let runtime = prepare::runtime(&loaded, "check")?;
    let built = runtime.block_on(prepare::builder(&loaded, None).build(&configuration.paths));
    let mut plugins = 0;
    match built {
        Err(error) => wrong.push(explain::build(error, &loaded)),
        Ok(host) => {
            plugins = host.plugins().len();
            say_plugins(&host)?;
            wrong.extend(
                host.refused()
                    .iter()
                    .map(|refused| Error::msg(refused.to_string())),
            );
            if host.services().is_empty() {
                let refused = host.refused().len();
                wrong.push(Error::msg(explain::nothing_to_serve(
                    configuration,
                    refused,
                )));
            }
            wrong.extend(sections_of_nobody(&loaded, &host));
            wrong.extend(methods_of_nobody(&host));
        }
    }
    runtime.shutdown_background();
    let usage = |error: &Error| error.is::<Faults>() || error.is::<ConfigError>();
    let code = if wrong.iter().any(usage) {
        EXIT_USAGE
    } else if wrong.is_empty() {
        say::print(format!("all right: the settings, and plugins: {plugins}\n").as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    } else {
        EXIT_FAILED
    };
    for error in &wrong {
        say::error(&format!("{error:#}"));
    }
    Ok(ExitCode::from(code))
}

/// The plugins that would be served, and what each offers.
pub(super) fn say_plugins(host: &Host) -> Result<()> {
    for plugin in host.plugins() {
        let services = plugin.description.services.iter();
        let services: Vec<_> = services.map(|service| service.name.as_str()).collect();
        let line = format!(
            "plugin {} ({}): {}\n",
            plugin.name,
            plugin.path.display(),
            services.join(", ")
        );
        say::print(line.as_bytes())?;
    }
    Ok(())
}

/// A fault for the sections of plugins that are not there, if there are any.
fn sections_of_nobody(loaded: &Loaded, host: &Host) -> Option<Error> {
    let faults: Vec<_> = explain::sections_of_nobody(loaded, &host.handle())
        .into_iter()
        .map(|(text, origin)| Fault::other(Some(origin), text))
        .collect();
    (!faults.is_empty()).then(|| Faults::new(faults).into())
}

/// A fault for the methods that settings name and nobody serves, if there are any.
fn methods_of_nobody(host: &Host) -> Option<Error> {
    let missing = host.handle().methods_not_served();
    let faults = missing.into_iter().map(|path| {
        Fault::other(
            None,
            format!("{path} is set apart, and no plugin serves it"),
        )
    });
    let faults: Vec<_> = faults.collect();
    (!faults.is_empty()).then(|| Faults::new(faults).into())
}
