//! The model that a run began with, in a few bytes: a resumed run compares them with its checkpoint's. What it was trained on:
//! [`crate::data::Samples::fingerprint`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Small files of a model folder that decide what its weights mean.
const SMALL: [&str; 2] = ["config.json", "tokenizer.json"];

/// Identity of the files of a model folder, by name: small ones by all of their bytes; weights, which may be hundreds of
/// gigabytes, by their size, their header and samples of their contents.
///
/// # Errors
/// A file or the folder that cannot be read, with its name.
pub fn model(dir: &Path) -> io::Result<BTreeMap<String, String>> {
    let naming = |path: &Path, e: io::Error| io::Error::new(e.kind(), format!("reading {}: {e}", path.display()));
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).map_err(|e| naming(dir, e))? {
        let path = entry.map_err(|e| naming(dir, e))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let identity = if SMALL.contains(&name) {
            std::fs::read(&path).map(|bytes| format!("blake3 {}", blake3::hash(&bytes).to_hex()))
        } else if name.ends_with(".safetensors") {
            weights(&path)
        } else {
            continue;
        };
        found.insert(name.to_owned(), identity.map_err(|e| naming(&path, e))?);
    }
    Ok(found)
}

/// Blocks of a weight file that are looked at, evenly spaced from its first byte to its last, and their size in bytes.
const BLOCKS: u64 = 64;
const BLOCK: u64 = 4 << 10;
/// A header says of itself how long it is; of a damaged one no more than this is read.
const LONGEST_HEADER: u64 = 64 << 20;

fn weights(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut hash = blake3::Hasher::new();
    let mut length = [0; 8];
    if size >= 8 {
        file.read_exact(&mut length)?;
    }
    let header = u64::from_le_bytes(length).min(LONGEST_HEADER);
    io::copy(&mut (&file).take(header), &mut hash)?;
    let mut block = [0; BLOCK as usize];
    let last = size.saturating_sub(BLOCK);
    for i in 0..BLOCKS {
        let wanted = BLOCK.min(size) as usize;
        // In 128 bits: the product may be larger than any file.
        let at = (u128::from(last) * u128::from(i) / u128::from(BLOCKS - 1)) as u64;
        file.read_exact_at(&mut block[..wanted], at)?;
        hash.update(&block[..wanted]);
    }
    Ok(format!("{size} bytes, sampled blake3 {}", hash.finalize().to_hex()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(weights: &[u8]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [("config.json", &b"{}"[..]), ("model.safetensors", weights), ("notes.txt", b"any")] {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        dir
    }

    fn file(header: usize, body: usize) -> Vec<u8> {
        let mut bytes = (header as u64).to_le_bytes().to_vec();
        bytes.resize(8 + header + body, 7);
        bytes
    }

    #[test]
    fn copies_are_the_same_and_every_change_of_header_ends_or_size_shows() {
        let bytes = file(10_000, 2_000_000);
        let original = model(folder(&bytes).path()).unwrap();
        assert_eq!(original.keys().collect::<Vec<_>>(), ["config.json", "model.safetensors"]);
        assert_eq!(model(folder(&bytes).path()).unwrap(), original);
        for at in [8, 5_000, 10_007, 10_009 + BLOCK as usize * 8, bytes.len() - 1] {
            let mut other = bytes.clone();
            // More than a gap between two blocks, but not beyond the end.
            let end = (at + 40_000).min(other.len());
            other[at..end].fill(8);
            assert_ne!(model(folder(&other).path()).unwrap(), original, "at {at}");
        }
        assert_ne!(model(folder(&bytes[..bytes.len() - 1]).path()).unwrap(), original);
    }

    #[test]
    fn files_shorter_than_a_header_or_a_block_and_lying_headers_are_identified_too() {
        let mut lies = file(100, 100);
        lies[..8].fill(255);
        let files = [vec![], vec![1; 3], file(2, 0), lies];
        let found: Vec<_> = files.iter().map(|bytes| model(folder(bytes).path()).unwrap()).collect();
        for (i, a) in found.iter().enumerate() {
            assert!(found[..i].iter().all(|b| a != b));
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = model(Path::new("/nowhere/model")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/model"), "{error}");
    }
}
