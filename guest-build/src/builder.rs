//! The options, and the order of work: compile, check, generate, write.
//!
//! Called from build scripts. [`crate::names`] refuses what would not compile, [`crate::service`]
//! writes the service part, prost the messages. Files are written only when their content changes,
//! so an unchanged `.proto` never makes cargo rebuild the guest.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message;
use prost_types::FileDescriptorSet;

use crate::error::Error;
use crate::names;
use crate::service::Generator;

/// Starts with the default options.
pub fn configure() -> Builder {
    Builder::default()
}

/// Options of the code generator. Proto names in them are fully qualified; those that prost takes
/// begin with a dot, and `"."` means everything.
#[derive(Debug, Default)]
#[must_use = "nothing is generated before `compile`"]
pub struct Builder {
    out_dir: Option<PathBuf>,
    include_file: Option<PathBuf>,
    type_attributes: Vec<(String, String)>,
    field_attributes: Vec<(String, String)>,
    extern_paths: Vec<(String, String)>,
    comments_disabled: Vec<String>,
    left_out: Vec<String>,
    descriptors_omitted: bool,
}

impl Builder {
    /// Writes into this folder instead of `OUT_DIR`. It must exist.
    pub fn out_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.out_dir = Some(folder.into());
        self
    }

    /// Also writes a file of this name that includes every package in the module that its name asks
    /// for. The way to include several packages that refer to each other.
    pub fn include_file(mut self, name: impl Into<PathBuf>) -> Self {
        self.include_file = Some(name.into());
        self
    }

    /// Adds an attribute to the message, enum or oneof at `path`, as in
    /// `type_attribute(".helloworld.HelloRequest", "#[derive(PartialOrd)]")`.
    pub fn type_attribute(mut self, path: impl Into<String>, attribute: impl Into<String>) -> Self {
        self.type_attributes.push((path.into(), attribute.into()));
        self
    }

    /// Adds an attribute to the field at `path`, as in `.helloworld.HelloRequest.name`.
    pub fn field_attribute(
        mut self,
        path: impl Into<String>,
        attribute: impl Into<String>,
    ) -> Self {
        self.field_attributes.push((path.into(), attribute.into()));
        self
    }

    /// Uses the Rust type or module `rust_path` for `proto_path` instead of generating it, as in
    /// `extern_path(".google.type", "::google_types")`.
    pub fn extern_path(
        mut self,
        proto_path: impl Into<String>,
        rust_path: impl Into<String>,
    ) -> Self {
        self.extern_paths
            .push((proto_path.into(), rust_path.into()));
        self
    }

    /// Drops the comments of the messages under `path`. For comments with indented text, which
    /// rustdoc would take for an example and run as a test.
    pub fn disable_comments(mut self, path: impl Into<String>) -> Self {
        self.comments_disabled.push(path.into());
        self
    }

    /// Does not serve a service (`pkg.Service`) or one method (`pkg.Service.Method`): callers get
    /// UNIMPLEMENTED. The descriptors keep it.
    pub fn leave_out(mut self, name: impl Into<String>) -> Self {
        self.left_out.push(name.into());
        self
    }

    /// Whether the services carry the descriptors of their files (default: yes). Without them the
    /// guest is smaller by about the size of its `.proto` files, and the host can offer neither
    /// reflection nor JSON for it.
    pub fn descriptors(mut self, embed: bool) -> Self {
        self.descriptors_omitted = !embed;
        self
    }

    /// Compiles `protos`, looking for them and their imports in `includes`, and tells cargo which
    /// files to watch.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    #[expect(
        clippy::print_stdout,
        reason = "standard output is how a build script talks to cargo"
    )]
    pub fn compile(
        self,
        protos: &[impl AsRef<Path>],
        includes: &[impl AsRef<Path>],
    ) -> Result<(), Error> {
        for file in self.generate(protos, includes)? {
            println!("cargo:rerun-if-changed={}", file.display());
        }
        Ok(())
    }

    /// The whole work, silent; returns the files it read.
    fn generate(
        self,
        protos: &[impl AsRef<Path>],
        includes: &[impl AsRef<Path>],
    ) -> Result<Vec<PathBuf>, Error> {
        let out_dir = match &self.out_dir {
            Some(folder) => folder.clone(),
            None => PathBuf::from(env::var_os("OUT_DIR").ok_or(Error::NoOutDir)?),
        };
        let compiled = Compiled::new(protos, includes)?;
        names::check(&compiled.with_comments, &self.left_out)?;
        let descriptors = if self.descriptors_omitted {
            None
        } else {
            Some(write_descriptors(&out_dir, &compiled.bare)?)
        };
        let mut prost = self.prost(&out_dir);
        prost.service_generator(Box::new(Generator::new(
            descriptors,
            self.left_out,
            self.extern_paths,
        )));
        prost
            .compile_fds(compiled.with_comments)
            .map_err(Error::Generate)?;
        Ok(compiled.inputs)
    }

    /// prost with the options that are its own.
    fn prost(&self, out_dir: &Path) -> prost_build::Config {
        let mut prost = prost_build::Config::new();
        prost.out_dir(out_dir);
        if let Some(name) = &self.include_file {
            prost.include_file(name);
        }
        // Comments are the author's to write, in the .proto; lints of the guest are not about them.
        prost.type_attribute(
            ".",
            "#[allow(missing_docs, reason = \"generated from a .proto\")]",
        );
        for (path, attribute) in &self.type_attributes {
            prost.type_attribute(path, attribute);
        }
        for (path, attribute) in &self.field_attributes {
            prost.field_attribute(path, attribute);
        }
        for (proto_path, rust_path) in &self.extern_paths {
            prost.extern_path(proto_path, rust_path);
        }
        prost.disable_comments(&self.comments_disabled);
        prost
    }
}

