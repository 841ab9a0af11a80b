//! Mends what Binaryen 108, Debian 12's, does to the export of a table.
//!
//! wasm-bindgen adds a second table, of JavaScript's values, and exports it. That version of `wasm-opt`
//! writes the number of the first table into the export, whatever it was, so the page would stop at its
//! first step. Nothing else is touched: code names its tables by numbers that are right, or the module
//! would not be valid. With a Binaryen that has no such fault this changes nothing.

use anyhow::{Context, Result, bail};

/// The export in question.
const EXPORT: &[u8] = b"__wbindgen_externrefs";
/// Source of the numbers here: the WebAssembly core specification, chapter 5, "Binary Format".
const PREAMBLE_BYTES: usize = 8;
const IMPORT_SECTION: u8 = 2;
const TABLE_SECTION: u8 = 4;
const EXPORT_SECTION: u8 = 7;
const EXTERNREF: u8 = 0x6f;
const KIND_TABLE: u8 = 1;

/// Makes the export name the table of JavaScript's values.
///
/// # Errors
/// When the module cannot be read, or has that export and not one such table.
pub(crate) fn mend(module: &mut [u8]) -> Result<()> {
    let mut wanted = None;
    let mut at = PREAMBLE_BYTES;
    while at < module.len() {
        let mut reader = Reader { bytes: module, at };
        let id = reader.byte()?;
        let len = reader.number()?;
        let end = reader.at.checked_add(len).context("a section has no end")?;
        match id {
            // wasm-bindgen's modules import functions only; numbers would begin behind imported tables.
            IMPORT_SECTION => reader.no_tables()?,
            TABLE_SECTION => wanted = reader.externref_table()?,
            EXPORT_SECTION => {
                if let Some(index_at) = reader.export()? {
                    let index = wanted.context("there is no table of JavaScript's values")?;
                    module[index_at] = index;
                    return Ok(());
                }
            }
            _ => {}
        }
        at = end;
    }
    Ok(())
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8> {
        let byte = self
            .bytes
            .get(self.at)
            .context("the module ends too soon")?;
        self.at += 1;
        Ok(*byte)
    }

    /// An unsigned LEB128 number of 32 bits.
    fn number(&mut self) -> Result<usize> {
        let mut number = 0_u64;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(usize::try_from(number)?);
            }
        }
        bail!("a number is too long")
    }

    fn name(&mut self) -> Result<&[u8]> {
        let len = self.number()?;
        let name = self.bytes.get(self.at..).and_then(|rest| rest.get(..len));
        let name = name.context("a name ends too soon")?;
        self.at += len;
        Ok(name)
    }

    fn no_tables(&mut self) -> Result<()> {
        for _ in 0..self.number()? {
            self.name()?;
            self.name()?;
            if self.byte()? != 0 {
                bail!("the module imports something else than functions");
            }
            self.number()?;
        }
        Ok(())
    }

    /// The number of the table of JavaScript's values, as the one byte that it takes.
    fn externref_table(&mut self) -> Result<Option<u8>> {
        for index in 0..u8::try_from(self.number()?)?.min(0x7f) {
            let kind = self.byte()?;
            let limits = self.byte()?;
            self.number()?;
            if limits & 1 == 1 {
                self.number()?;
            }
            if kind == EXTERNREF {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Where the number of the exported table stands, if it is exported.
    fn export(&mut self) -> Result<Option<usize>> {
        for _ in 0..self.number()? {
            let is_wanted = self.name()? == EXPORT;
            let kind = self.byte()?;
            let index_at = self.at;
            let index = self.number()?;
            if is_wanted && kind == KIND_TABLE {
                if index >= 0x80 {
                    bail!("there are too many tables");
                }
                return Ok(Some(index_at));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module with two tables that exports the one with this number.
    fn module(exported: u8) -> Vec<u8> {
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        module.extend([IMPORT_SECTION, 7, 1, 1, b'm', 1, b'f', 0, 0]);
        module.extend([TABLE_SECTION, 8, 2, 0x70, 1, 1, 1, EXTERNREF, 0, 4]);
        let len = u8::try_from(EXPORT.len()).expect("short");
        module.extend([EXPORT_SECTION, len + 8, 2, 1, b'f', 0, 0, len]);
        module.extend(EXPORT);
        module.extend([KIND_TABLE, exported]);
        module
    }

    #[test]
    fn the_export_names_the_right_table_afterwards() {
        for exported in [0, 1] {
            let mut bytes = module(exported);
            mend(&mut bytes).expect("a module");
            assert_eq!(bytes, module(1), "{exported}");
        }
    }

    #[test]
    fn a_module_without_that_export_stays_as_it_is() {
        let mut bytes = b"\0asm\x01\0\0\0".to_vec();
        mend(&mut bytes).expect("a module");
        assert_eq!(bytes, b"\0asm\x01\0\0\0");
    }

    #[test]
    fn what_is_cut_is_refused_and_never_read_past_its_end() {
        let whole = module(0);
        for len in PREAMBLE_BYTES + 1..whole.len() {
            let mut bytes = whole[..len].to_vec();
            let mended = mend(&mut bytes);
            // Between sections a module may end.
            assert!(mended.is_err() || bytes == whole[..len], "{len}");
        }
    }
}
