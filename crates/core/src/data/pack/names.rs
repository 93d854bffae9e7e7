//! Which rows name a file: hashes of base names, sorted, 16 bytes a row. Two names may share a hash; who asks compares.

use crate::data::parquet::ParquetTable;
use anyhow::{Result, anyhow, ensure};
use std::hash::{DefaultHasher, Hash, Hasher};

pub struct Names {
    /// Hash and row, by hash, then by row.
    entries: Vec<(u64, u32)>,
    /// One bit an entry: its picture is there.
    taken: Vec<u64>,
}

impl Names {
    /// Reads the names of all rows.
    ///
    /// # Errors
    /// A name that cannot be read; more than 2^32 rows.
    pub fn read(table: &ParquetTable, column: &str) -> Result<Self> {
        ensure!(u32::try_from(table.len()).is_ok(), "{} rows are more than can be joined at once (2^32)", table.len());
        let mut entries = Vec::with_capacity(table.len());
        for row in 0..table.len() {
            let name = table.row(row).and_then(|cells| cells.json(column));
            let name = name.map_err(|fault| anyhow!("{}: {}", table.origin(row), fault.reason))?;
            if let Some(name) = name.as_str().map(base).filter(|name| !name.is_empty()) {
                entries.push((hash(name), row as u32));
            }
        }
        entries.sort_unstable();
        let taken = vec![0; entries.len().div_ceil(64)];
        Ok(Self { entries, taken })
    }

    /// Entries whose name may be this one.
    pub fn find(&self, name: &str) -> Vec<usize> {
        let wanted = hash(name);
        let first = self.entries.partition_point(|(hash, _)| *hash < wanted);
        (first..self.entries.len()).take_while(|&entry| self.entries[entry].0 == wanted).collect()
    }

    pub fn row(&self, entry: usize) -> usize {
        self.entries[entry].1 as usize
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