/// What the `.proto` compiler found.
struct Compiled {
    /// All files, imports first; those that were only imported have lost their services.
    with_comments: FileDescriptorSet,
    /// All files as the host gets them: whole, but without comments and positions.
    bare: FileDescriptorSet,
    /// Every file read from the disk.
    inputs: Vec<PathBuf>,
}

impl Compiled {
    fn new(protos: &[impl AsRef<Path>], includes: &[impl AsRef<Path>]) -> Result<Self, Error> {
        check_exist(protos, includes)?;
        // Its Debug form is the one with file, line and column.
        let in_words = |error: protox::Error| Error::Proto(format!("{error:?}"));
        let mut compiler = protox::Compiler::new(includes).map_err(in_words)?;
        compiler
            .include_imports(true)
            .include_source_info(true)
            .open_files(protos)
            .map_err(in_words)?;
        let imported: Vec<bool> = compiler.files().map(|file| file.is_import()).collect();
        let inputs = compiler
            .files()
            .filter_map(|file| file.path().map(Path::to_owned))
            .collect();
        let mut with_comments = compiler.file_descriptor_set();
        let mut bare = with_comments.clone();
        for file in &mut bare.file {
            file.source_code_info = None;
        }
        for (file, imported) in with_comments.file.iter_mut().zip(imported) {
            if imported {
                file.service.clear();
            }
        }
        Ok(Self {
            with_comments,
            bare,
            inputs,
        })
    }
}

/// The compiler's own words for a missing file are about include paths.
fn check_exist(protos: &[impl AsRef<Path>], includes: &[impl AsRef<Path>]) -> Result<(), Error> {
    for file in protos.iter().map(AsRef::as_ref) {
        let included = |folder: &Path| folder.join(file).exists();
        if !file.exists() && !includes.iter().any(|folder| included(folder.as_ref())) {
            return Err(Error::NotFound {
                file: file.to_owned(),
                includes: includes.iter().map(|dir| dir.as_ref().to_owned()).collect(),
            });
        }
    }
    Ok(())
}

/// Writes the serialized descriptors and returns the file's name. The name comes from the content,
/// so that several calls in one build script do not overwrite each other's.
fn write_descriptors(out_dir: &Path, descriptors: &FileDescriptorSet) -> Result<String, Error> {
    let bytes = descriptors.encode_to_vec();
    let name = format!("descriptors-{:016x}.bin", fnv1a(&bytes));
    let path = out_dir.join(&name);
    if fs::read(&path).is_ok_and(|old| old == bytes) {
        return Ok(name);
    }
    fs::write(&path, bytes).map_err(|source| Error::Write { path, source })?;
    Ok(name)
}

