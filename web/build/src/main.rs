//! Makes a folder that a browser can open of a crate and its static files.
//!
//! `make web` calls it. It compiles the crate for wasm32-unknown-unknown with the profile `web`,
//! binds it to JavaScript with wasm-bindgen's own library (its version is the crate's, by the lock
//! file), lets Binaryen's `wasm-opt` make it smaller where that is installed, compresses each file into
//! a `.gz` beside it, and prints what a browser will load. The folder is replaced as a whole, so a server never sees half of one.

mod exports;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use clap::Parser;
use wasm_bindgen_cli_support::Bindgen;

/// What compiled Rust uses of WebAssembly beyond its first version. Debian's Binaryen wants to be
/// told; newer ones read it from the file.
const WASM_FEATURES: [&str; 6] = [
    "--enable-bulk-memory",
    "--enable-reference-types",
    "--enable-mutable-globals",
    "--enable-sign-ext",
    "--enable-nontrapping-float-to-int",
    "--enable-multivalue",
];

/// Makes a web page of a crate
#[derive(Debug, Parser)]
struct Args {
    /// Crate to compile: a `cdylib`
    #[arg(long)]
    package: String,
    /// Folder whose files are copied beside it
    #[arg(long)]
    files: PathBuf,
    /// Folder to make, or to replace
    #[arg(long)]
    out: PathBuf,
    /// Flags for cargo
    #[arg(last = true)]
    cargo: Vec<String>,
}

fn main() -> ExitCode {
    match make(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to hear that this could not be written.
            drop(writeln!(std::io::stderr(), "web: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn make(args: &Args) -> Result<()> {
    let stem = args.package.replace('-', "_");
    let compiled = compile(args, &stem)?;
    let fresh = args.out.with_extension("new");
    remove(&fresh)?;
    fs::create_dir_all(&fresh).with_context(|| format!("cannot make {}", fresh.display()))?;
    Bindgen::new()
        .input_path(&compiled)
        .out_name(&stem)
        .web(true)?
        .typescript(false)
        // The page says `init()`, and the module is found beside its JavaScript.
        .omit_default_module_path(false)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(&fresh)
        .with_context(|| format!("wasm-bindgen cannot bind {}", compiled.display()))?;
    shrink(&fresh.join(format!("{stem}_bg.wasm")))?;
    for entry in fs::read_dir(&args.files)
        .with_context(|| format!("cannot read {}", args.files.display()))?
    {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), fresh.join(entry.file_name()))?;
        }
    }
    compress(&fresh, &args.out)?;
    remove(&args.out)?;
    fs::rename(&fresh, &args.out)
        .with_context(|| format!("cannot put {} in its place", args.out.display()))
}

/// Runs cargo; gives the compiled module.
fn compile(args: &Args, stem: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--profile", "web"])
        .args(["--target", "wasm32-unknown-unknown", "--lib"])
        .args(["--package", &args.package])
        .args(&args.cargo)
        .env("CARGO_ENCODED_RUSTFLAGS", short_paths())
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("cargo did not build {}", args.package);
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let built = target.join(format!("wasm32-unknown-unknown/web/{stem}.wasm"));
    if !built.is_file() {
        bail!(
            "cargo left no {}: is the crate-type cdylib?",
            built.display()
        );
    }
    Ok(built)
}

/// The flag that leaves out of the paths in panic messages where this machine keeps its crates: the page
/// is smaller, and the same wherever it is made.
fn short_paths() -> OsString {
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = std::env::home_dir().map(|home| home.join(".cargo"));
    let crates = cargo.or(home).unwrap_or_default().join("registry/src/");
    let mut flag = OsString::from("--remap-path-prefix=");
    flag.push(crates);
    flag.push("=");
    flag
}

/// Lets `wasm-opt` rewrite a module. Without it the page works all the same, a fifth larger.
fn shrink(module: &Path) -> Result<()> {
    let shrunk = module.with_extension("opt");
    let status = Command::new("wasm-opt")
        .args(["-Oz", "--converge"])
        .args(WASM_FEATURES)
        .arg(module)
        .arg("-o")
        .arg(&shrunk)
        .stdin(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() => {
            let mut bytes = fs::read(&shrunk).context("cannot read what wasm-opt wrote")?;
            exports::mend(&mut bytes).context("cannot read what wasm-opt wrote")?;
            fs::write(module, bytes)?;
            fs::remove_file(&shrunk).context("cannot remove what wasm-opt wrote")
        }
        Ok(status) => bail!("wasm-opt ended with {status}"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            writeln!(
                std::io::stderr(),
                "web: no wasm-opt here, the page stays larger (apt install binaryen)"
            )?;
            Ok(())
        }
        Err(error) => Err(error).context("cannot start wasm-opt"),
    }
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Puts beside each file what it is when compressed, where that pays: who serves the folder need not do
/// it for each request. Prints both sizes, under the name that the folder will have.
fn compress(folder: &Path, shown: &Path) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "    bytes     gzip  {}", shown.display())?;
    let mut files: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    for file in files {
        let bytes = fs::read(file.path())?;
        let mut gzipped = Vec::new();
        // A twentieth smaller than other compressors' best, for seconds that are spent once.
        let options = zopfli::Options::default();
        zopfli::compress(options, zopfli::Format::Gzip, &*bytes, &mut gzipped)?;
        let name = file.file_name();
        writeln!(
            out,
            "{:9} {:8}  {}",
            bytes.len(),
            gzipped.len(),
            OsStr::display(&name)
        )?;
        if gzipped.len() < bytes.len() {
            let mut sibling = file.path().into_os_string();
            sibling.push(".gz");
            fs::write(sibling, gzipped)?;
        }
    }
    Ok(())
}
