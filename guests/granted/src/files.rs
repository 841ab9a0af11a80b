//! Files, as `std` has them.

use std::fs::{self, File};

use switchboard_guest::Status;

use crate::failed;

pub(crate) fn read(path: &str) -> Result<Vec<u8>, Status> {
    fs::read(path).map_err(failed)
}

pub(crate) fn write((path, content): (&str, &str)) -> Result<Vec<u8>, Status> {
    fs::write(path, content).map_err(failed)?;
    Ok(Vec::new())
}

/// The names in a folder, sorted, a line each.
pub(crate) fn list(path: &str) -> Result<Vec<u8>, Status> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        names.push(format!("{}\n", name.to_string_lossy()));
    }
    names.sort();
    Ok(names.concat().into_bytes())
}

pub(crate) fn remove(path: &str) -> Result<Vec<u8>, Status> {
    fs::remove_file(path).map_err(failed)?;
    Ok(Vec::new())
}

/// Opens a file until that fails, and answers how often it went well.
pub(crate) fn open_many(path: &str) -> Result<Vec<u8>, Status> {
    let files = std::iter::from_fn(|| File::open(path).ok());
    let files: Vec<_> = files.take(100_000).collect();
    Ok(files.len().to_string().into_bytes())
}
