//! Safetensors headers damaged in every way, read by the check that decides whether a checkpoint can be used: it must accept
//! exactly what an independent reading of the format accepts, and never take memory for what a header merely claims.

mod meter;

use lightbox_core::runs::checkpoints::check_safetensors;
use serde_json::{Map, Value, json};

/// `LIGHTBOX_MUTATIONS` asks for more.
const MUTATIONS: u64 = 20_000;
/// `LIGHTBOX_SEED` gives others.
const SEED: u64 = 14;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn one_of<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }
}

/// A sound file: 64 bytes of `a`, 16 of `b`, 16 of `c`.
fn header() -> Value {
    json!({
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]},
        "b": {"dtype": "BF16", "shape": [8], "data_offsets": [64, 80]},
        "c": {"dtype": "I64", "shape": [2, 1], "data_offsets": [80, 96]},
    })
}

fn file(header: &str, length: u64, data: usize) -> Vec<u8> {
    [length.to_le_bytes().as_slice(), header.as_bytes(), &vec![7; data]].concat()
}

/// Numbers at which sums and products overflow, or files end.
fn odd_number(random: &mut Random) -> Value {
    let exact = [0, 1, 2, 4, 16, 63, 64, 65, 80, 95, 96, 97, 1 << 31, 1 << 32, 1 << 61, 1 << 62, 1 << 63, u64::MAX];
    match random.below(8) {
        0 => random.one_of(&[json!(-1), json!(1.5), json!(1e300), json!("4"), json!(null), json!([4]), json!(true)]),
        1 => json!(random.next()),
        _ => json!(random.one_of(&exact)),
    }
}

/// One to three changes of the header's values.
fn change_values(random: &mut Random, header: &mut Map<String, Value>) {
    for _ in 0..=random.below(3) {
        let tensor = random.one_of(&["a", "b", "c"]);
        let dtypes = ["F64", "F16", "BOOL", "U8", "F4", "F8_E4M3", "C64", "f32", "F32\0", "", "PICKLE"];
        let Some(entry) = header.get_mut(tensor).filter(|entry| entry.is_object()) else { continue };
        match random.below(12) {
            0 => entry["dtype"] = random.one_of(&dtypes).into(),
            1 => entry["dtype"] = odd_number(random),
            2 => entry["shape"] = (0..random.below(6)).map(|_| odd_number(random)).collect(),
            3 => entry["shape"] = vec![json!(1u64 << 32); 2 + random.below(4)].into(),
            4 => entry["shape"] = vec![json!(0); random.below(2000)].into(),
            5 => entry["data_offsets"] = json!([odd_number(random), odd_number(random)]),
            6 => entry["data_offsets"] = json!([odd_number(random), entry["data_offsets"][0]]),
            7 => entry["data_offsets"] = (0..random.below(5)).map(|_| odd_number(random)).collect(),
            8 => *entry = odd_number(random),
            9 => drop(header.remove(tensor)),
            10 => {
                let copy = entry.clone();
                header.insert(random.one_of(&["d", "", "\u{202e}", "__metadata__"]).into(), copy);
            }
            _ => {
                let metadata = random.one_of(&[json!({"k": 1}), json!([]), json!({"k": {"k": {}}}), json!(0)]);
                header.insert("__metadata__".into(), metadata);
            }
        }
    }
}

/// A file made from a sound one by one kind of damage, and whether names may stand in it twice.
fn mutant(random: &mut Random) -> (Vec<u8>, bool) {
    let mut value = header();
    let sound = value.to_string();
    let length = sound.len() as u64;
    let damage = random.below(7);
    let bytes = match damage {
        0 => {
            // The length in the first eight bytes.
            let near = length.wrapping_add_signed(random.below(41) as i64 - 20);
            let lengths = [0, 1, near, length + 96, 100_000_000, 100_000_001, 1 << 32, 1 << 63, u64::MAX, u64::MAX - 7];
            file(&sound, random.one_of(&lengths), 96)
        }
        1 => {
            // The file ends early, or goes on.
            let mut bytes = file(&sound, length, 96 + random.below(9));
            bytes.truncate(random.below(bytes.len() + 1));
            bytes
        }
        2 => {
            // Bytes of the header.
            let mut bytes = file(&sound, length, 96);
            for _ in 0..=random.below(4) {
                let at = 8 + random.below(sound.len());
                bytes[at] = random.one_of(b"{}[]\",:0919e-.\\ \0\n\xFF\xC0a");
            }
            bytes
        }
        3 => {
            // The same name twice, with other contents.
            let mut other = header();
            change_values(random, other.as_object_mut().unwrap());
            let body = |v: &Value| v.to_string().trim_matches(['{', '}']).to_owned();
            let text = format!("{{{}}},{}}}}}", body(&other), body(&value));
            file(&text, text.len() as u64, 96)
        }
        4 => {
            // Depth, and many entries without bytes.
            let deep = format!("{}{}", "[".repeat(random.below(3000)), "]".repeat(random.below(3000)));
            let many: Map<String, Value> = (0..random.below(500))
                .map(|i| (i.to_string(), json!({"dtype": "F32", "shape": [0], "data_offsets": [0, 0]})))
                .collect();
            let text = random.one_of(&[deep, Value::Object(many).to_string()]);
            file(&text, text.len() as u64, 0)
        }
        _ => {
            change_values(random, value.as_object_mut().unwrap());
            let text = value.to_string();
            file(&text, text.len() as u64, 96)
        }
    };
    // A changed byte can turn one name into another.
    (bytes, matches!(damage, 2 | 3))
}

