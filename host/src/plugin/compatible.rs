//! What callers of one version of a plugin would miss in another.
//!
//! Called by `host` before a version takes the place of the one that is served. Compares what the two
//! describe: services, methods, their kinds, and, as far as both carry descriptors, their messages
//! (`grpc::schema`). Services and methods may come; those that are there must stay as they are.

use std::collections::HashMap;

use crate::grpc::Schema;
use crate::guest::{Description, Method, MethodKind};

/// Differences that are told; who changed everything need not read everything.
const TOLD_MAX: usize = 10;

/// What breaks for callers of `old` when `new` takes its place, a line each; nothing if they need not care.
pub(crate) fn changes(old: &Description, new: &Description) -> Vec<String> {
    let offered: HashMap<&str, HashMap<&str, &Method>> = new
        .services
        .iter()
        .map(|service| {
            let methods = service.methods.iter();
            let methods = methods.map(|method| (method.name.as_str(), method));
            (service.name.as_str(), methods.collect())
        })
        .collect();
    let schema = |of: &Description| Schema::read(of.file_descriptor_set.as_deref()?);
    let schemas = schema(old).zip(schema(new));
    let mut told = Vec::new();
    for service in &old.services {
        let Some(methods) = offered.get(service.name.as_str()) else {
            told.push(format!("the service {} is gone", service.name));
            continue;
        };
        for before in &service.methods {
            let path = format!("/{}/{}", service.name, before.name);
            match methods.get(before.name.as_str()) {
                None => told.push(format!("the method {path} is gone")),
                Some(now) if now.kind != before.kind => {
                    let (before, now) = (kind_name(before.kind), kind_name(now.kind));
                    told.push(format!("the method {path} was {before} and is {now}"));
                }
                Some(_) => {
                    if let Some((old, new)) = &schemas {
                        told.extend(old.changes(new, &path));
                    }
                }
            }
        }
    }
    told.dedup();
    if told.len() > TOLD_MAX {
        let more = told.len() - TOLD_MAX;
        told.truncate(TOLD_MAX);
        told.push(format!("and {more} more"));
    }
    told
}

fn kind_name(kind: MethodKind) -> &'static str {
    match kind {
        MethodKind::Unary => "unary",
        MethodKind::ClientStreaming => "client-streaming",
        MethodKind::ServerStreaming => "server-streaming",
        MethodKind::BidiStreaming => "bidirectional",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::Service;

    fn description(services: &[(&str, &[(&str, MethodKind)])]) -> Description {
        let method = |(name, kind): &(&str, MethodKind)| Method {
            id: 0,
            name: (*name).to_owned(),
            kind: *kind,
            idempotent: false,
        };
        let services = services.iter().map(|(name, methods)| Service {
            name: (*name).to_owned(),
            methods: methods.iter().map(method).collect(),
        });
        Description {
            services: services.collect(),
            file_descriptor_set: None,
            request_bytes_max: None,
        }
    }

    #[test]
    fn services_and_methods_may_come_and_must_not_go_or_change() {
        let unary = MethodKind::Unary;
        let old = description(&[("a.S", &[("M", unary), ("N", unary)]), ("a.T", &[])]);
        let more = description(&[
            ("a.T", &[("New", unary)]),
            ("a.S", &[("N", unary), ("New", unary), ("M", unary)]),
        ]);
        assert_eq!(changes(&old, &more), Vec::<String>::new());
        let other = description(&[("a.S", &[("M", MethodKind::BidiStreaming)])]);
        assert_eq!(
            changes(&old, &other),
            [
                "the method /a.S/M was unary and is bidirectional",
                "the method /a.S/N is gone",
                "the service a.T is gone",
            ]
        );
    }

    #[test]
    fn who_changed_everything_is_told_ten_things() {
        let names: Vec<String> = (0..50).map(|n| format!("a.S{n}")).collect();
        let services: Vec<_> = names.iter().map(|name| (name.as_str(), &[][..])).collect();
        let told = changes(&description(&services), &description(&[]));
        assert_eq!(told.len(), TOLD_MAX + 1);
        assert_eq!(told[TOLD_MAX], "and 40 more");
    }
}
