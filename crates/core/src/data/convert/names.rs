//! File names for pictures, from ids that may be hostile, missing or repeated.

use crate::data::captions::{CaptionColumns, id_text};
use crate::data::parquet::{ParquetRow, ParquetTable};
use crate::fs::safe_file_name;
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

/// Hands out one name a row. What a row gets depends on the ids of the rows before it and on nothing else, so that a
/// continued conversion gives the names an uninterrupted one would.
#[derive(Default)]
pub struct Names {
    /// Hash of a taken name → the next suffix to try. Hashes, because 25 million names would take gigabytes; if two
    /// names ever share a hash (odds of 1 in 50,000 at that size), one of them gets a suffix it did not need.
    taken: HashMap<u64, u32>,
    /// Ids that had been seen before.
    pub repeated: usize,
}

impl Names {
    /// The file name, without extension, for the next row.
    pub fn claim(&mut self, id: &str) -> String {
        let name = safe_file_name(id);
        let hash = hash(&name);
        let Some(mut suffix) = self.taken.get(&hash).copied() else {
            self.taken.insert(hash, 2);
            return name;
        };
        self.repeated += 1;
        loop {
            let other = format!("{name}-{suffix}");
            suffix += 1;
            if let std::collections::hash_map::Entry::Vacant(free) = self.taken.entry(self::hash(&other)) {
                free.insert(2);
                self.taken.insert(hash, suffix);
                return other;
            }
        }
    }

    /// Claims the names of the first rows, as a run that was not interrupted would have.
    pub fn replay(&mut self, ids: &ParquetTable, columns: &CaptionColumns, rows: usize) {
        for row in 0..rows {
            self.claim(&id(ids.row(row).ok().as_ref(), columns, row));
        }
    }
}

/// The id of a row as text; rows without one are called by their number.
pub fn id(row: Option<&ParquetRow>, columns: &CaptionColumns, number: usize) -> String {
    let cell = columns.id.as_ref().zip(row).and_then(|(column, row)| row.json(column).ok());
    cell.as_ref().and_then(id_text).unwrap_or_else(|| format!("row-{:08}", number + 1))
}

/// Lower case, because `A.jpg` and `a.jpg` are one file on many disks. The hasher has fixed keys.
fn hash(name: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_ids_get_numbers_and_never_take_a_name_that_is_taken() {
        let mut names = Names::default();
        let got: Vec<String> = ["a", "a-2", "a", "A", "b", "a"].iter().map(|id| names.claim(id)).collect();
        let lower: std::collections::HashSet<String> = got.iter().map(|n| n.to_lowercase()).collect();
        assert_eq!(lower.len(), got.len(), "{got:?}");
        assert_eq!(&got[..3], ["a", "a-2", "a-3"]);
        assert_eq!(names.repeated, 3);
    }

    #[test]
    fn hostile_ids_stay_inside_the_folder() {
        let mut names = Names::default();
        for id in [
            "../../etc/passwd",
            "/etc/passwd",
            "a/b",
            "C:\\x",
            "a\0b",
            "..",
            ".",
            "",
            "CON",
            &"x".repeat(300),
            "图\u{202e}",
            ".hidden",
        ] {
            let name = names.claim(id);
            assert!(!name.is_empty() && name.len() <= 150 && !name.starts_with('.'), "{id:?} -> {name:?}");
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)), "{id:?} -> {name:?}");
        }
    }
}