/// The format's rules, read again: the tensors fill the bytes behind the header from the first to the last, without a hole.
fn is_sound(bytes: &[u8]) -> Option<()> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (header, data) = rest.split_at_checked(length)?;
    let header: Map<String, Value> = serde_json::from_slice(header).ok()?;
    let mut parts = Vec::new();
    for (name, entry) in &header {
        if name == "__metadata__" {
            entry
                .is_null()
                .then_some(())
                .or_else(|| entry.as_object()?.values().all(Value::is_string).then_some(()))?;
            continue;
        }
        let bits = match entry.get("dtype")?.as_str()? {
            "F4" => 4,
            "F6_E2M3" | "F6_E3M2" => 6,
            "BOOL" | "U8" | "I8" | "F8_E4M3" | "F8_E5M2" | "F8_E8M0" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ" => 8,
            "U16" | "I16" | "F16" | "BF16" => 16,
            "U32" | "I32" | "F32" => 32,
            "U64" | "I64" | "F64" | "C64" => 64,
            _ => return None,
        };
        let shape = entry.get("shape")?.as_array()?.iter().map(Value::as_u64).collect::<Option<Vec<_>>>()?;
        let values = shape.iter().try_fold(1u64, |product, &side| product.checked_mul(side))?;
        let bits = values.checked_mul(bits).filter(|bits| bits % 8 == 0)?;
        let [start, end] = entry.get("data_offsets")?.as_array()?.as_slice() else { return None };
        let (start, end) = (start.as_u64()?, end.as_u64()?);
        (end.checked_sub(start)? == bits / 8).then(|| parts.push((start, end)))?;
    }
    parts.sort_unstable();
    let end = parts.into_iter().try_fold(0, |at, (start, end)| (start == at).then_some(end))?;
    (end == data.len() as u64).then_some(())
}

#[test]
fn a_damaged_header_is_refused_and_costs_no_more_memory_than_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("adapter_model.safetensors");
    let (seed, mutations) = (setting("LIGHTBOX_SEED", SEED), setting("LIGHTBOX_MUTATIONS", MUTATIONS));
    let mut accepted = 0;
    for i in 0..mutations {
        let (bytes, repeats) = mutant(&mut Random(seed.wrapping_add(i << 32)));
        std::fs::write(&path, &bytes).unwrap();
        let (result, peak) = meter::peak(|| check_safetensors(&path));
        let replay = format!("mutation {i} of LIGHTBOX_SEED={seed}: {:?}", String::from_utf8_lossy(&bytes));
        assert!(result.is_err() || is_sound(&bytes).is_some(), "accepted; {replay}");
        // Where a name stands twice, the last one counts, but all are read: some of these files are refused for the first.
        assert!(result.is_ok() || repeats || is_sound(&bytes).is_none(), "{result:?}; {replay}");
        // The header as structures (a shape of zeros takes 40 bytes for each of its own), and the message.
        assert!(peak <= (64 << 10) + 64 * bytes.len(), "{peak} bytes of memory; {replay}");
        if let Err(reason) = result {
            assert!(reason.contains("adapter_model.safetensors: "), "{reason}; {replay}");
        } else {
            accepted += 1;
        }
    }
    assert!(accepted > 0 && accepted < mutations / 4, "{accepted} of {mutations} accepted: are they mutations?");
}

#[test]
fn a_header_longer_than_any_is_refused_unread() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("adapter_model.safetensors");
    let text = format!(r#"{{"a": {{"dtype": "F32", "shape": [0{}], "data_offsets": [0, 0]}}}}"#, ",0".repeat(30 << 20));
    std::fs::write(&path, file(&text, text.len() as u64, 0)).unwrap();
    let (result, peak) = meter::peak(|| check_safetensors(&path));
    assert!(result.as_ref().is_err_and(|e| e.contains("adapter_model.safetensors: its header has")), "{result:?}");
    assert!(peak < 64 << 10, "{peak} bytes of memory");
}
