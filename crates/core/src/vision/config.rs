//! `preprocessor_config.json` (as on the Hub) and `processor_config.json` (as transformers 5 saves it) -> [`ImageProcessor`].

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

use super::ImageProcessor;

impl Default for ImageProcessor {
    /// The values of every published Qwen2-VL checkpoint.
    #[expect(clippy::excessive_precision, reason = "the digits as published")]
    fn default() -> Self {
        Self {
            min_pixels: 56 * 56,
            max_pixels: 28 * 28 * 16384,
            patch_size: 14,
            temporal_patch_size: 2,
            merge_size: 2,
            mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            std: [0.268_629_54, 0.261_302_58, 0.275_777_11],
        }
    }
}

impl ImageProcessor {
    /// Reads the settings of a model folder: the `image_processor` section of `processor_config.json` if there is one (it wins
    /// in transformers too), else `preprocessor_config.json`. The limits may be `min_pixels`/`max_pixels` at the top or within
    /// `size`, or `size.shortest_edge`/`longest_edge`, which count *pixels* here.
    ///
    /// A missing file or field means the published values ([`Self::default`]), not the defaults of transformers' class: that
    /// class would allow 1,003,520 pixels where every Qwen2-VL checkpoint was made with 12,845,056, and a folder that lost
    /// its small JSON file should behave like the model it holds.
    ///
    /// # Errors
    /// Unreadable or invalid JSON, and values that this program does not support, with file and key.
    pub fn from_dir(model_dir: &Path) -> Result<Self> {
        let nested = model_dir.join("processor_config.json");
        if let Some(mut fields) = read_object(&nested)? {
            match fields.remove("image_processor") {
                Some(Value::Object(section)) => {
                    return parse(&section).with_context(|| format!("{}: image_processor", nested.display()));
                }
                None | Some(Value::Null) if !describes_images(&fields) => {} // an old one, of the processor only
                None | Some(Value::Null) => return parse(&fields).with_context(|| nested.display().to_string()),
                Some(_) => bail!("{}: image_processor is not an object", nested.display()),
            }
        }
        let flat = model_dir.join("preprocessor_config.json");
        match read_object(&flat)? {
            Some(fields) => parse(&fields).with_context(|| flat.display().to_string()),
            None => Ok(Self::default()),
        }
    }
}

fn describes_images(fields: &Map<String, Value>) -> bool {
    ["min_pixels", "max_pixels", "size", "image_mean", "patch_size"].iter().any(|key| fields.contains_key(*key))
}

/// The JSON object in a file; `None` when there is no such file.
fn read_object(path: &Path) -> Result<Option<Map<String, Value>>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).with_context(|| format!("reading {}", path.display())),
    };
    let object = serde_json::from_slice(&text).with_context(|| format!("{}: not a JSON object", path.display()))?;
    Ok(Some(object))
}

fn parse(fields: &Map<String, Value>) -> Result<ImageProcessor> {
    const KNOWN: [&str; 3] = ["Qwen2VLImageProcessor", "Qwen2VLImageProcessorFast", "Qwen2VLImageProcessorPil"];
    if let Some(kind) = get(fields, "image_processor_type") {
        let known = kind.as_str().is_some_and(|kind| KNOWN.contains(&kind));
        ensure!(known, "image_processor_type is {kind}; only Qwen2-VL's ({}) is supported", KNOWN[0]);
    }
    for switch in ["do_resize", "do_rescale", "do_normalize", "do_convert_rgb"] {
        let value = get(fields, switch).unwrap_or(&Value::Bool(true));
        ensure!(value == &Value::Bool(true), "{switch} is {value}; only true is supported");
    }
    let resample = get(fields, "resample").and_then(Value::as_f64).unwrap_or(3.0);
    ensure!(resample == 3.0, "resample is {resample}; only 3 (bicubic) is supported");
    let rescale = get(fields, "rescale_factor").map_or(Some(1.0 / 255.0), Value::as_f64);
    ensure!(rescale.is_some_and(|r| (r * 255.0 - 1.0).abs() < 1e-9), "rescale_factor: only 1/255 is supported");

    let published = ImageProcessor::default();
    let processor = ImageProcessor {
        min_pixels: pixels(fields, "min_pixels", "shortest_edge")?.unwrap_or(published.min_pixels),
        max_pixels: pixels(fields, "max_pixels", "longest_edge")?.unwrap_or(published.max_pixels),
        mean: channels(fields, "image_mean")?.unwrap_or(published.mean),
        std: channels(fields, "image_std")?.unwrap_or(published.std),
        ..published
    };
    for (key, supported) in [
        ("patch_size", processor.patch_size),
        ("temporal_patch_size", processor.temporal_patch_size),
        ("merge_size", processor.merge_size),
    ] {
        let value = get(fields, key);
        ensure!(
            value.is_none_or(|v| v.as_u64() == Some(supported.into())),
            "{key} is {}; only {supported} (Qwen2-VL's) is supported",
            value.unwrap_or(&Value::Null),
        );
    }
    ensure!(
        processor.min_pixels <= processor.max_pixels,
        "min_pixels ({}) is larger than max_pixels ({})",
        processor.min_pixels,
        processor.max_pixels
    );
    ensure!(processor.std.iter().all(|&s| s > 0.0), "image_std must be positive");
    Ok(processor)
}

/// A field that is there and not null.
fn get<'a>(fields: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    fields.get(key).filter(|value| !value.is_null())
}

/// A pixel limit: at the top under `key`, else in `size` under `key` or under `edge`.
fn pixels(fields: &Map<String, Value>, key: &str, edge: &str) -> Result<Option<u64>> {
    let size = get(fields, "size").and_then(Value::as_object);
    let within = |key| size.and_then(|size| get(size, key));
    let Some(value) = get(fields, key).or_else(|| within(key)).or_else(|| within(edge)) else { return Ok(None) };
    let count = value.as_u64().filter(|&count| count > 0);
    Ok(Some(count.with_context(|| format!("{key} is {value}; a positive whole number of pixels is needed"))?))
}

