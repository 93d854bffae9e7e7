//! Tensors of a model folder: memory-mapped safetensors, one file or shards, old and new names.
//!
//! Inside, every tensor goes by its name on the Hub (`model.layers.0…`, `visual.blocks.0…`), whatever transformers
//! version wrote the file; see [`hub_name`]. Only safetensors is read: a pickle can run code. Writing: [`write`].

pub mod write;

use anyhow::{Context, Result, bail};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};
pub use write::{save, save_model};

/// The open, memory-mapped files of a folder. Tensors are read on demand, so opening 150 GB costs nothing.
pub struct Weights {
    files: Vec<Mapped>,
    /// Hub name -> (file, name in the file)
    index: HashMap<String, (usize, String)>,
}

struct Mapped {
    path: PathBuf,
    map: Mmap,
    /// Where the tensor data begins: after the 8-byte length and the header.
    entries: HashMap<String, Entry>,
}

struct Entry {
    dtype: Dtype,
    shape: Vec<i64>,
    /// Bytes in the file.
    range: std::ops::Range<usize>,
}

/// Since transformers 4.52 the names in memory are `model.language_model.*` and `model.visual.*`; raw state dicts
/// carry them. Source: the key mapping of transformers 5 (`^visual`, `^model(?!\.(language_model|visual))`), backwards.
pub fn hub_name(name: &str) -> String {
    if let Some(rest) = name.strip_prefix("model.language_model.") {
        format!("model.{rest}")
    } else if let Some(rest) = name.strip_prefix("model.visual.") {
        format!("visual.{rest}")
    } else {
        name.to_owned()
    }
}

/// [`hub_name`] backwards: the module path in transformers >= 4.52, which PEFT's keys are made of.
pub fn memory_name(name: &str) -> String {
    if let Some(rest) = name.strip_prefix("model.") {
        format!("model.language_model.{rest}")
    } else if name.starts_with("visual.") {
        format!("model.{name}")
    } else {
        name.to_owned()
    }
}

