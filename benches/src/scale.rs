//! What one more costs: memory of one more instance, stream, connection, tunnel and plugin; the price of a call
//! where many plugins or streams are there; how many new instances there can be in a second.
//!
//! Called by `cmd::scale`; `scale/table.rs` shows what comes of it. Memory is what the kernel counts as resident
//! in the server's process, at several counts, in a server of its own for each, whose plugins were compiled before
//! (a compiler leaves memory behind); what one more takes is the slope of the line through them. Prices of calls are taken in turns over all counts, and compared within a round.

mod calls;
mod memory;
mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::child::Server;
use crate::kept::Shelf;
use crate::kind::Kind;
use crate::load::Shape;
use crate::server::Setup;
use crate::{compare, copies};
pub use calls::{Call, Fresh};
pub use memory::{Memory, Point};
pub use table::{markdown, section};

/// Where results are kept.
pub const SHELF: Shelf = Shelf::new("scale");

/// Streams that a plugin may have beyond those that are asked for.
const STREAMS_TO_SPARE: u32 = 100;

/// How many there are of what there is more and more of.
#[derive(Clone, Debug)]
pub struct Counts {
    /// Streams that are open, and instances that are idle after them, for their memory.
    pub held: Vec<usize>,
    /// Connections and tunnels, for their memory.
    pub connections: Vec<usize>,
    /// Plugins, for their memory and the price of calls.
    pub plugins: Vec<usize>,
    /// Streams that are open, for the price of calls.
    pub streams: Vec<usize>,
}

impl Counts {
    /// What is measured.
    #[must_use]
    pub fn all() -> Self {
        Self {
            held: vec![1, 250, 500, 1000, 2000],
            connections: vec![1, 125, 250, 500, 1000],
            plugins: vec![1, 10, 100, 1000],
            streams: vec![1, 100, 1000, 10_000],
        }
    }
}

/// How it is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// This program, which also serves and loads.
    pub program: PathBuf,
    /// Folder with echo.wasm.
    pub guests: PathBuf,
    /// Rounds over what is compared by time.
    pub rounds: usize,
    /// How long calls go on before they are measured.
    pub warm: Duration,
    /// How long they are measured each time.
    pub measured: Duration,
    /// The calls whose price is measured.
    pub calls: Shape,
    /// How many of everything.
    pub counts: Counts,
    /// Whether there are cores enough to keep the server on one of its own.
    pub apart: bool,
}

/// The calls whose price is measured, and that are answered by new instances.
pub const CALLS: Shape = Shape::Unary {
    connections: 8,
    in_flight: 32,
    bytes: 16,
};

/// How long they go on before. Source: as `compare` has it.
pub const WARM: Duration = compare::WARM;

/// One run of `cmd::scale`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// Rounds of each line.
    pub rounds: usize,
    /// How long each measurement of calls took, in seconds.
    pub seconds: f64,
    /// What one more takes.
    pub memory: Vec<Memory>,
    /// What a call costs beside more and more.
    pub calls: Vec<Call>,
    /// New instances a second.
    pub fresh: Vec<Fresh>,
}

impl Plan {
    /// Measures everything; says of each part that it begins.
    ///
    /// # Errors
    /// When a server does not start, or anything is answered otherwise than it must be.
    pub fn measure(&self, mut progress: impl FnMut(&str)) -> Result<Scale> {
        let folder = tempfile::tempdir().context("a folder for plugins and what is compiled")?;
        let site = Site {
            plan: self,
            folder: folder.path(),
        };
        let most = self.counts.plugins.iter().copied().max().unwrap_or(0);
        progress(&format!("compiling {most} plugins"));
        drop(site.start(Kind::Reuse, 0)?);
        drop(site.start_copies(most)?);
        let mut memory = memory::of_streams(&site, &mut progress)?;
        memory.extend(memory::of_connections(&site, &mut progress)?);
        let (plugins, mut calls) = calls::with_plugins(&site, &mut progress)?;
        memory.push(plugins);
        calls.extend(calls::with_streams(&site, &mut progress)?);
        let fresh = calls::fresh(self, &mut progress)?;
        Ok(Scale {
            rounds: self.rounds,
            seconds: self.measured.as_secs_f64(),
            memory,
            calls,
            fresh,
        })
    }
}

/// A plan that is carried out, and where its servers find what was compiled.
struct Site<'a> {
    plan: &'a Plan,
    /// Has a folder for each count of plugins, and one for what is compiled.
    folder: &'a Path,
}

impl Site<'_> {
    /// A server that may hold so many streams.
    fn start(&self, kind: Kind, streams: usize) -> Result<Server> {
        let usual = self.setup();
        let streams = u32::try_from(streams)?.saturating_add(STREAMS_TO_SPARE);
        let setup = Setup {
            streams: usual.streams.max(streams),
            ..usual
        };
        Server::start(&self.plan.program, kind, &setup)
    }

    /// A server of so many copies of the plugin.
    fn start_copies(&self, count: usize) -> Result<Server> {
        let copies = self.folder.join(count.to_string());
        if !copies.exists() {
            std::fs::create_dir(&copies).with_context(|| copies.display().to_string())?;
            copies::write(&self.plan.guests.join("echo.wasm"), &copies, count)?;
        }
        let setup = Setup {
            plugins: Some(copies),
            ..self.setup()
        };
        Server::start(&self.plan.program, Kind::Reuse, &setup)
    }

    fn setup(&self) -> Setup {
        Setup {
            cache: Some(self.folder.join("cache")),
            ..Setup::of(&self.plan.guests)
        }
    }
}
