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
        let processor = ImageProcessor::default();
        let patches = processor.process(&file, Some(PixelBudget::default())).unwrap();
        if processor.grid(&file, Some(PixelBudget::default())).unwrap() != patches.grid {
            wrong.push(format!("{name}: grid of the header differs from {:?}", patches.grid));
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

fn kind<T: std::fmt::Debug>(result: Result<T, ImageError>) -> &'static str {
    result.expect_err("an error").kind()
}

#[test]
fn gigantic_pictures_are_refused_from_the_header() {
    // PNG headers of 65535x2 and 12000x12000 pixels (checksums right), with an empty IDAT.
    let long =
        b"\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\xff\xff\x00\x00\x00\x02\x08\x02\
                 \x00\x00\x00\x02\x5d\x0e\xf0\x00\x00\x00\x00\x49\x44\x41\x54\x35\xaf\x06\x1e";
    let large =
        b"\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x2e\xe0\x00\x00\x2e\xe0\x08\x02\
                  \x00\x00\x00\xde\x27\x1b\xa6\x00\x00\x00\x00\x49\x44\x41\x54\x35\xaf\x06\x1e";
    let mut gif = read("preprocess/formats/gif_P.gif");
    gif[6..10].fill(0xff); // logical screen 65535x65535
    let mut jpeg = read("preprocess/formats/jpeg_420.jpg");
    let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff, 0x00, 0xff, 0x00]); // 65280x65280
    let pnm = b"P6 65535 2 255\n".to_vec();
    for file in [long.as_slice(), large, &gif, &jpeg, &pnm] {
        assert_eq!(kind(inspect(file)), "image_too_large");
        assert_eq!(kind(check(file)), "image_too_large");
        assert_eq!(kind(decode_rgb(file, None)), "image_too_large");
        assert_eq!(kind(ImageProcessor::default().grid(file, None)), "image_too_large");
        assert_eq!(kind(ImageProcessor::default().process(file, Some(PixelBudget::default()))), "image_too_large");
    }
}

#[test]
fn enlarging_beyond_the_limit_is_refused() {
    let file = read("images/tiny28.png");
    let budget = PixelBudget { min: 200_000_000, max: 300_000_000 };
    assert_eq!(kind(ImageProcessor::default().grid(&file, Some(budget))), "image_too_large");
}

#[test]
fn truncated_pictures_are_errors() {
    let files = cases("preprocess/formats.json");
    for name in files.iter().map(|case| case["file"].as_str().unwrap()) {
        let file = read(&format!("preprocess/formats/{name}"));
        let half = &file[..file.len() / 2];
        let kind = kind(check(half));
        let named = ["image_truncated", "image_broken"].contains(&kind);
        assert!(named, "{name}: {kind}");
        if name.starts_with("jpeg") || name.starts_with("png") {
            assert_eq!(kind, "image_truncated", "{name}");
        }
    }
}

#[test]
fn jpeg_cut_anywhere_is_truncated() {
    for name in ["jpeg_420.jpg", "jpeg_420_prog.jpg", "jpeg_CMYK.jpg", "jpeg_restart.jpg"] {
        let file = read(&format!("preprocess/formats/{name}"));
        for end in (3..file.len() - 2).step_by(7) {
            assert_eq!(kind(check(&file[..end])), "image_truncated", "{name} cut at {end} of {}", file.len());
        }
    }
}

#[test]
fn jpeg_passes_the_check_exactly_if_it_can_be_decoded() {
    let names = ["jpeg_420.jpg", "jpeg_420_prog.jpg", "jpeg_CMYK.jpg", "jpeg_restart.jpg", "jpeg_q60.jpg"];
    let mut refused = 0;
    for name in names {
        let file = read(&format!("preprocess/formats/{name}"));
        for at in (2..file.len()).step_by(3) {
            let mut changed = file.clone();
            changed[at] ^= 1 << (at % 8);
            let (checked, decoded) = (check(&changed), decode_rgb(&changed, None));
            refused += usize::from(checked.is_err());
            let (checked, decoded) = (checked.map(drop).map_err(|e| e.kind()), decoded.map(drop).map_err(|e| e.kind()));
            assert_eq!(checked, decoded, "{name}, byte {at}");
        }
    }
    assert!(refused > 100, "{refused} of them are damaged");
}

#[test]
fn jpeg_is_blank_if_all_its_pixels_are_the_same_and_not_if_only_the_means_of_its_blocks_are() {
    let jpeg = |value: fn(u32, u32) -> u8| {
        let image = image::RgbImage::from_fn(40, 24, |x, y| image::Rgb([value(x, y); 3]));
        let mut file = std::io::Cursor::new(Vec::new());
        image.write_to(&mut file, image::ImageFormat::Jpeg).unwrap();
        file.into_inner()
    };
    let is_blank = |file: &[u8]| check_content(file).unwrap().blank;
    assert!(is_blank(&jpeg(|_, _| 90)));
    assert!(!is_blank(&jpeg(|x, y| if (x / 4 + y / 4) % 2 == 0 { 60 } else { 200 })));
    assert!(!is_blank(&jpeg(|x, _| x as u8 * 5)));
}

#[test]
fn jpeg_with_lost_data_is_broken_and_with_stray_bytes_is_not() {
    let file = read("preprocess/formats/jpeg_q60.jpg");
    let scan = file.windows(2).position(|marker| marker == [0xff, 0xda]).unwrap();
    let mut lost = file.clone();
    lost.drain(scan + 60..file.len() - 60); // the markers are whole, the middle of the scan is missing
    assert_eq!(kind(check(&lost)), "image_broken");

    let mut stray = file.clone();
    stray.splice(scan..scan, [0x00, 0x17]); // "extraneous bytes before marker": nothing of the picture is missing
    assert_eq!(decode_rgb(&stray, None), decode_rgb(&file, None));
}

#[test]
fn what_is_not_a_picture_is_named() {
    let error = |file: &[u8]| inspect(file).unwrap_err().to_string();
    insta::assert_snapshot!(error(b""), @"empty file; fetch it again or leave the sample out");
    insta::assert_snapshot!(
        error(b"<html><body>404"),
        @"no known picture format (first bytes [3c, 68, 74, 6d, 6c, 3e, 3c, 62]); convert the picture to PNG or JPEG"
    );
    insta::assert_snapshot!(
        error(b"version https://git-lfs.github.com/spec/v1\n"),
        @"a Git LFS pointer instead of the picture; run `git lfs pull` where it came from"
    );
    assert_eq!(kind(inspect(b"P5 4 4 100\n0123456789abcdef")), "image_format");
}

#[test]
fn long_strips_are_refused_by_the_plain_processor_and_reshaped_by_llamafactory() {
    let strip = png(201, 1, image::ExtendedColorType::Rgb8, 3, 0);
    let processor = ImageProcessor::default();
    assert_eq!(kind(processor.grid(&strip, None)), "image_ratio");
    assert_eq!(kind(processor.process(&strip, None)), "image_ratio");
    // 201x1 = 201 pixels -> 453x2 at least 1024 pixels -> 453x28 least side -> 448x28
    assert_eq!(processor.grid(&strip, Some(PixelBudget::default())).unwrap(), [1, 2, 32]);
    let nothing_left = PixelBudget { min: 1, max: 100 };
    assert_eq!(kind(processor.grid(&strip, Some(nothing_left))), "image_ratio");
}

/// A PNG of noise.
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
