//! What the header of a safetensors file says: how many numbers, in which type, and whether the file is as long as it
//! promises. The weights themselves are not read.
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Each tensor takes about 130 bytes of a header; a larger one is no model's.
const MAX_HEADER: u64 = 16 << 20;

#[derive(Debug, Default, PartialEq)]
pub struct Header {
    pub parameters: u64,
    /// How many numbers are of which type: `BF16`.
    pub types: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Tensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// # Errors
/// Why these are no whole weights, without the file's name.
pub fn read(path: &Path) -> Result<Header, String> {
    let mut file = File::open(path).map_err(|e| e.to_string())?;
    let length = file.metadata().map_err(|e| e.to_string())?.len();
    let mut first = [0; 8];
    file.read_exact(&mut first).map_err(|_| "is no safetensors file".to_owned())?;
    let size = u64::from_le_bytes(first);
    if size > MAX_HEADER || size + 8 > length {
        return Err("is no safetensors file, or was cut off".into());
    }
    let mut bytes = Vec::with_capacity(size as usize);
    file.take(size).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    let mut entries: HashMap<String, serde_json::Value> =
        serde_json::from_slice(&bytes).map_err(|_| "has a damaged header".to_owned())?;
    entries.remove("__metadata__");
    let mut header = Header::default();
    let mut end = 0;
    for tensor in entries.into_values() {
        let tensor: Tensor = serde_json::from_value(tensor).map_err(|_| "has a damaged header".to_owned())?;
        let numbers = tensor.shape.iter().fold(1u64, |n, side| n.saturating_mul(*side));
        header.parameters = header.parameters.saturating_add(numbers);
        let of_type = header.types.entry(tensor.dtype).or_default();
        *of_type = of_type.saturating_add(numbers);
        end = end.max(tensor.data_offsets.1);
    }
    match end.checked_add(size + 8) {
        Some(promised) if promised == length => Ok(header),
        Some(promised) => Err(format!("has {length} bytes and should have {promised}")),
        None => Err("has a damaged header".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_types_are_counted_and_a_cut_file_is_found_out() {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo-model/model.safetensors");
        let header = read(&model).unwrap();
        assert!((1_600_000..1_700_000).contains(&header.parameters), "{header:?}");
        assert_eq!(header.types.keys().collect::<Vec<_>>(), ["BF16"]);

        let temp = tempfile::tempdir().unwrap();
        let cut = temp.path().join("cut.safetensors");
        let bytes = std::fs::read(&model).unwrap();
        std::fs::write(&cut, &bytes[..bytes.len() - 1]).unwrap();
        assert!(read(&cut).unwrap_err().contains("should have"));
        for bad in [&b""[..], &[255; 40], b"\x02\0\0\0\0\0\0\0[]"] {
            std::fs::write(&cut, bad).unwrap();
            assert!(read(&cut).is_err(), "{bad:?}");
        }
    }
}
