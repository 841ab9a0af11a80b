//! The vendored component-type section is what `wit/` says.
//!
//! The section is what the linker makes a component of, so a drift would give plugins that no host
//! takes. After a change of `wit/`, rewrite it and look at the difference:
//!
//! ```sh
//! SWITCHBOARD_BLESS=1 cargo test -p switchboard-guest --test section
//! ```
//!
//! The `producers` part is left out of it: it names the version of `wit-component` alone, and an
//! update of a test's dependency is no drift.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use wit_component::StringEncoding;
use wit_parser::Resolve;

const WORLD: &str = "switchboard:grpc/plugin@0.1.0";

/// The id of a custom section in a component, and the name of the one left out.
const CUSTOM_SECTION: u8 = 0;
const PRODUCERS: &[u8] = b"\x09producers";

fn in_crate(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn encode_wit() -> Vec<u8> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(in_crate("../wit")).expect("wit/ parses");
    let world = resolve
        .select_world(&[package], Some(WORLD))
        .expect("wit/ has the world");
    let section =
        wit_component::metadata::encode(&resolve, world, StringEncoding::UTF8, None, false)
            .expect("the world encodes");
    without_producers(&section)
}

/// Cuts the last section off, which is `producers`.
fn without_producers(section: &[u8]) -> Vec<u8> {
    let name = section
        .windows(PRODUCERS.len())
        .rposition(|window| window == PRODUCERS)
        .expect("wit-component names itself");
    // Before the name: the id of the section, then its length, which is below 128: one byte.
    let start = name - 2;
    assert_eq!(section[start], CUSTOM_SECTION);
    assert_eq!(
        usize::from(section[start + 1]),
        section.len() - name,
        "it is the last section"
    );
    section[..start].to_vec()
}

/// The section in the repository, rewritten first if asked.
fn vendored() -> &'static [u8] {
    static VENDORED: OnceLock<Vec<u8>> = OnceLock::new();
    VENDORED.get_or_init(|| {
        let path = in_crate("src/abi/section.bin");
        if std::env::var_os("SWITCHBOARD_BLESS").is_some() {
            std::fs::write(&path, encode_wit()).expect("the section can be written");
        }
        std::fs::read(&path).expect("the section is in the repository")
    })
}

#[test]
fn is_what_wit_says() {
    assert!(
        vendored() == encode_wit(),
        "src/abi/section.bin is not what wit/ says: see the head of this file"
    );
}

#[test]
fn decodes_to_the_world() {
    let (resolve, world) = match wit_component::decode(vendored()).expect("the section decodes") {
        wit_component::DecodedWasm::WitPackage(resolve, package) => {
            let world = resolve.packages[package].worlds["plugin"];
            (resolve, world)
        }
        wit_component::DecodedWasm::Component(resolve, world) => (resolve, world),
    };
    let world = &resolve.worlds[world];
    let names = |items: &wit_parser::IndexMap<wit_parser::WorldKey, wit_parser::WorldItem>| {
        items
            .keys()
            .map(|key| resolve.name_world_key(key))
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&world.exports), ["switchboard:grpc/handler@0.1.0"]);
    let imports = names(&world.imports);
    for import in [
        "switchboard:grpc/call@0.1.0",
        "switchboard:grpc/log@0.1.0",
        "switchboard:grpc/trace@0.1.0",
        "wasi:io/poll@0.2.0",
    ] {
        assert!(
            imports.iter().any(|name| name == import),
            "{import} is not in {imports:?}"
        );
    }
}
