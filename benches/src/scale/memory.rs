//! Memory of one more: of streams and the instances they leave behind, of connections and tunnels.
//!
//! Called by `scale`. A server that held many keeps some of it, so each count has a server of its own, and
//! what a server has that holds one is where the line begins.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::Site;
use crate::child::{Held, Server};
use crate::kind::Kind;
use crate::neighbour::Neighbour;
use crate::outcome;

/// How much is resident where there are so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// So many.
    pub count: usize,
    /// Memory of the server's process, in bytes.
    pub resident_bytes: u64,
}

/// What one more takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// One more what.
    pub of: String,
    /// Who holds it.
    pub kind: Kind,
    /// What was measured.
    pub points: Vec<Point>,
    /// Slope of the line through them, in bytes.
    pub each_bytes: f64,
}

impl Memory {
    /// The line through some points.
    #[must_use]
    pub fn new(of: &str, kind: Kind, points: Vec<Point>) -> Self {
        let each_bytes = slope(&points).round();
        Self {
            of: of.to_owned(),
            kind,
            points,
            each_bytes,
        }
    }
}

/// By least squares; zero when there is no line.
fn slope(points: &[Point]) -> f64 {
    let number = |count: usize| outcome::count(u64::try_from(count).unwrap_or(u64::MAX));
    let pairs = || {
        let pair = |point: &Point| (number(point.count), outcome::count(point.resident_bytes));
        points.iter().map(pair)
    };
    let many = number(points.len()).max(1.0);
    let x_mean = pairs().map(|(x, _)| x).sum::<f64>() / many;
    let y_mean = pairs().map(|(_, y)| y).sum::<f64>() / many;
    let both: f64 = pairs().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    let square: f64 = pairs().map(|(x, _)| (x - x_mean).powi(2)).sum();
    if square > 0.0 { both / square } else { 0.0 }
}

/// Of open streams, and of the instances that are idle when they have ended.
pub(super) fn of_streams(site: &Site<'_>, progress: &mut impl FnMut(&str)) -> Result<Vec<Memory>> {
    let mut all = Vec::new();
    for kind in [Kind::Stock, Kind::Front, Kind::Reuse] {
        progress(&format!("memory of streams, {}", kind.name()));
        let (mut open, mut idle) = (Vec::new(), Vec::new());
        for &count in &site.plan.counts.held {
            let server = site.start(kind, count)?;
            let neighbour = Neighbour::Streams { count };
            let held = Held::start(&site.plan.program, &server, &neighbour)?;
            open.push(point(&server, count)?);
            held.end().context("streams")?;
            idle.push(point(&server, count)?);
        }
        all.push(Memory::new("open stream", kind, open));
        if kind == Kind::Reuse {
            all.push(Memory::new("idle instance", kind, idle));
        }
    }
    Ok(all)
}

/// Of connections that are used now and then, and of tunnels.
pub(super) fn of_connections(
    site: &Site<'_>,
    progress: &mut impl FnMut(&str),
) -> Result<Vec<Memory>> {
    let mut all = Vec::new();
    for (of, kind) in [
        ("idle connection", Kind::Stock),
        ("idle connection", Kind::Reuse),
        ("idle tunnel", Kind::Tunnel),
    ] {
        progress(&format!("memory of an {of}, {}", kind.name()));
        let mut points = Vec::new();
        for &count in &site.plan.counts.connections {
            let server = site.start(kind, 0)?;
            let neighbour = Neighbour::Connections { count };
            let held = Held::start(&site.plan.program, &server, &neighbour)?;
            points.push(point(&server, count)?);
            held.end().context("connections")?;
        }
        all.push(Memory::new(of, kind, points));
    }
    Ok(all)
}

/// What a server holds that holds so many.
pub(super) fn point(server: &Server, count: usize) -> Result<Point> {
    Ok(Point {
        count,
        resident_bytes: server.resident_bytes()?.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_takes_the_slope_of_the_line_through_all() {
        let points = |all: &[(usize, u64)]| {
            let point = |&(count, resident_bytes)| Point {
                count,
                resident_bytes,
            };
            all.iter().map(point).collect()
        };
        for (all, expected) in [
            // A line, and a base that is not its business.
            (&[(1, 1_050), (11, 1_550), (101, 6_050)][..], 50.0),
            // What lies above and below evens out.
            (&[(0, 10), (1, 30), (2, 30), (3, 50)], 12.0),
            // One point is no line.
            (&[(1, 1_000)], 0.0),
            (&[], 0.0),
        ] {
            let memory = Memory::new("thing", Kind::Reuse, points(all));
            assert!((memory.each_bytes - expected).abs() < 1e-6, "{memory:?}");
        }
    }
}
