//! Checkpoints of other programs have no manifest; their weights at least tell their length.

use safetensors::SafeTensors;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

/// Any of these holds a checkpoint's weights: an adapter's, or a model's (whole, or the index of its shards).
const NAMES: [&str; 3] = ["adapter_model.safetensors", "model.safetensors", "model.safetensors.index.json"];

/// Most bytes of a safetensors header, of which each tensor takes about 130. Parsed, a hostile one takes 40 times as much.
const MAX_HEADER: u64 = 4 << 20;

/// The folder has weights, and they are as long as their headers say.
pub fn check(folder: &Path) -> Result<(), String> {
    let Some(weights) = NAMES.iter().map(|name| folder.join(name)).find(|path| path.exists()) else {
        return Err(format!("{}: no weights ({})", folder.display(), NAMES.join(", ")));
    };
    if weights.extension().is_some_and(|ext| ext == "json") {
        check_shards(folder, &weights)
    } else {
        check_file(&weights)
    }
}

/// The file is as long as its header says (all tensors, no holes); only the header is read.
pub fn check_file(path: &Path) -> Result<(), String> {
    let at = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let file = File::open(path).map_err(|e| at(&e))?;
    // SAFETY: the run's own file, which nobody changes in place: checkpoints are written beside and renamed.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| at(&e))?;
    if let Some(header) = map.first_chunk().map(|length| u64::from_le_bytes(*length))
        && header > MAX_HEADER
    {
        return Err(at(&format!("its header has {header} bytes; at most {MAX_HEADER} are read")));
    }
    SafeTensors::deserialize(&map).map(drop).map_err(|e| at(&e))
}

/// Every shard that the index names is there and whole.
fn check_shards(dir: &Path, index: &Path) -> Result<(), String> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let at = |e: &dyn std::fmt::Display| format!("{}: {e}", index.display());
    let bytes = std::fs::read(index).map_err(|e| at(&e))?;
    let shards: BTreeSet<String> =
        serde_json::from_slice::<Index>(&bytes).map_err(|e| at(&e))?.weight_map.into_values().collect();
    if shards.is_empty() {
        return Err(at(&"names no shards"));
    }
    for shard in shards {
        if Path::new(&shard).components().count() != 1 || shard.starts_with('.') {
            return Err(at(&format!("{shard:?} is not a file of its folder")));
        }
        check_file(&dir.join(shard))?;
    }
    Ok(())
}
