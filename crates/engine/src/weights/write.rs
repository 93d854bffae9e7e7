//! Safetensors files as `save_pretrained` lays them out: one `model.safetensors`, or shards with their index.
//!
//! A file is written tensor by tensor, each asked for when its bytes are due, so that a model of any size needs the memory
//! of its largest tensor.

use anyhow::{Context, Result, bail};
use lightbox_core::fs;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// A tensor that is to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    pub name: String,
    pub kind: Kind,
    pub shape: Vec<i64>,
}

impl Planned {
    fn of(name: &str, t: &Tensor) -> Self {
        Self { name: name.to_owned(), kind: t.kind(), shape: t.size() }
    }

    pub fn bytes(&self) -> u64 {
        self.shape.iter().product::<i64>() as u64 * self.kind.elt_size_in_bytes() as u64
    }
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Shard {
    pub file: String,
    pub tensors: Vec<Planned>,
}

impl Shard {
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().map(Planned::bytes).sum()
    }
}

/// Cuts a model into files of at most `shard_bytes` (a larger tensor gets a file of its own), in the given order.
pub fn shards(tensors: impl IntoIterator<Item = Planned>, shard_bytes: u64) -> Vec<Shard> {
    let mut parts: Vec<Vec<Planned>> = vec![Vec::new()];
    let mut filled = 0;
    for tensor in tensors {
        let bytes = tensor.bytes();
        if filled > 0 && filled + bytes > shard_bytes {
            parts.push(Vec::new());
            filled = 0;
        }
        filled += bytes;
        if let Some(part) = parts.last_mut() {
            part.push(tensor);
        }
    }
    let count = parts.len();
    let file = |i: usize| match count {
        1 => "model.safetensors".to_owned(),
        _ => format!("model-{:05}-of-{count:05}.safetensors", i + 1),
    };
    parts.into_iter().enumerate().map(|(i, tensors)| Shard { file: file(i), tensors }).collect()
}

/// The index that belongs to more than one shard.
pub const INDEX: &str = "model.safetensors.index.json";

/// What [`INDEX`] says.
pub fn index(shards: &[Shard]) -> Value {
    let total: u64 = shards.iter().map(Shard::bytes).sum();
    let map: Map<String, Value> =
        shards.iter().flat_map(|s| s.tensors.iter().map(|t| (t.name.clone(), s.file.clone().into()))).collect();
    json!({"metadata": {"total_size": total}, "weight_map": map})
}

/// Writes the content of one safetensors file, with `{"format": "pt"}` in the header as transformers < 5 insists.
/// `tensor` gives each tensor of `planned`, in order.
///
/// # Errors
/// Those of `tensor` and of `out`, and a tensor that is not what was planned.
pub fn write(
    out: &mut impl Write,
    planned: &[Planned],
    tensor: &mut dyn FnMut(&Planned) -> Result<Tensor>,
) -> Result<()> {
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut offset = 0;
    for p in planned {
        let end = offset + p.bytes();
        header.insert(
            p.name.clone(),
            json!({"dtype": dtype_name(p.kind)?, "shape": p.shape, "data_offsets": [offset, end]}),
        );
        offset = end;
    }
    let mut header = serde_json::to_vec(&header)?;
    // The data begins 8-byte aligned, padded with blanks: safetensors' own rule.
    header.resize(header.len().next_multiple_of(8), b' ');

    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for p in planned {
        let t = tensor(p)?.to_device(Device::Cpu).contiguous();
        if t.kind() != p.kind || t.size() != p.shape {
            bail!("{}: {:?} {:?} was planned, not {:?} {:?}", p.name, p.kind, p.shape, t.kind(), t.size());
        }
        // SAFETY: contiguous CPU tensor of exactly so many bytes, alive through the write.
        out.write_all(unsafe { std::slice::from_raw_parts(t.data_ptr() as *const u8, p.bytes() as usize) })?;
    }
    Ok(())
}

/// Writes one safetensors file, sorted by name; fsynced, then renamed into place.
pub fn save(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    let planned: Vec<Planned> = tensors.iter().map(|(name, t)| Planned::of(name, t)).collect();
    fs::write_atomic_by(path, |out| {
        write(out, &planned, &mut |p| Ok(tensors[&p.name].shallow_clone()))
            .map_err(|e| e.downcast().unwrap_or_else(|e| io::Error::other(format!("{e:#}"))))
    })?;
    Ok(())
}

/// Writes `model.safetensors`, or shards of at most `shard_bytes` with their index.
pub fn save_model(dir: &Path, mut tensors: BTreeMap<String, Tensor>, shard_bytes: u64) -> Result<()> {
    let planned: Vec<Planned> = tensors.iter().map(|(name, t)| Planned::of(name, t)).collect();
    let shards = shards(planned, shard_bytes);
    for shard in &shards {
        let of_shard = shard.tensors.iter().filter_map(|t| tensors.remove_entry(&t.name)).collect();
        save(&dir.join(&shard.file), &of_shard)?;
    }
    if shards.len() > 1 {
        let path = dir.join(INDEX);
        fs::write_atomic(&path, serde_json::to_string_pretty(&index(&shards))?.as_bytes())
            .with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn dtype_name(k: Kind) -> Result<&'static str> {
    Ok(match k {
        Kind::Float => "F32",
        Kind::Double => "F64",
        Kind::Half => "F16",
        Kind::BFloat16 => "BF16",
        Kind::Int64 => "I64",
        Kind::Int => "I32",
        Kind::Uint8 => "U8",
        Kind::Bool => "BOOL",
        other => bail!("dtype {other:?} cannot be stored in safetensors here"),
    })
}