impl Weights {
    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` lists.
    ///
    /// # Errors
    /// Names the file that is missing, cut short or not safetensors, and the shard that an index names in vain.
    pub fn open_model(dir: &Path) -> Result<Self> {
        let index = dir.join("model.safetensors.index.json");
        let single = dir.join("model.safetensors");
        let mut files: Vec<PathBuf> = if index.exists() {
            let text = std::fs::read_to_string(&index).with_context(|| index.display().to_string())?;
            let json: Value =
                serde_json::from_str(&text).with_context(|| format!("{}: not valid JSON", index.display()))?;
            let map = json
                .get("weight_map")
                .and_then(Value::as_object)
                .with_context(|| format!("{}: weight_map is missing", index.display()))?;
            let mut names: Vec<&str> = map.values().filter_map(Value::as_str).collect();
            names.sort_unstable();
            names.dedup();
            if let Some(bad) = names.iter().find(|n| n.contains('/') || n.contains("..")) {
                bail!("{}: the shard name {bad:?} leads out of the folder", index.display());
            }
            names.iter().map(|n| dir.join(n)).collect()
        } else if single.exists() {
            vec![single]
        } else if dir.join("pytorch_model.bin").exists() || dir.join("pytorch_model.bin.index.json").exists() {
            bail!(
                "{}: only pickled weights (.bin) are here, and a pickle can run code; get the safetensors files of this model",
                dir.display()
            );
        } else {
            bail!(
                "{}: no model.safetensors and no model.safetensors.index.json; download the model's weights first",
                dir.display()
            );
        };
        files.sort();
        Self::open_files(&files)
    }

    /// Opens single files, e.g. an adapter.
    pub fn open_files(paths: &[PathBuf]) -> Result<Self> {
        let mut files = Vec::with_capacity(paths.len());
        let mut index = HashMap::new();
        for (i, path) in paths.iter().enumerate() {
            let file = Mapped::open(path)?;
            for name in file.entries.keys() {
                index.insert(hub_name(name), (i, name.clone()));
            }
            files.push(file);
        }
        Ok(Self { files, index })
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.index.keys().map(String::as_str)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.index.contains_key(name)
    }

    /// Copies one tensor to `device` and converts it to `kind` there.
    ///
    /// # Errors
    /// A missing tensor and a shape other than `shape` are named with the file.
    pub fn get(&self, name: &str, shape: &[i64], kind: Kind, device: Device) -> Result<Tensor> {
        self.check(name, shape)?;
        Ok(self.get_any(name)?.to_device(device).to_kind(kind))
    }

    /// Asks for a tensor without reading it.
    ///
    /// # Errors
    /// As [`Weights::get`]: it is missing, has another shape, or a dtype that is not read here.
    pub fn check(&self, name: &str, shape: &[i64]) -> Result<()> {
        let (file, entry, _) = self.entry(name)?;
        if entry.shape != shape {
            bail!("{}: {name} has shape {:?}, the config asks for {shape:?}", file.path.display(), entry.shape);
        }
        Ok(())
    }

    /// The dtype of a tensor in its file.
    pub fn kind(&self, name: &str) -> Result<Kind> {
        self.entry(name).map(|(_, _, kind)| kind)
    }

    /// Copies one tensor as it lies in the file, to the CPU.
    pub fn get_any(&self, name: &str) -> Result<Tensor> {
        let (file, entry, kind) = self.entry(name)?;
        // `f_from_data_size` copies: the map stays private to this object.
        Tensor::f_from_data_size(&file.map[entry.range.clone()], &entry.shape, kind)
            .with_context(|| format!("{}: {name}", file.path.display()))
    }

    fn entry(&self, name: &str) -> Result<(&Mapped, &Entry, Kind)> {
        let (file, key) =
            self.index.get(name).with_context(|| format!("the tensor {name} is missing in {}", self.describe()))?;
        let file = &self.files[*file];
        let entry = &file.entries[key];
        let kind = kind_of(entry.dtype).with_context(|| {
            format!("{}: {key} has dtype {:?}, which is not read here", file.path.display(), entry.dtype)
        })?;
        Ok((file, entry, kind))
    }

    fn describe(&self) -> String {
        self.files.iter().map(|f| f.path.display().to_string()).collect::<Vec<_>>().join(", ")
    }
}

impl Mapped {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("{}: cannot be opened", path.display()))?;
        // SAFETY: the map is only read. Another program that shortens the file while we read would end us with SIGBUS;
        // the length is checked against the header here, at the start.
        let map = unsafe { Mmap::map(&file) }.with_context(|| format!("{}: cannot be mapped", path.display()))?;
        let (header_len, header) = SafeTensors::read_metadata(&map).map_err(|e| {
            anyhow::anyhow!("{}: not a whole safetensors file ({e}); download it again", path.display())
        })?;
        let start = header_len + 8;
        let mut entries = HashMap::new();
        for (name, info) in header.tensors() {
            let range = start + info.data_offsets.0..start + info.data_offsets.1;
            if range.end > map.len() {
                bail!(
                    "{}: {name} ends at byte {}, but the file has {}; download it again",
                    path.display(),
                    range.end,
                    map.len()
                );
            }
            entries.insert(
                name.clone(),
                Entry { dtype: info.dtype, shape: info.shape.iter().map(|d| *d as i64).collect(), range },
            );
        }
        Ok(Self { path: path.to_owned(), map, entries })
    }
}

fn kind_of(d: Dtype) -> Option<Kind> {
    Some(match d {
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::U8 => Kind::Uint8,
        Dtype::BOOL => Kind::Bool,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn names_of_every_transformers_version_meet_at_the_hub_name() {
        for (memory, hub) in [
            ("model.language_model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight"),
            ("model.visual.blocks.3.attn.qkv.bias", "visual.blocks.3.attn.qkv.bias"),
            ("lm_head.weight", "lm_head.weight"),
        ] {
            assert_eq!(hub_name(memory), hub);
            assert_eq!(hub_name(hub), hub);
            assert_eq!(memory_name(hub), memory);
        }
    }

    #[test]
    fn shards_and_a_single_file_read_back_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let tensors = || -> BTreeMap<String, Tensor> {
            (0..5i64)
                .map(|i| {
                    (
                        format!("model.t{i}.weight"),
                        (Tensor::arange(6, (Kind::Float, Device::Cpu)) * i).reshape([2, 3]).to_kind(Kind::BFloat16),
                    )
                })
                .collect()
        };
        save_model(dir.path(), tensors(), 30).unwrap();
        assert!(dir.path().join("model-00003-of-00003.safetensors").exists());
        let sharded = Weights::open_model(dir.path()).unwrap();
        for (name, t) in tensors() {
            let back = sharded.get(&name, &[2, 3], Kind::BFloat16, Device::Cpu).unwrap();
            assert!(back.equal(&t), "{name}");
        }
    }

    #[test]
    fn a_cut_file_a_missing_tensor_and_a_wrong_shape_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        save(&path, &BTreeMap::from([("a".to_owned(), Tensor::zeros([4, 4], (Kind::Float, Device::Cpu)))])).unwrap();
        let w = Weights::open_model(dir.path()).unwrap();
        assert!(format!("{:#}", w.get_any("b").unwrap_err()).contains("tensor b is missing"));
        assert!(format!("{:#}", w.get("a", &[2, 8], Kind::Float, Device::Cpu).unwrap_err()).contains("[4, 4]"));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 8]).unwrap();
        assert!(format!("{:#}", Weights::open_model(dir.path()).err().unwrap()).contains("model.safetensors"));
    }
}
