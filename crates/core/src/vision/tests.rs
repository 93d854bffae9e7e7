//! Golden tests against Pillow 11.3 and transformers 5.17 (made by tests/golden/scripts/preprocess.py), the agreement of
//! `grid` with `process`, limits, and damaged files.

use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::raster::Pixels;
use super::*;

fn golden(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden")).join(path)
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(golden(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn cases(path: &str) -> Vec<Value> {
    let file: Value = serde_json::from_slice(&read(path)).unwrap();
    let cases = file["cases"].as_array().unwrap().clone();
    assert!(cases.len() > 50, "{path} has only {} cases", cases.len());
    cases
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn size_of(value: &Value) -> Size {
    Size { width: value[0].as_u64().unwrap() as u32, height: value[1].as_u64().unwrap() as u32 }
}

fn budget_of(value: &Value) -> Option<PixelBudget> {
    Some(PixelBudget { min: value.get(0)?.as_u64()?, max: value.get(1)?.as_u64()? })
}

/// SHA-256 in counter mode, as in the script.
fn noise(seed: &str, len: usize) -> Vec<u8> {
    (0..len.div_ceil(32)).flat_map(|i| Sha256::digest(format!("{seed}:{i}"))).take(len).collect()
}

#[test]
fn pixel_values_equal_the_reference_on_real_pictures() {
    let mut wrong = vec![];
    for case in cases("preprocess/pictures.json") {
        let processor = ImageProcessor {
            min_pixels: case["limits"][0].as_u64().unwrap(),
            max_pixels: case["limits"][1].as_u64().unwrap(),
            ..ImageProcessor::default()
        };
        let file = read(case["file"].as_str().unwrap());
        let patches = processor.process(&file, budget_of(&case["budget"])).unwrap();
        let bytes: Vec<u8> = patches.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let rows_equal = case["rows"].as_object().unwrap().iter().all(|(row, expected)| {
            let row = &patches.values[row.parse::<usize>().unwrap() * 1176..][..1176];
            let every_97th = row.iter().step_by(97).map(|&v| f64::from(v));
            every_97th.eq(expected.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()))
        });
        let grid_equal = serde_json::json!(patches.grid) == case["grid"];
        if !(grid_equal && rows_equal && sha256(&bytes) == case["sha256"].as_str().unwrap()) {
            wrong.push(format!("{} budget {} limits {}", case["file"], case["budget"], case["limits"]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_format_and_mode_gives_pillows_pixels() {
    let mut wrong = vec![];
    for case in cases("preprocess/formats.json") {
        let name = case["file"].as_str().unwrap();
        let file = read(&format!("preprocess/formats/{name}"));
        let info = match check(&file) {
            Ok(info) => info,
            Err(e) => {
                wrong.push(format!("{name}: {e}"));
                continue;
            }
        };
        if info.mode.name() != case["mode"].as_str().unwrap() || info.size() != size_of(&case["size"]) {
            wrong.push(format!("{name}: {info:?}, expected {} {}", case["mode"], case["size"]));
        }
        if sha256(&decode_rgb(&file, None).unwrap().data) != case["rgb"].as_str().unwrap() {
            wrong.push(format!("{name}: pixels differ"));
        }
        for row in case["budgets"].as_array().unwrap() {
            let image = decode_rgb(&file, budget_of(&row["budget"])).unwrap();
            let size = Size { width: image.width, height: image.height };
            if size != size_of(&row["size"]) || sha256(&image.data) != row["rgb"].as_str().unwrap() {
                wrong.push(format!("{name}: budget {} differs", row["budget"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn resizing_noise_equals_pillow_and_torch_in_every_mode() {
    let palette = noise("palette", 768);
    let mut wrong = vec![];
    for case in cases("preprocess/resizes.json") {
        let (from, to) = (size_of(&case["from"]), size_of(&case["to"]));
        let (seed, area, shift) = (case["seed"].to_string(), from.pixels() as usize, case["shift"].as_u64().unwrap());
        let wide = || {
            let bytes = noise(&seed, area * 2);
            Pixels::Wide(bytes.chunks(2).map(|b| i32::from(u16::from_le_bytes([b[0], b[1]]) >> shift)).collect())
        };
        let raster = |mode, pixels| Raster { size: from, mode, pixels }.resize(to).into_rgb().data;
        let got = match case["mode"].as_str().unwrap() {
            "torch" => {
                let image = Rgb8 { width: from.width, height: from.height, data: noise(&seed, area * 3) };
                image.resize(to, Weights::Torch).data
            }
            "1" => raster(Mode::Bilevel, Pixels::Grey(noise(&seed, area).iter().map(|b| 255 * (b & 1)).collect())),
            "P" => {
                let colour = |&i: &u8| palette[usize::from(i) * 3..][..3].to_vec();
                raster(Mode::Palette, Pixels::Rgb(noise(&seed, area).iter().flat_map(colour).collect()))
            }
            "L" => raster(Mode::Grey, Pixels::Grey(noise(&seed, area))),
            "LA" => raster(Mode::GreyAlpha, Pixels::GreyAlpha(noise(&seed, area * 2))),
            "RGB" => raster(Mode::Rgb, Pixels::Rgb(noise(&seed, area * 3))),
            "RGBA" => raster(Mode::Rgba, Pixels::Rgba(noise(&seed, area * 4))),
            "CMYK" => raster(Mode::Cmyk, Pixels::Cmyk(noise(&seed, area * 4))),
            "I;16" => raster(Mode::Grey16, wide()),
            "I" => raster(Mode::Grey32, wide()),
            other => panic!("unknown mode {other}"),
        };
        if sha256(&got) != case["sha256"].as_str().unwrap() {
            wrong.push(format!("{} {} -> {} (seed {seed})", case["mode"], case["from"], case["to"]));
        }
    }
    assert!(wrong.is_empty(), "{} cases: {wrong:#?}", wrong.len());
}

#[test]
fn smart_resize_equals_transformers_table() {
    let table: Value = serde_json::from_slice(&read("preprocess/smart_resize.json")).unwrap();
    let rows = table["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2155);
    for row in rows {
        let n: Vec<Option<u64>> = row.as_array().unwrap().iter().map(Value::as_u64).collect();
        let number = |i: usize| n[i].unwrap();
        let size = Size { width: number(1) as u32, height: number(0) as u32 };
        let got = smart_resize(size, number(2) as u32, number(3), number(4)).ok();
        let got = got.map(|size| (u64::from(size.height), u64::from(size.width)));
        assert_eq!(got, n[5].zip(n[6]), "{row}");
    }
}

#[test]
fn white_picture_is_four_tokens_of_white() {
    let patches = ImageProcessor::default().white();
    assert_eq!(patches.grid, [1, 4, 4]);
    assert_eq!(patches.values.len(), 16 * 1176);
    let image = Rgb8 { width: 56, height: 56, data: vec![255; 56 * 56 * 3] };
    assert_eq!(patches.values, patchify::patchify(&ImageProcessor::default(), &image).values);
}

/// A PNG of noise without compression worth the name.
fn png(width: u32, height: u32, color: image::ExtendedColorType, bytes_per_pixel: usize, seed: u64) -> Vec<u8> {
    use image::ImageEncoder;
    let samples = noise(&seed.to_string(), (width * height) as usize * bytes_per_pixel);
    let mut file = vec![];
    image::codecs::png::PngEncoder::new(&mut file).write_image(&samples, width, height, color).unwrap();
    file
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn grid_from_the_header_agrees_with_the_pixels(
        width in 1u32..400, height in 1u32..400, kind in 0usize..6, seed: u64,
        least in 1u64..60_000, span in 0u64..400_000, plain: bool,
    ) {
        use image::ExtendedColorType as C;
        let (color, bytes) = [(C::L8, 1), (C::La8, 2), (C::Rgb8, 3), (C::Rgba8, 4), (C::L16, 2), (C::Rgb16, 6)][kind];
        let file = png(width, height, color, bytes, seed);
        let budget = (!plain).then_some(PixelBudget { min: least, max: least + span });
        let processor = ImageProcessor { max_pixels: 400_000, ..ImageProcessor::default() };
        match (processor.grid(&file, budget), processor.process(&file, budget)) {
            (Ok(grid), Ok(patches)) => {
                prop_assert_eq!(grid, patches.grid);
                prop_assert_eq!(patches.values.len() as i64, grid[0] * grid[1] * grid[2] * 1176);
            }
            (Err(of_grid), Err(of_pixels)) => prop_assert_eq!(of_grid, of_pixels),
            (grid, patches) => prop_assert!(false, "{:?} but {:?}", grid, patches.map(|p| p.grid)),
        }
    }

    #[test]
    fn damaged_files_give_an_error_or_a_picture_but_never_a_panic(which in 0usize..81, at: u64, value: u8, cut: bool) {
        let all = cases("preprocess/formats.json");
        let mut file = read(&format!("preprocess/formats/{}", all[which % all.len()]["file"].as_str().unwrap()));
        let at = (at % file.len() as u64) as usize;
        if cut { file.truncate(at) } else { file[at] = value }
        if let (Ok(grid), Ok(patches)) = (
            ImageProcessor::default().grid(&file, Some(PixelBudget::default())),
            ImageProcessor::default().process(&file, Some(PixelBudget::default())),
        ) {
            prop_assert_eq!(grid, patches.grid);
        }
    }
}
