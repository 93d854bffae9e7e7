//! NIfTI volumes lie as radiologists look at them, whatever way they are stored; 16-bit pictures keep their contrast.

use super::Bench;
use super::files::{Nii, gzip};
use lightbox_core::medical::{Axis, SliceOptions};
use serde_json::json;

/// A volume of 3 x 4 x 5 voxels (R, A, S) stored with its axes in another order and direction. A voxel's value says where it
/// lies in the patient: 100 r + 10 a + s.
fn stored(order: [usize; 3], against: [bool; 3], big_endian: bool) -> Vec<u8> {
    let patient = [3u16, 4, 5];
    let mut dim = [1; 4];
    let mut affine = [[0.0; 4]; 3];
    for voxel in 0..3 {
        let r = order[voxel];
        dim[voxel] = patient[r];
        affine[r][voxel] = if against[voxel] { -2.0 } else { 2.0 };
        // Voxel 0 of the patient's axis r lies at 10 (r + 1) mm.
        affine[r][3] = 10.0 * (r as f32 + 1.0) + if against[voxel] { 2.0 * f32::from(patient[r] - 1) } else { 0.0 };
    }
    let nii = Nii { dim, affine, slope: (0.0, 0.0), big_endian };
    nii.bytes(|at| {
        let mut p = [0; 3];
        for voxel in 0..3 {
            let r = order[voxel];
            p[r] = if against[voxel] { usize::from(patient[r]) - 1 - at[voxel] } else { at[voxel] };
        }
        (100 * p[0] + 10 * p[1] + p[2]) as i16
    })
}

/// A window in which grey is the value.
const AS_IT_IS: &str = "128,256";

#[test]
fn every_way_of_storing_gives_the_same_radiological_picture() {
    let bench = Bench::new();
    for axis in [Axis::Axial, Axis::Coronal, Axis::Sagittal] {
        // The patient's right (r = 2) is on the left, anterior (a = 3) or the head (s = 4) on top; of sagittal slices
        // anterior is on the left. Slices are counted towards left, back and head, and so is the position.
        let value = |r: i32, a: i32, s: i32| (100 * r + 10 * a + s).min(255) as u8;
        let (expected, position): (Vec<u8>, f64) = match axis {
            Axis::Coronal => ((0..5).rev().flat_map(|s| (0..3).rev().map(move |r| value(r, 2, s))).collect(), -24.0),
            Axis::Sagittal => ((0..5).rev().flat_map(|s| (0..4).rev().map(move |a| value(1, a, s))).collect(), -12.0),
            _ => ((0..4).rev().flat_map(|a| (0..3).rev().map(move |r| value(r, a, 1))).collect(), 32.0),
        };
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        for (order, flips) in orders.into_iter().flat_map(|order| (0..8).map(move |flips| (order, flips))) {
            let against = [flips & 1 != 0, flips & 2 != 0, flips & 4 != 0];
            std::fs::write(bench.source("v.nii"), stored(order, against, flips % 3 == 0)).unwrap();
            let window = AS_IT_IS.parse().unwrap();
            let report = bench.run(&SliceOptions { axis, window, overwrite: true, ..bench.options() });
            assert!(report.bad.is_empty(), "{:?}", report.bad);
            let rows = bench.rows();
            assert_eq!(bench.grey(&rows[1]), expected, "{axis:?} {order:?} {against:?}");
            let mm = |n: usize| rows[n]["position_mm"].as_f64().unwrap();
            assert_eq!((mm(0), mm(1)), (position - 2.0, position), "{axis:?} {order:?} {against:?}");
            assert_eq!(rows[1]["display"], "radiological");
        }
    }
}

#[test]
fn a_voxel_axis_is_cut_as_the_plane_it_is_nearest_to() {
    let bench = Bench::new();
    std::fs::write(bench.source("v.nii"), stored([2, 0, 1], [false; 3], false)).unwrap();
    let planes = [0, 1, 2].map(|axis| {
        bench.run(&SliceOptions { axis: Axis::Voxel(axis), overwrite: true, ..bench.options() }).series[0]
            .plane
            .unwrap()
    });
    assert_eq!(planes, ["axial", "sagittal", "coronal"]);
}