fn channels(fields: &Map<String, Value>, key: &str) -> Result<Option<[f32; 3]>> {
    let Some(value) = get(fields, key) else { return Ok(None) };
    // Through f64, as Python floats become fp32 tensors.
    let numbers: Option<Vec<f32>> =
        value.as_array().map(|list| list.iter().filter_map(Value::as_f64).map(|v| v as f32).collect());
    let triple = numbers.and_then(|numbers| <[f32; 3]>::try_from(numbers).ok());
    Ok(Some(triple.with_context(|| format!("{key} is {value}; three numbers are needed"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_files(files: &[(&str, &str)]) -> Result<ImageProcessor> {
        let dir = tempfile::tempdir()?;
        for (name, text) in files {
            fs::write(dir.path().join(name), text)?;
        }
        ImageProcessor::from_dir(dir.path())
    }

    fn limits(files: &[(&str, &str)]) -> (u64, u64) {
        let processor = from_files(files).unwrap();
        (processor.min_pixels, processor.max_pixels)
    }

    const FLAT: &str = "preprocessor_config.json";
    const NESTED: &str = "processor_config.json";

    #[test]
    fn every_layout_of_the_limits_is_read() {
        assert_eq!(limits(&[(FLAT, r#"{"min_pixels": 3136, "max_pixels": 50176}"#)]), (3136, 50176));
        assert_eq!(limits(&[(FLAT, r#"{"size": {"min_pixels": 3136, "max_pixels": 50176}}"#)]), (3136, 50176));
        assert_eq!(limits(&[(FLAT, r#"{"size": {"shortest_edge": 3136, "longest_edge": 50176}}"#)]), (3136, 50176));
        assert_eq!(limits(&[(NESTED, r#"{"min_pixels": 3136, "max_pixels": 50176}"#)]), (3136, 50176));
        // The top wins over `size`, as in transformers.
        let both = r#"{"max_pixels": 60000, "size": {"shortest_edge": 4000, "longest_edge": 50176}}"#;
        assert_eq!(limits(&[(FLAT, both)]), (4000, 60000));
    }

    #[test]
    fn a_folder_saved_by_transformers_5_is_read() {
        let nested = r#"{"image_processor": {"data_format": "channels_first", "do_convert_rgb": true, "do_normalize": true,
            "do_rescale": true, "do_resize": true, "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_processor_type": "Qwen2VLImageProcessor", "image_std": [0.26862954, 0.26130258, 0.27577711], "merge_size": 2,
            "patch_size": 14, "resample": 3, "rescale_factor": 0.00392156862745098,
            "size": {"longest_edge": 50176, "shortest_edge": 3136}, "temporal_patch_size": 2},
            "processor_class": "Qwen2VLProcessor", "video_processor": {"size": {"longest_edge": 1, "shortest_edge": 1}}}"#;
        let expected = ImageProcessor { max_pixels: 50176, ..ImageProcessor::default() };
        assert_eq!(from_files(&[(NESTED, nested)]).unwrap(), expected);
        // It wins over an older file beside it.
        assert_eq!(from_files(&[(NESTED, nested), (FLAT, r#"{"max_pixels": 99999}"#)]).unwrap(), expected);
        // A processor_config.json that says nothing of pictures leaves the word to the other file.
        let old = r#"{"processor_class": "Qwen2VLProcessor"}"#;
        assert_eq!(limits(&[(NESTED, old), (FLAT, r#"{"max_pixels": 99999}"#)]), (3136, 99999));
    }

    #[test]
    fn what_is_missing_has_the_published_values() {
        assert_eq!(from_files(&[]).unwrap(), ImageProcessor::default());
        assert_eq!(from_files(&[(FLAT, r#"{"max_pixels": null}"#)]).unwrap(), ImageProcessor::default());
        assert_eq!(limits(&[]), (3136, 12_845_056));
    }

    #[test]
    fn other_mean_and_std_are_used() {
        let own = from_files(&[(FLAT, r#"{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 1]}"#)]).unwrap();
        assert_eq!((own.mean, own.std), ([0.5; 3], [0.25, 0.25, 1.0]));
    }

    #[test]
    fn unsupported_values_are_refused_with_file_and_key() {
        let cases = [
            (r#"{"patch_size": 16}"#, "patch_size is 16; only 14"),
            (r#"{"merge_size": "2"}"#, "merge_size is \"2\""),
            (r#"{"temporal_patch_size": 1}"#, "temporal_patch_size is 1"),
            (r#"{"do_rescale": false}"#, "do_rescale is false"),
            (r#"{"resample": 2}"#, "resample is 2"),
            (r#"{"rescale_factor": 1}"#, "rescale_factor"),
            (r#"{"max_pixels": -1}"#, "max_pixels is -1"),
            (r#"{"max_pixels": 100}"#, "min_pixels (3136) is larger than max_pixels (100)"),
            (r#"{"image_mean": [0.5]}"#, "image_mean is [0.5]"),
            (r#"{"image_std": [0, 1, 1]}"#, "image_std"),
            (r#"{"image_processor_type": "CLIPImageProcessor"}"#, "\"CLIPImageProcessor\"; only Qwen2-VL's"),
            ("[]", "not a JSON object"),
            ("{", "not a JSON object"),
        ];
        for (text, expected) in cases {
            let error = format!("{:#}", from_files(&[(FLAT, text)]).unwrap_err());
            assert!(error.contains(FLAT) && error.contains(expected), "{text}: {error}");
        }
    }
}
