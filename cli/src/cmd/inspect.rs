//! `switchboard inspect`: what is in plugin files, without serving them.
//!
//! Called by `main`. The host finds out; here it is put into words, or JSON. stdout gets what was found, stderr why
//! a file would be refused.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use bytesize::ByteSize;
use serde_json::{Value, json};
use switchboard_host::{EngineConfig, Inspection, MethodKind, chain, inspect};

use super::say;
use crate::args::Inspect;

/// A file would be refused.
const EXIT_REFUSED: u8 = 1;

/// What imports let a plugin ask for. Longer names come before those that they begin with.
const CAPABILITIES: &[(&str, &str)] = &[
    ("switchboard:grpc/", "its calls, and log lines"),
    ("wasi:filesystem/", "files"),
    ("wasi:sockets/", "the network"),
    ("wasi:http/", "outgoing HTTP"),
    ("wasi:cli/environment", "environment and arguments"),
    ("wasi:cli/", "standard streams, and to end itself"),
    ("wasi:clocks/", "clocks and timers"),
    ("wasi:random/", "random numbers"),
    ("wasi:io/", "streams and waiting"),
];

/// Runs the command.
pub(crate) fn run(args: &Inspect) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting")?;
    let mut refused = false;
    for file in &args.files {
        let found = runtime
            .block_on(inspect(&EngineConfig::default(), file))
            .context("starting the WebAssembly engine")?;
        refused |= found.description.is_err();
        tell(file, &found, args.json)?;
    }
    Ok(if refused {
        ExitCode::from(EXIT_REFUSED)
    } else {
        ExitCode::SUCCESS
    })
}

fn tell(file: &Path, found: &Inspection, as_json: bool) -> Result<()> {
    let text = if as_json {
        format!("{}\n", as_value(file, found))
    } else {
        in_words(file, found)
    };
    say::print(text.as_bytes())?;
    if let Err(error) = &found.description {
        say::error(&format!("{}: {}", file.display(), chain(error)));
    }
    Ok(())
}

fn in_words(file: &Path, found: &Inspection) -> String {
    let mut lines = vec![file.display().to_string()];
    let mut add = |name: &str, text: String| lines.push(format!("  {name:<9}{text}"));
    if let Some(digest) = &found.digest {
        add("digest", digest.to_string());
        add("size", size(found.file_bytes));
    }
    if let Some((bytes, time)) = found.compiled_bytes.zip(found.compile_time) {
        add("compiled", format!("{} in {time:.1?}", size(bytes)));
    }
    if !found.abi.is_empty() {
        add("ABI", found.abi.join(", "));
    }
    for (at, (capability, imports)) in asked_for(found).into_iter().enumerate() {
        let name = if at == 0 { "imports" } else { "" };
        add(name, format!("{capability} ({})", imports.join(", ")));
    }
    if let Ok(description) = &found.description {
        let described = match &description.file_descriptor_set {
            Some(set) => format!("{}, for reflection", size(set.len())),
            None => "none: reflection lists the services, and cannot describe them".to_owned(),
        };
        add("schema", described);
        for service in &description.services {
            add("service", service.name.clone());
            for method in &service.methods {
                let kind = kind(method.kind);
                let twice = if method.idempotent {
                    ", idempotent"
                } else {
                    ""
                };
                add("", format!("  {} ({kind}{twice})", method.name));
            }
        }
    }
    lines.join("\n") + "\n"
}

fn as_value(file: &Path, found: &Inspection) -> Value {
    let services = found.description.as_ref().ok().map(|description| {
        let services = description.services.iter().map(|service| {
            let methods = service.methods.iter().map(|method| {
                json!({
                    "name": method.name,
                    "kind": kind(method.kind),
                    "idempotent": method.idempotent,
                })
            });
            json!({ "name": service.name, "methods": methods.collect::<Vec<_>>() })
        });
        services.collect::<Vec<_>>()
    });
    json!({
        "path": file.display().to_string(),
        "digest": found.digest.as_ref().map(ToString::to_string),
        "bytes": found.file_bytes,
        "compiled_bytes": found.compiled_bytes,
        "abi": found.abi,
        "imports": found.imports,
        "services": services,
        "error": found.description.as_ref().err().map(|error| chain(error)),
    })
}

/// The imports, by what they let a plugin ask for.
fn asked_for(found: &Inspection) -> Vec<(&'static str, Vec<String>)> {
    let mut groups: Vec<(&str, Vec<String>)> = Vec::new();
    for import in &found.imports {
        let known = CAPABILITIES
            .iter()
            .find(|(prefix, _)| import.starts_with(prefix));
        let words = known.map_or("something that this host does not know", |(_, words)| words);
        match groups.iter_mut().find(|(group, _)| *group == words) {
            Some((_, imports)) => imports.push(import.clone()),
            None => groups.push((words, vec![import.clone()])),
        }
    }
    groups
}

fn size(bytes: usize) -> String {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    format!("{bytes} bytes ({})", ByteSize::b(bytes).display().iec())
}

fn kind(kind: MethodKind) -> &'static str {
    match kind {
        MethodKind::Unary => "unary",
        MethodKind::ClientStreaming => "client-streaming",
        MethodKind::ServerStreaming => "server-streaming",
        MethodKind::BidiStreaming => "bidirectional",
    }
}