#[test]
fn compressed_scaled_and_four_dimensional_volumes() {
    let bench = Bench::new();
    let identity = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]];
    let nii = Nii { dim: [4, 4, 2, 3], affine: identity, slope: (2.0, -10.0), big_endian: false };
    std::fs::write(bench.source("no-extension"), gzip(&nii.bytes(|[.., k, t]| (20 + 10 * t + k) as i16))).unwrap();
    let window = || AS_IT_IS.parse().unwrap();
    bench.run(&SliceOptions { window: window(), ..bench.options() });
    let of = |rows: &[serde_json::Value]| rows.iter().map(|row| bench.grey(row)[0]).collect::<Vec<_>>();
    assert_eq!(of(&bench.rows()), [30, 32, 50, 52, 70, 72], "slope and intercept, frame by frame");
    bench.run(&SliceOptions { window: window(), frames: 2..3, range: 1..2, overwrite: true, ..bench.options() });
    let rows = bench.rows();
    assert_eq!(of(&rows), [72]);
    assert_eq!((&rows[0]["frame"], &rows[0]["slice"], &rows[0]["slices"]), (&json!(2), &json!(1), &json!(2)));
}

#[test]
fn a_header_and_its_voxels_apart() {
    let bench = Bench::new();
    let mut header = stored([0, 1, 2], [false; 3], false);
    let voxels = header.split_off(352);
    header.truncate(348);
    header[344..348].copy_from_slice(b"ni1\0");
    header[108..112].copy_from_slice(&0f32.to_le_bytes());
    std::fs::write(bench.source("v.hdr"), header).unwrap();
    let report = bench.run(&bench.options());
    assert!(report.bad[0].reason.contains("v.img"), "{:?}", report.bad);
    std::fs::write(bench.source("v.img"), voxels).unwrap();
    let report = bench.run(&SliceOptions { overwrite: true, ..bench.options() });
    assert_eq!(
        (report.pictures, report.bad.len(), report.passed_over),
        (5, 0, 1),
        "the voxels are no source of their own"
    );
}

#[test]
fn pixels_become_square_and_pictures_no_larger_than_asked() {
    let bench = Bench::new();
    let affine = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0]];
    let nii = Nii { dim: [40, 30, 10, 1], affine, slope: (1.0, 0.0), big_endian: false };
    std::fs::write(bench.source("v.nii"), nii.bytes(|[i, ..]| i as i16)).unwrap();
    let report = bench.run(&SliceOptions { axis: Axis::Coronal, ..bench.options() });
    assert_eq!(report.notes["made_square"], 30);
    let row = &bench.rows()[0];
    assert_eq!(
        [&row["width"], &row["height"], &row["pixel_mm"], &row["resampled"]],
        [&json!(40), &json!(30), &json!(1.0), &json!(true)]
    );
    bench.run(&SliceOptions { size: Some(20), overwrite: true, ..bench.options() });
    let row = &bench.rows()[0];
    assert_eq!(
        [&row["width"], &row["height"], &row["pixel_mm"], &row["resampled"]],
        [&json!(20), &json!(15), &json!(2.0), &json!(false)]
    );
}

#[test]
fn sixteen_bit_pictures_keep_their_contrast() {
    let bench = Bench::new();
    let values: Vec<u16> = (0..10_000u32).map(|v| (v * 6) as u16).collect();
    let png = image::ImageBuffer::<image::Luma<u16>, _>::from_raw(100, 100, values.clone()).unwrap();
    png.save(bench.source("a.png")).unwrap();
    let mut tiff = tiff::encoder::TiffEncoder::new(std::fs::File::create(bench.source("b.tif")).unwrap()).unwrap();
    for page in 0..2 {
        let signed: Vec<i16> = values.iter().map(|v| (v / 2) as i16 - page * 30_000).collect();
        tiff.write_image::<tiff::encoder::colortype::GrayI16>(100, 100, &signed).unwrap();
    }
    drop(tiff);
    image::GrayImage::new(4, 4).save(bench.source("c.png")).unwrap();
    let report = bench.run(&bench.options());
    assert_eq!((report.pictures, report.bad.len(), report.passed_over), (3, 0, 1), "8 bits need no window: {report:?}");
    let rows = bench.rows();
    assert_eq!(rows[0]["window"]["from"], "percentiles 1-99 of the picture");
    let grey = bench.grey(&rows[0]);
    let levels: std::collections::HashSet<u8> = grey.iter().copied().collect();
    assert_eq!(levels.len(), 256, "Pillow would make all of it white");
    assert!(grey.windows(2).all(|w| w[0] <= w[1]));
    assert_eq!(rows.iter().map(|r| r["frame"].clone()).collect::<Vec<_>>(), [json!(null), json!(0), json!(1)]);
}
