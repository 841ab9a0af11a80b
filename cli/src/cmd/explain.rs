//! What the log and the end of the program say of settings.
//!
//! Called by `cmd::serve` and `cmd::check`, with names as the operator knows them.

use std::path::PathBuf;

use switchboard_host::{BuildError, ConfigError, Handle};

use crate::settings::{Configuration, DEFAULT_FOLDER, Fault, Faults, Loaded, Origin};

/// Why no host was built, with what the operator can do about it.
pub(super) fn build(error: BuildError, loaded: &Loaded) -> anyhow::Error {
    let (configuration, names) = (&loaded.configuration, &loaded.names);
    let by_default = configuration.paths == [PathBuf::from(DEFAULT_FOLDER)];
    if let BuildError::Config(ConfigError(found)) = error {
        let explained = found.iter().map(|fault| names.explain(fault));
        let faults = explained.map(|text| Fault::other(None, text));
        Faults::new(faults.collect()).into()
    } else if matches!(error, BuildError::Engine(_)) {
        anyhow::Error::new(error).context(format!(
            "{} {} reserves about 4 GiB of address space for each; lower it, or raise the limit (ulimit -v)",
            names.of("limits.instances_max"),
            configuration.host.engine.instances_max
        ))
    } else if matches!(error, BuildError::Path { .. }) && by_default {
        anyhow::Error::new(error).context(format!(
            "{DEFAULT_FOLDER} is the default folder; name the files or folders to serve"
        ))
    } else {
        error.into()
    }
}

/// Why there is nothing to serve.
pub(super) fn nothing_to_serve(configuration: &Configuration, refused: usize) -> String {
    match refused {
        0 => {
            let paths = configuration.paths.iter();
            let paths = paths.map(|path| path.display().to_string());
            let paths = paths.collect::<Vec<_>>().join(", ");
            format!("nothing to serve: no plugin file (*.wasm) was found in {paths}")
        }
        1 => "nothing to serve: the only plugin was refused, see above".to_owned(),
        count => format!("nothing to serve: all {count} plugins were refused, see above"),
    }
}

/// Whether a plugin that is put in place later is seen: there is a folder, and it is watched.
pub(super) fn plugins_may_come(configuration: &Configuration) -> bool {
    let mut paths = configuration.paths.iter();
    configuration.host.watch.is_some() && paths.any(|path| path.is_dir())
}

/// The sections of plugins that are not there, and where they are written.
pub(super) fn sections_of_nobody(loaded: &Loaded, host: &Handle) -> Vec<(String, Origin)> {
    let (plugins, refused) = (host.plugins(), host.refused());
    let sections = loaded.sections.iter();
    // One that was refused has been spoken of.
    let there = |name: &str| {
        let mut stems = refused.iter().filter_map(|one| one.path.file_stem());
        plugins.iter().any(|plugin| &*plugin.name == name) || stems.any(|stem| stem == name)
    };
    let missing = sections.filter(|(name, _)| !there(name));
    let said = missing.map(|(name, origin)| {
        let text = format!("[plugins.{name}] is for nobody: no plugin file is named {name}.wasm");
        (text, origin.clone())
    });
    said.collect()
}

/// Warns of them in the log.
pub(super) fn warn_of_sections(loaded: &Loaded, host: &Handle) {
    for (text, origin) in sections_of_nobody(loaded, host) {
        tracing::warn!("{}", Fault::other(Some(origin), text));
    }
}
