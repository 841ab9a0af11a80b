//! What is counted for every call of a method.
//!
//! Made when routes are built ([`Methods::of`]), so that a call looks nothing up; counted by `grpc`. A method that
//! goes and comes back, as in a swap of its plugin, goes on with its numbers.
//!
//! Invariants: no lock and no allocation for a call; every call that was started is handled, be it as cancelled;
//! at most [`METHODS_MAX`] methods have numbers of their own, the next ones are `other`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::cells::Cells;
use super::names::Metric;
use super::number::{BUCKETS, Seen, bucket_of, nanos};
use super::text::Samples;
use crate::status::Code;

/// Methods with numbers of their own. Count; each has 45 series and more, and takes 2 KiB for each thread that
/// counts it. Above it a method's calls are counted as `other`.
const METHODS_MAX: usize = 10_000;

/// What calls of methods that are not served, or of too many methods, are counted as.
const OTHER: &str = "other";

const STARTED: usize = 0;
const SUM_NS: usize = 1;
const RECEIVED: usize = 2;
const SENT: usize = 3;
/// One for each code, in their order: what ends well is in the same line of cache as the others above.
const HANDLED: usize = 4;
const CODES: usize = Code::ALL.len();
const TIMES: usize = HANDLED + CODES;
const CELLS: usize = TIMES + BUCKETS;

/// What `grpc_type` says, as go-grpc-middleware has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum GrpcType {
    /// One message each way.
    Unary,
    /// Many in.
    ClientStream,
    /// Many out.
    ServerStream,
    /// Many each way.
    BidiStream,
    /// Nobody knows: no such method is served.
    Unknown,
}

impl GrpcType {
    fn label(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::ClientStream => "client_stream",
            Self::ServerStream => "server_stream",
            Self::BidiStream => "bidi_stream",
            Self::Unknown => "unknown",
        }
    }
}

/// The numbers of one method.
#[derive(Debug)]
pub(crate) struct MethodMetrics(Cells<CELLS>);

impl MethodMetrics {
    fn new() -> Self {
        Self(Cells::new())
    }

    /// A call was begun.
    pub(crate) fn started(&self) {
        self.0.mine().add(STARTED, 1);
    }

    /// A message of the caller is here.
    pub(crate) fn received(&self) {
        self.0.mine().add(RECEIVED, 1);
    }

    /// A message has left.
    pub(crate) fn sent(&self) {
        self.0.mine().add(SENT, 1);
    }

    /// A call has ended, after so long.
    pub(crate) fn handled(&self, code: Code, time: Duration) {
        let ns = nanos(time);
        let mine = self.0.mine();
        mine.add(HANDLED + usize::from(code.number()), 1);
        mine.add(SUM_NS, ns);
        mine.add(TIMES + bucket_of(ns), 1);
    }

    fn write(&self, [kind, service, method]: [&str; 3], out: &mut Samples) {
        let sums = self.0.sums();
        let labels = [kind, service, method];
        out.count(Metric::Started, &labels, sums[STARTED]);
        out.count(Metric::Received, &labels, sums[RECEIVED]);
        out.count(Metric::Sent, &labels, sums[SENT]);
        for (code, count) in Code::ALL.iter().zip(&sums[HANDLED..TIMES]) {
            // OK is always there, so that the first call shows as a change; the others when there are any.
            if *count > 0 || *code == Code::Ok {
                let labels = [kind, service, method, label_of(*code)];
                out.count(Metric::Handled, &labels, *count);
            }
        }
        let mut seen = Seen {
            sum_ns: sums[SUM_NS],
            ..Seen::default()
        };
        seen.buckets.copy_from_slice(&sums[TIMES..]);
        out.times(Metric::Handling, &labels, &seen);
    }
}

/// A code as gRPC for Go writes it, and so dashboards know it.
fn label_of(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

/// Service, method and kind.
type Key = (String, String, GrpcType);

/// The methods that were ever served, and `other`.
#[derive(Debug)]
pub(crate) struct Methods {
    known: Mutex<BTreeMap<Key, Arc<MethodMetrics>>>,
    /// Calls of methods that are not served.
    other: Arc<MethodMetrics>,
}

impl Default for Methods {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            other: Arc::new(MethodMetrics::new()),
        }
    }
}

impl Methods {
    /// The numbers of a method that is served: the same ones each time.
    pub(crate) fn of(&self, service: &str, method: &str, kind: GrpcType) -> Arc<MethodMetrics> {
        let key = (service.to_owned(), method.to_owned(), kind);
        let mut known = self.lock();
        if let Some(metrics) = known.get(&key) {
            return Arc::clone(metrics);
        }
        if known.len() >= METHODS_MAX {
            return Arc::clone(&self.other);
        }
        let metrics = Arc::new(MethodMetrics::new());
        known.insert(key, Arc::clone(&metrics));
        metrics
    }

    /// For calls of methods that are not served.
    pub(crate) fn other(&self) -> &Arc<MethodMetrics> {
        &self.other
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<MethodMetrics>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes all of them. Not under the lock: whoever builds routes is not kept waiting.
    pub(super) fn write(&self, out: &mut Samples) {
        let known: Vec<_> = (self.lock().iter())
            .map(|(key, metrics)| (key.clone(), Arc::clone(metrics)))
            .collect();
        for ((service, method, kind), metrics) in &known {
            metrics.write([kind.label(), service, method], out);
        }
        let kind = GrpcType::Unknown.label();
        self.other.write([kind, OTHER, OTHER], out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_comes_back_goes_on() {
        let methods = Methods::default();
        methods.of("a.B", "C", GrpcType::Unary).started();
        methods.of("a.B", "C", GrpcType::Unary).started();
        methods.of("a.B", "C", GrpcType::BidiStream).started();
        let sums = methods.of("a.B", "C", GrpcType::Unary).0.sums();
        assert_eq!(sums[STARTED], 2);
    }

    #[test]
    fn too_many_methods_are_counted_together() {
        let methods = Methods::default();
        for number in 0..METHODS_MAX {
            methods.of("a.B", &format!("M{number}"), GrpcType::Unary);
        }
        methods.of("a.B", "OneMore", GrpcType::Unary).started();
        assert_eq!(methods.other().0.sums()[STARTED], 1);
        methods.of("a.B", "M0", GrpcType::Unary).started();
        assert_eq!(methods.other().0.sums()[STARTED], 1, "it has its own");
    }

    #[test]
    fn every_call_is_in_one_bucket_and_under_one_code() {
        let methods = Methods::default();
        let method = methods.of("a.B", "C", GrpcType::Unary);
        method.handled(Code::Ok, Duration::from_micros(70));
        method.handled(Code::Unauthenticated, Duration::from_secs(60));
        let sums = method.0.sums();
        assert_eq!(sums[HANDLED..TIMES].iter().sum::<u64>(), 2);
        assert_eq!(sums[TIMES - 1], 1, "the last code is the last cell");
        assert_eq!((sums[TIMES + 1], sums[CELLS - 1]), (1, 1));
        assert_eq!(sums[SUM_NS], 60_000_070_000);
    }
}
