//! The waiting line: first come first served in each lane, the priority lane first. Pure.
//!
//! Called by `pool`. Invariants, property-tested below: no lane is longer than the limit, and each has
//! its own, so that a crowd in one keeps nobody out of another; within a kind and lane nobody is overtaken; a normal waiter who could be
//! served is passed over at most [`PASSED_OVER_MAX`] times in a row.
//!
//! Knows no time: who waits too long leaves by its ticket.

use std::collections::VecDeque;

use super::policy::{Kind, Priority, Want};

/// Priority waiters that may go in a row before a normal one that could go, goes. Keeps a flood of
/// priority work from starving the rest; 8 leaves priority work nine tenths of the instances.
pub(super) const PASSED_OVER_MAX: u32 = 8;

/// A place in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// Who waits for an instance.
#[derive(Debug)]
pub(super) struct WaitingLine<T> {
    max: u32,
    len: u32,
    next_ticket: u64,
    /// Indexed by [`lane`]; each in the order of its tickets.
    lanes: [VecDeque<(Ticket, T)>; 4],
    /// Priority waiters served in a row while a normal one of the same kind could have gone.
    passed_over: [u32; 2],
}

fn lane(want: Want) -> usize {
    let kind = match want.kind {
        Kind::Unary => 0,
        Kind::Stream => 2,
    };
    kind + match want.priority {
        Priority::High => 0,
        Priority::Normal => 1,
    }
}

impl<T> WaitingLine<T> {
    /// A line for at most `max` waiters in each lane.
    #[must_use]
    pub(super) fn new(max: u32) -> Self {
        Self {
            max,
            len: 0,
            next_ticket: 0,
            lanes: Default::default(),
            passed_over: [0; 2],
        }
    }

    /// Waiters in all lanes.
    #[must_use]
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// Whether somebody stands in the lane that `want` would join: then it must join too.
    #[must_use]
    pub(super) fn is_anyone_ahead(&self, want: Want) -> bool {
        !self.lanes[lane(want)].is_empty()
    }

    /// Joins the line.
    ///
    /// # Errors
    /// Gives the waiter back when its lane is full.
    pub(super) fn push(&mut self, want: Want, waiter: T) -> Result<Ticket, T> {
        let waiting = u32::try_from(self.lanes[lane(want)].len()).unwrap_or(u32::MAX);
        if waiting >= self.max {
            return Err(waiter);
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.lanes[lane(want)].push_back((ticket, waiter));
        self.len += 1;
        Ok(ticket)
    }

    /// Leaves the line; none if it was served already.
    pub(super) fn remove(&mut self, want: Want, ticket: Ticket) -> Option<T> {
        let lane = &mut self.lanes[lane(want)];
        let at = lane
            .binary_search_by_key(&ticket, |(ticket, _)| *ticket)
            .ok()?;
        let (_, waiter) = lane.remove(at)?;
        self.len -= 1;
        Some(waiter)
    }

    /// Who goes next among those whom `admits` lets in.
    pub(super) fn pop(&mut self, admits: impl Fn(Want) -> bool) -> Option<(Want, T)> {
        for (index, kind) in [Kind::Unary, Kind::Stream].into_iter().enumerate() {
            let high = Want {
                kind,
                priority: Priority::High,
            };
            let normal = Want {
                kind,
                priority: Priority::Normal,
            };
            let could_go = |want| !self.lanes[lane(want)].is_empty() && admits(want);
            let (high_could, normal_could) = (could_go(high), could_go(normal));
            let want =
                if high_could && !(normal_could && self.passed_over[index] >= PASSED_OVER_MAX) {
                    self.passed_over[index] = if normal_could {
                        self.passed_over[index] + 1
                    } else {
                        0
                    };
                    high
                } else if normal_could {
                    self.passed_over[index] = 0;
                    normal
                } else {
                    continue;
                };
            let (_, waiter) = self.lanes[lane(want)].pop_front()?;
            self.len -= 1;
            return Some((want, waiter));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn want(kind: bool, priority: bool) -> Want {
        Want {
            kind: if kind { Kind::Unary } else { Kind::Stream },
            priority: if priority {
                Priority::High
            } else {
                Priority::Normal
            },
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(bool, bool),
        Remove(usize),
        Pop {
            unary: bool,
            stream: bool,
            normal: bool,
        },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (any::<bool>(), any::<bool>()).prop_map(|(kind, priority)| Step::Push(kind, priority)),
            1 => any::<usize>().prop_map(Step::Remove),
            2 => (any::<bool>(), any::<bool>(), any::<bool>())
                .prop_map(|(unary, stream, normal)| Step::Pop { unary, stream, normal }),
        ]
    }

    proptest! {
        /// The line against a plain list of everybody who waits.
        #[test]
        fn the_line_is_fair_and_bounded(steps in prop::collection::vec(step(), 1..300), max in 1_u32..20) {
            let mut line = WaitingLine::new(max);
            let mut model: Vec<(u32, Want, Ticket)> = Vec::new();
            let mut passed_over = [0_u32; 2];
            for (name, step) in (0_u32..).zip(steps) {
                match step {
                    Step::Push(kind, priority) => {
                        let want = want(kind, priority);
                        match line.push(want, name) {
                            Ok(ticket) => model.push((name, want, ticket)),
                            Err(back) => {
                                prop_assert_eq!(back, name);
                                let ahead = model.iter().filter(|(_, other, _)| *other == want).count();
                                prop_assert_eq!(u32::try_from(ahead).unwrap(), max);
                            }
                        }
                    }
                    Step::Remove(index) if !model.is_empty() => {
                        let (name, want, ticket) = model.remove(index % model.len());
                        prop_assert_eq!(line.remove(want, ticket), Some(name));
                        prop_assert_eq!(line.remove(want, ticket), None);
                    }
                    Step::Remove(_) => {}
                    Step::Pop { unary, stream, normal } => {
                        let admits = |want: Want| {
                            (match want.kind { Kind::Unary => unary, Kind::Stream => stream })
                                && (normal || want.priority == Priority::High)
                        };
                        let could: Vec<_> =
                            model.iter().filter(|(_, want, _)| admits(*want)).copied().collect();
                        match line.pop(admits) {
                            None => prop_assert!(could.is_empty(), "somebody could have gone"),
                            Some((want, name)) => {
                                prop_assert!(admits(want));
                                let first = model.iter().position(|(_, other, _)| *other == want);
                                let first = first.expect("only waiters are served");
                                prop_assert_eq!(model[first].0, name, "first come first served");
                                model.remove(first);
                                let kind = usize::from(want.kind == Kind::Stream);
                                let normal_could = could.iter().any(|(_, other, _)| {
                                    other.kind == want.kind && other.priority == Priority::Normal
                                });
                                let over = want.priority == Priority::High && normal_could;
                                passed_over[kind] = if over { passed_over[kind] + 1 } else { 0 };
                                prop_assert!(passed_over[kind] <= PASSED_OVER_MAX);
                            }
                        }
                    }
                }
                prop_assert_eq!(usize::try_from(line.len()).unwrap(), model.len());
            }
        }
    }
}
