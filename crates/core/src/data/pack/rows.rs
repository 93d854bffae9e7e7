//! The rows, by the file that each one names.
//!
//! Pictures come in the order of the archives, which is not that of the rows; and a row in the middle of a large row group of
//! parquet costs as much to read as all before it. So the texts of all rows are laid out once, one after the other, in a file
//! without a name beside the output, from which any row is one read. In memory are 16 bytes a row: the hash of the name and the
//! place of the texts. Two names may share a hash, so names are compared as well.

use crate::data::parquet::ParquetTable;
use anyhow::{Context, Result, anyhow};
use serde_json::Value;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The cells of a row, in the order of the columns.
pub type Cells = Vec<Option<String>>;

pub struct Rows {
    /// Hash of the name, and where the texts begin; by hash, then in the order of the rows.
    entries: Vec<(u64, u64)>,
    /// One bit an entry: its picture is there.
    taken: Vec<u64>,
    texts: File,
    /// Which cell is the name.
    name: usize,
}

impl Rows {
    /// Reads all rows of `table`; `columns` are its texts, and `columns[name]` names the picture.
    ///
    /// # Errors
    /// A row that cannot be read, a full disk.
    pub fn read(table: &ParquetTable, columns: &[String], name: usize, out: &Path) -> Result<Self> {
        let failed = || format!("laying out the texts of the rows in {}", out.display());
        let mut texts = BufWriter::with_capacity(1 << 20, tempfile::tempfile_in(out).with_context(failed)?);
        let mut entries = Vec::with_capacity(table.len());
        let (mut place, mut row_bytes) = (0, Vec::new());
        for row in 0..table.len() {
            let cells = cells(table, row, columns)?;
            let Some(file) = cells[name].as_deref().map(base).filter(|file| !file.is_empty()) else { continue };
            entries.push((hash(file), place));
            encode(&cells, &mut row_bytes);
            texts.write_all(&row_bytes).with_context(failed)?;
            place += row_bytes.len() as u64;
        }
        entries.sort_unstable();
        let taken = vec![0; entries.len().div_ceil(64)];
        let texts = texts.into_inner().map_err(|error| error.into_error()).with_context(failed)?;
        Ok(Self { entries, taken, texts, name })
    }

    /// The rows that name this file, each with its entry and its cells.
    ///
    /// # Errors
    /// The disk fails.
    pub fn find(&self, file: &str) -> Result<Vec<(usize, Cells)>> {
        let wanted = hash(file);
        let first = self.entries.partition_point(|(hash, _)| *hash < wanted);
        let mut found = Vec::new();
        for (entry, (hash, place)) in self.entries.iter().enumerate().skip(first) {
            if *hash != wanted {
                break;
            }
            let cells = decode(&self.texts, *place).context("reading the texts of a row")?;
            if cells.get(self.name).and_then(|cell| cell.as_deref()).map(base) == Some(file) {
                found.push((entry, cells));
            }
        }
        Ok(found)
    }

    pub fn take(&mut self, entry: usize) {
        self.taken[entry / 64] |= 1 << (entry % 64);
    }

    pub fn is_taken(&self, entry: usize) -> bool {
        self.taken[entry / 64] >> (entry % 64) & 1 == 1
    }
}

/// What is behind the last slash.
pub fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

fn cells(table: &ParquetTable, row: usize, columns: &[String]) -> Result<Cells> {
    let read = |found: &crate::data::parquet::ParquetRow| {
        let text = |column: &String| match found.json(column)? {
            Value::String(text) => Ok(Some(text)),
            _ => Ok(None),
        };
        columns.iter().map(text).collect()
    };
    let cells = table.row(row).and_then(|found| read(&found));
    cells.map_err(|fault| anyhow!("{}: {}", table.origin(row), fault.reason))
}

/// Bytes of what follows, then each cell: its length and its text; a null has the length `u32::MAX`.
fn encode(cells: &Cells, out: &mut Vec<u8>) {
    out.clear();
    out.extend([0; 4]);
    for cell in cells {
        let length = cell.as_ref().map_or(u32::MAX, |text| text.len() as u32);
        out.extend(length.to_le_bytes());
        out.extend(cell.as_deref().unwrap_or_default().as_bytes());
    }
    let length = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&length.to_le_bytes());
}

fn decode(file: &File, place: u64) -> std::io::Result<Cells> {
    let mut length = [0; 4];
    file.read_exact_at(&mut length, place)?;
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    file.read_exact_at(&mut bytes, place + 4)?;
    let (mut cells, mut rest) = (Vec::new(), bytes.as_slice());
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length);
        let (text, after) = after.split_at(if length == u32::MAX { 0 } else { length as usize });
        cells.push((length != u32::MAX).then(|| String::from_utf8_lossy(text).into_owned()));
        rest = after;
    }
    Ok(cells)
}
