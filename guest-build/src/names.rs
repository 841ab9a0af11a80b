//! Refuses files whose service code would not compile, before it is written.
//!
//! Called by [`crate::builder`] with every file. rustc would find the same faults, but in generated
//! code and in its own words. Knows only names; what becomes of a service is in [`crate::service`].

use std::collections::HashMap;

use prost_build::Module;
use prost_types::{FileDescriptorProto, FileDescriptorSet, ServiceDescriptorProto};

use crate::error::Error;

/// Checks that no two items share a Rust name and that `left_out` names something.
pub(crate) fn check(files: &FileDescriptorSet, left_out: &[String]) -> Result<(), Error> {
    let mut packages: HashMap<&str, Taken> = HashMap::new();
    for file in &files.file {
        let taken = packages
            .entry(file.package())
            .or_insert_with(|| Taken::new(file.package()));
        modules_of_messages(file, taken)?;
    }
    for file in &files.file {
        for service in &file.service {
            if let Some(taken) = packages.get_mut(file.package()) {
                taken.claim(
                    module_of(service.name()),
                    format!("service {}", service.name()),
                )?;
            }
            methods(file.package(), service)?;
        }
    }
    for name in left_out {
        if !declared(files, name) {
            return Err(Error::UnknownName(name.clone()));
        }
    }
    Ok(())
}

/// The module that holds the code of a service.
pub(crate) fn module_of(service: &str) -> String {
    // Asked with the suffix, so that prost does not escape a service called `Type` or `Match`.
    snake(&format!("{service}Server"))
}

/// The name that prost gives to a method, or to the module of a message.
fn snake(name: &str) -> String {
    Module::from_protobuf_package_name(name).to_string()
}

/// `package.service`, or the service alone when there is no package.
pub(crate) fn qualified(package: &str, service: &str) -> String {
    if package.is_empty() {
        service.to_owned()
    } else {
        format!("{package}.{service}")
    }
}

/// A message with something nested in it gets a module, where a service might want one too.
fn modules_of_messages(file: &FileDescriptorProto, taken: &mut Taken) -> Result<(), Error> {
    for message in &file.message_type {
        // `optional` is a oneof of one field to protobuf, and no module to prost.
        let optional = message.field.iter().filter(|field| field.proto3_optional());
        let oneofs = message.oneof_decl.len() > optional.count();
        if oneofs || !message.nested_type.is_empty() || !message.enum_type.is_empty() {
            taken.claim(snake(message.name()), format!("message {}", message.name()))?;
        }
    }
    Ok(())
}

fn methods(package: &str, service: &ServiceDescriptorProto) -> Result<(), Error> {
    let mut taken = Taken::new(&qualified(package, service.name()));
    for method in &service.method {
        taken.claim(snake(method.name()), format!("method {}", method.name()))?;
    }
    Ok(())
}

fn declared(files: &FileDescriptorSet, name: &str) -> bool {
    files.file.iter().any(|file| {
        file.service.iter().any(|service| {
            let full = qualified(file.package(), service.name());
            full == name
                || service
                    .method
                    .iter()
                    .any(|method| format!("{full}.{}", method.name()) == name)
        })
    })
}

/// The Rust names used so far in one scope.
struct Taken {
    scope: String,
    names: HashMap<String, String>,
}

impl Taken {
    fn new(scope: &str) -> Self {
        Self {
            scope: scope.to_owned(),
            names: HashMap::new(),
        }
    }

    fn claim(&mut self, name: String, what: String) -> Result<(), Error> {
        if let Some(first) = self.names.insert(name.clone(), what.clone()) {
            return Err(Error::NameClash {
                package: self.scope.clone(),
                first,
                second: what,
                name,
            });
        }
        Ok(())
    }
}