/// A hash that never changes with the compiler, unlike the standard one.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generate(edit: impl FnOnce(Builder) -> Builder) -> (Vec<String>, tempfile::TempDir) {
        let out = tempfile::tempdir().expect("a temporary folder");
        let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proto");
        let inputs = edit(configure().out_dir(out.path()))
            .generate(&["odd/odd.proto"], &[&proto])
            .expect("the sample compiles");
        let inputs = inputs
            .iter()
            .map(|path| path.strip_prefix(&proto).expect("a file of the sample"))
            .map(|path| path.display().to_string())
            .collect();
        (inputs, out)
    }

    fn files_with(folder: &Path, extension: &str) -> Vec<PathBuf> {
        fs::read_dir(folder)
            .expect("the output folder")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|found| found == extension))
            .collect()
    }

    #[test]
    fn cargo_watches_imports_too() {
        let (inputs, _out) = generate(|builder| builder);
        assert_eq!(inputs, ["odd/shared.proto", "odd/odd.proto"]);
    }

    #[test]
    fn descriptors_hold_all_files_whole_but_bare() {
        let (_, out) = generate(|builder| builder.leave_out("odd.names.v1.Result.Absent"));
        let [path] = files_with(out.path(), "bin").try_into().expect("one file");
        let bytes = fs::read(&path).expect("the descriptors");
        let set = FileDescriptorSet::decode(bytes.as_slice()).expect("a descriptor set");
        let names: Vec<_> = set.file.iter().map(|file| file.name()).collect();
        assert!(names.contains(&"google/protobuf/timestamp.proto"));
        let at = |name| names.iter().position(|found| *found == name);
        assert!(at("odd/shared.proto") < at("odd/odd.proto"), "{names:?}");
        assert!(set.file.iter().all(|file| file.source_code_info.is_none()));
        let odd = &set.file[at("odd/odd.proto").expect("the file itself")];
        assert_eq!(odd.service[0].method.len(), 6);
        let shared = &set.file[at("odd/shared.proto").expect("the imported file")];
        assert_eq!(shared.service.len(), 1);

        let code = fs::read_to_string(out.path().join("odd.names.v1.rs")).expect("the code");
        let name = path.file_name().and_then(|name| name.to_str());
        assert!(code.contains(&format!("include_bytes!({:?})", name.expect("a name"))));
    }

    #[test]
    fn descriptors_can_stay_away() {
        let (_, out) = generate(|builder| builder.descriptors(false));
        assert!(files_with(out.path(), "bin").is_empty());
    }

    #[test]
    fn include_file_nests_packages_as_they_are_named() {
        let (_, out) = generate(|builder| builder.include_file("all.rs"));
        let code = fs::read_to_string(out.path().join("all.rs")).expect("the include file");
        let words: Vec<_> = code.split_whitespace().collect();
        let nested =
            "pub mod odd { pub mod names { pub mod v1 { include!(\"odd.names.v1.rs\"); } }";
        assert!(words.join(" ").contains(nested), "{code}");
    }

    #[test]
    fn left_out_service_leaves_its_messages() {
        let (_, out) = generate(|builder| {
            builder
                .leave_out("odd.names.v1.Result")
                .leave_out("odd.names.v1.Nothing")
        });
        let code = fs::read_to_string(out.path().join("odd.names.v1.rs")).expect("the code");
        assert!(!code.contains("_server"), "{code}");
        assert!(code.contains("struct Outer"), "{code}");
    }

    #[test]
    fn attributes_and_extern_paths_reach_the_code() {
        let (_, out) = generate(|builder| {
            builder
                .type_attribute(".odd.names.v1.Request", "#[derive(PartialOrd)]")
                .field_attribute(".odd.names.v1.Outer.inner", "#[doc(alias = \"core\")]")
                .extern_path(".odd.shared", "other_crate::shared")
        });
        let code = fs::read_to_string(out.path().join("odd.names.v1.rs")).expect("the code");
        assert!(code.contains("#[derive(PartialOrd)]"), "{code}");
        assert!(code.contains("#[doc(alias = \"core\")]"), "{code}");
        assert!(
            code.contains("sdk::Response<other_crate::shared::Unit>"),
            "{code}"
        );
        assert!(!out.path().join("odd.shared.rs").exists());
    }
}
