//! `data slices`: what scanners write becomes the right picture, in the right order, without the patient.

mod files;
mod hostile;
mod volumes;

use dicom_core::VR;
use dicom_dictionary_std::tags;
use files::{Dcm, RLE, SECRETS, rle};
use lightbox_core::data::{Dataset, DatasetOptions, Mix, Questions, check};
use lightbox_core::medical::{SliceError, SliceOptions, SliceReport, slices};
use serde_json::Value;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// A folder with sources in `in/`, pictures in `out/`.
pub struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(bench.path("in")).unwrap();
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn source(&self, name: &str) -> PathBuf {
        self.path("in").join(name)
    }

    pub fn options(&self) -> SliceOptions {
        SliceOptions {
            sources: vec![self.path("in")],
            out: Some(self.path("out")),
            range: 0..usize::MAX,
            frames: 0..usize::MAX,
            name: "scans".into(),
            ..SliceOptions::default()
        }
    }

    pub fn run(&self, o: &SliceOptions) -> SliceReport {
        slices(o, &mut |_| ControlFlow::Continue(())).unwrap()
    }

    pub fn rows(&self) -> Vec<Value> {
        let table = std::fs::read_to_string(self.path("out/slices.jsonl")).unwrap();
        table.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Grey values of the picture of a row.
    pub fn grey(&self, row: &Value) -> Vec<u8> {
        let image = image::open(self.path("out").join(row["image"].as_str().unwrap())).unwrap();
        assert_eq!(image.color(), image::ColorType::L8);
        image.into_luma8().into_raw()
    }
}

/// All that a folder holds, names included.
fn everything(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        all.extend(path.to_string_lossy().bytes());
        all.extend(if path.is_dir() { everything(&path) } else { std::fs::read(&path).unwrap() });
    }
    all
}

fn holds(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|w| w.eq_ignore_ascii_case(needle.as_bytes()))
}

#[test]
fn hounsfield_units_go_through_the_files_window_or_the_one_asked_for() {
    let bench = Bench::new();
    // Stored 24 + slope 2, intercept -1048 -> -1000 HU and so on.
    let dcm = Dcm::ct(4, 1, &[24, 524, 544, 564])
        .text(tags::RESCALE_SLOPE, VR::DS, "2")
        .text(tags::RESCALE_INTERCEPT, VR::DS, "-1048")
        .text(tags::WINDOW_CENTER, VR::DS, "-500\\40")
        .text(tags::WINDOW_WIDTH, VR::DS, "1000\\80");
    dcm.clone().write(&bench.source("without-extension"));
    let report = bench.run(&bench.options());
    assert!(report.bad.is_empty() && report.notes.is_empty(), "{report:?}");
    // -1000, 0, 40, 80 HU in centre -500, width 1000: -1000..=-1 is the whole range.
    assert_eq!(bench.grey(&bench.rows()[0]), [0, 255, 255, 255]);
    assert_eq!(bench.rows()[0]["window"], serde_json::json!({"from": "file", "center": -500.0, "width": 1000.0}));

    let brain = SliceOptions { window: "brain".parse().unwrap(), overwrite: true, ..bench.options() };
    bench.run(&brain);
    // (40 - 39.5) / 79 + 0.5 = 0.50633 -> 129; 80 is above 79.
    assert_eq!(bench.grey(&bench.rows()[0]), [0, 0, 129, 255]);
    assert_eq!(bench.rows()[0]["window"]["from"], "brain");

    dcm.text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME1").write(&bench.source("without-extension"));
    bench.run(&brain);
    assert_eq!(bench.grey(&bench.rows()[0]), [255, 255, 126, 0], "MONOCHROME1 is the other way round");
}

#[test]
fn without_a_window_percentiles_of_the_series_are_taken_and_said() {
    let bench = Bench::new();
    for i in 0..3i16 {
        let values: Vec<i16> = (0..1000).map(|v| v + i).collect();
        Dcm::ct(100, 10, &values).at(&i.to_string(), i.into()).write(&bench.source(&i.to_string()));
    }
    let report = bench.run(&bench.options());
    assert_eq!(report.notes["window_from_percentiles"], 3);
    let rows = bench.rows();
    assert_eq!(rows[0]["window"]["from"], "percentiles 1-99 of 3 of 3 slices");
    assert!(rows.iter().all(|row| row["window"] == rows[0]["window"]), "one window for all slices");
    let grey = bench.grey(&rows[0]);
    assert_eq!((grey[5], grey[994]), (0, 255));
    assert!((127..=129).contains(&grey[501]), "{}", grey[501]);
}

#[test]
fn slices_are_ordered_along_the_normal_and_without_positions_by_number() {
    let bench = Bench::new();
    for (i, (instance, mm)) in [("3", 5.0), ("1", -20.0), ("2", 0.0), ("4", -10.0)].into_iter().enumerate() {
        Dcm::ct(1, 1, &[mm as i16]).at(instance, mm).write(&bench.source(&format!("{i}.dcm")));
    }
    let o = SliceOptions { window: "0,256".parse().unwrap(), ..bench.options() };
    bench.run(&o);
    let column = |name: &str| bench.rows().iter().map(|row| row[name].clone()).collect::<Vec<_>>();
    assert_eq!(column("position_mm"), [-20.0, -10.0, 0.0, 5.0]);
    assert_eq!(column("slice"), [0, 1, 2, 3]);
    assert!(column("plane").iter().all(|p| p == "axial") && column("series").windows(2).all(|w| w[0] == w[1]));

    for (i, instance) in ["10", "9", "2", "1"].into_iter().enumerate() {
        Dcm::ct(1, 1, &[instance.parse().unwrap()])
            .at(instance, 0.0)
            .without(tags::IMAGE_POSITION_PATIENT)
            .write(&bench.source(&format!("{i}.dcm")));
    }
    bench.run(&SliceOptions { overwrite: true, ..o });
    let shades: Vec<u8> = bench.rows().iter().map(|row| bench.grey(row)[0]).collect();
    assert!(shades.windows(2).all(|w| w[0] < w[1]), "1, 2, 9, 10: {shades:?}");
}

#[test]
fn directions_are_kept_apart_and_copies_counted() {
    let bench = Bench::new();
    Dcm::ct(2, 1, &[0, 1]).at("1", 0.0).write(&bench.source("axial"));
    Dcm::ct(2, 1, &[0, 1]).at("1", 0.0).write(&bench.source("axial again"));
    Dcm::ct(2, 1, &[0, 1])
        .at("2", 0.0)
        .text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "0\\1\\0\\0\\0\\-1")
        .write(&bench.source("sagittal"));
    let report = bench.run(&bench.options());
    assert_eq!((report.duplicates, report.series.len()), (1, 2));
    let planes: Vec<_> = report.series.iter().map(|s| s.plane.unwrap()).collect();
    assert_eq!(planes, ["axial", "sagittal"]);
    assert_eq!(report.series[1].name, format!("{}-2", report.series[0].name));
}

#[test]
fn frames_and_enhanced_objects_are_cut_into_pictures() {
    let bench = Bench::new();
    let frame = |mm: &str, window: &str| {
        let position = Dcm::empty().text(tags::IMAGE_POSITION_PATIENT, VR::DS, &format!("0\\0\\{mm}"));
        let voi = Dcm::empty().text(tags::WINDOW_CENTER, VR::DS, window).text(tags::WINDOW_WIDTH, VR::DS, "1");
        Dcm::empty().item(tags::PLANE_POSITION_SEQUENCE, vec![position]).item(tags::FRAME_VOILUT_SEQUENCE, vec![voi])
    };
    let direction = Dcm::empty().text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\1\\0");
    let shared = Dcm::empty().item(tags::PLANE_ORIENTATION_SEQUENCE, vec![direction]);
    Dcm::ct(2, 1, &[10, 20, 10, 20, 10, 20])
        .text(tags::NUMBER_OF_FRAMES, VR::IS, "3")
        .item(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared])
        .item(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, vec![frame("4", "5"), frame("2", "15"), frame("3", "25")])
        .write(&bench.source("enhanced"));
    bench.run(&bench.options());
    let rows = bench.rows();
    let places: Vec<_> =
        rows.iter().map(|r| (r["frame"].as_u64().unwrap(), r["position_mm"].as_f64().unwrap())).collect();
    assert_eq!(places, [(1, 2.0), (2, 3.0), (0, 4.0)]);
    let greys: Vec<_> = rows.iter().map(|row| bench.grey(row)).collect();
    assert_eq!(greys, [[0, 255], [0, 0], [255, 255]], "each frame has its own window");
    bench.run(&SliceOptions { frames: 1..2, overwrite: true, ..bench.options() });
    assert_eq!(bench.rows().len(), 1);
}

#[test]
fn compressed_and_packed_samples_are_what_they_were() {
    let bench = Bench::new();
    let values: Vec<i16> = (0..300).map(|v| v * 7 - 1000).collect();
    let bytes = |shift: u16| values.iter().map(|v| ((*v as u16) >> shift) as u8).collect::<Vec<_>>();
    let plain = Dcm::ct(30, 10, &values);
    plain.clone().write(&bench.source("a"));
    let o = SliceOptions { window: "0,2000".parse().unwrap(), overwrite: true, ..bench.options() };
    bench.run(&o);
    let expected = bench.grey(&bench.rows()[0]);
    let two = plain.clone().text(tags::NUMBER_OF_FRAMES, VR::IS, "2");
    let frame = rle(&[bytes(8), bytes(0)]);
    // One fragment a frame; and two fragments a frame, told by the offset table.
    let (half, rest) = frame.split_at(200);
    let offsets = vec![0, 16 + frame.len() as u32];
    let parts = vec![half.to_vec(), rest.to_vec(), half.to_vec(), rest.to_vec()];
    for dcm in [
        plain.fragments(RLE, vec![], vec![frame.clone()]),
        two.clone().fragments(RLE, vec![], vec![frame.clone(), frame.clone()]),
        two.fragments(RLE, offsets, parts),
    ] {
        dcm.write(&bench.source("a"));
        let report = bench.run(&o);
        assert!(report.bad.is_empty(), "{:?}", report.bad);
        assert!(bench.rows().iter().all(|row| bench.grey(row) == expected));
    }
    let refused = Dcm::ct(2, 1, &[0, 1]).fragments("1.2.840.10008.1.2.4.80", vec![], vec![vec![0xff, 0xd8]]);
    refused.write(&bench.source("a"));
    let report = bench.run(&o);
    assert!(report.bad[0].kind == "dicom_unsupported" && report.bad[0].reason.contains("JPEG-LS"), "{:?}", report.bad);
}

#[test]
fn colours_stay_colours() {
    let bench = Bench::new();
    let dcm = |photometric: &str| {
        Dcm::ct(2, 1, &[])
            .text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, photometric)
            .number(tags::SAMPLES_PER_PIXEL, 3)
            .number(tags::BITS_ALLOCATED, 8)
            .number(tags::BITS_STORED, 8)
            .number(tags::HIGH_BIT, 7)
            .number(tags::PIXEL_REPRESENTATION, 0)
    };
    dcm("RGB").number(tags::PLANAR_CONFIGURATION, 1).pixels(&[1, 2, 3, 4, 5, 6]).write(&bench.source("planar"));
    dcm("YBR_FULL")
        .text(tags::SERIES_INSTANCE_UID, VR::UI, "1.3")
        .pixels(&[128, 128, 128, 76, 85, 255])
        .write(&bench.source("ybr"));
    bench.run(&bench.options());
    let rgb = |row: &Value| {
        image::open(bench.path("out").join(row["image"].as_str().unwrap())).unwrap().into_rgb8().into_raw()
    };
    let rows = bench.rows();
    assert_eq!(rgb(&rows[0]), [1, 3, 5, 2, 4, 6]);
    assert_eq!(rgb(&rows[1]), [128, 128, 128, 254, 0, 0], "grey, and red");
    assert_eq!(rows[0]["window"]["from"], "colour");
}

#[test]
fn nothing_of_the_patient_comes_out_unless_its_field_is_named() {
    let bench = Bench::new();
    for i in 0..3 {
        Dcm::ct(8, 8, &[i; 64]).at(&i.to_string(), i.into()).write(&bench.source(&format!("Mustermann-{i}.dcm")));
    }
    let mut cut = Dcm::ct(8, 8, &[1; 64]).at("9", 9.0).bytes();
    cut.truncate(cut.len() - 30);
    std::fs::write(bench.source("cut"), cut).unwrap();
    let o = SliceOptions {
        questions: Some(Questions::InTurn(vec!["Which plane of {body_part}?".into()])),
        answer: Some("{plane}".into()),
        sheet: true,
        ..bench.options()
    };
    let report = bench.run(&o);
    assert_eq!((report.pictures, report.bad.len()), (3, 1));
    let mut all = everything(&bench.path("out"));
    all.extend(serde_json::to_vec(&report.series).unwrap());
    all.extend(report.bad[0].reason.bytes());
    for secret in SECRETS {
        assert!(!holds(&all, secret), "{secret} came out");
    }
    assert!(holds(&all, "HEAD"), "the scan of the output sees what is there");

    let keep = SliceOptions { keep: vec!["PatientID".into(), "PatientAge".into()], overwrite: true, ..o };
    bench.run(&keep);
    let all = everything(&bench.path("out"));
    assert!(holds(&all, "PID-4711") && bench.rows()[0]["kept"]["PatientAge"] == "059Y");
    assert!(SECRETS.iter().filter(|s| **s != "PID-4711").all(|secret| !holds(&all, secret)));
    let wrong = SliceOptions { keep: vec!["PatientsAge".into()], ..keep };
    assert!(slices(&wrong, &mut |_| ControlFlow::Continue(())).is_err());
}

#[test]
fn burned_in_writing_is_a_warning() {
    let bench = Bench::new();
    Dcm::ct(1, 1, &[0]).text(tags::BURNED_IN_ANNOTATION, VR::CS, "YES").write(&bench.source("a"));
    assert_eq!(bench.run(&bench.options()).notes["burned_in_annotation"], 1);
    assert_eq!(bench.rows()[0]["burned_in"], true);
}

#[test]
fn the_data_set_opens_and_is_sound() {
    let bench = Bench::new();
    Dcm::ct(8, 8, &[1; 64]).at("1", 1.0).write(&bench.source("a"));
    Dcm::ct(8, 8, &[1; 64])
        .at("2", 2.0)
        .without(tags::BODY_PART_EXAMINED)
        .text(tags::SERIES_INSTANCE_UID, VR::UI, "1.9")
        .write(&bench.source("b"));
    let o = SliceOptions {
        questions: Some(Questions::InTurn(vec!["What is shown?".into()])),
        answer: Some("A {modality} of the {body_part}, {plane}, at {position_mm} mm.".into()),
        ..bench.options()
    };
    let report = bench.run(&o);
    assert_eq!((report.samples, report.left_out), (1, 1), "the second has no body part");
    let names = vec!["scans".to_owned()];
    let open = DatasetOptions {
        dataset_dir: bench.path("out"),
        media_dir: None,
        names,
        max_samples: None,
        seed: 0,
        mix: Mix::default(),
    };
    let set = Dataset::open(&open).unwrap();
    let sample = set.get(0).unwrap();
    assert_eq!(sample.conversation.messages[0].content, "<image>What is shown?");
    assert_eq!(sample.conversation.messages[1].content, "A CT of the HEAD, axial, at 1.0 mm.");
    let found = check(&set, 0..1, None, None, &mut |_| ControlFlow::Continue(()));
    assert!(found.problems.is_empty() && found.pictures == 1, "{found:?}");
}

#[test]
fn a_stopped_run_goes_on_to_what_an_unstopped_one_makes() {
    let bench = Bench::new();
    for i in 0..7i16 {
        Dcm::ct(4, 4, &[i * 10; 16]).at(&i.to_string(), i.into()).write(&bench.source(&i.to_string()));
    }
    std::fs::write(bench.source("zz"), [b"\0".repeat(128).as_slice(), b"DICM junk"].concat()).unwrap();
    let o = SliceOptions { sheet: true, ..bench.options() };
    let stopped =
        slices(&o, &mut |step| if step.done == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) });
    assert!(matches!(stopped, Err(SliceError::Stopped { done: 3, total: 7 })), "{stopped:?}");
    assert!(!bench.path("out/slices.jsonl").exists(), "no table of half the pictures");
    // A torn line, and a picture that a power cut left empty.
    let journal = bench.path("out/.slices.journal");
    std::fs::write(&journal, [std::fs::read(&journal).unwrap().as_slice(), b"{\"n\":3,"].concat()).unwrap();
    let first = std::fs::read_to_string(&journal).unwrap();
    let first: Value = serde_json::from_str(first.lines().nth(1).unwrap()).unwrap();
    std::fs::write(bench.path("out").join(first["row"]["image"].as_str().unwrap()), b"").unwrap();
    let report = bench.run(&o);
    assert_eq!((report.pictures, report.earlier, report.bad.len()), (7, 2, 1));
    let (table, sheet) = (std::fs::read(bench.path("out/slices.jsonl")).unwrap(), report.sheet.unwrap());

    let again = bench.run(&o);
    assert_eq!((again.pictures, again.earlier), (7, 7), "nothing is to do");
    let other = SliceOptions { out: Some(bench.path("other")), ..o.clone() };
    let whole = bench.run(&other);
    assert!(std::fs::read(bench.path("other/slices.jsonl")).unwrap() == table && whole.sheet.as_ref() == Some(&sheet));
    for row in bench.rows() {
        let image = row["image"].as_str().unwrap();
        assert!(
            std::fs::read(bench.path("out").join(image)).unwrap()
                == std::fs::read(bench.path("other").join(image)).unwrap()
        );
    }
    let changed = SliceOptions { size: Some(2), ..o };
    let refused = slices(&changed, &mut |_| ControlFlow::Continue(())).unwrap_err().to_string();
    assert!(refused.contains("--overwrite"), "{refused}");
    assert_eq!(bench.run(&SliceOptions { overwrite: true, ..changed }).earlier, 0);
}

#[test]
fn a_sheet_alone_writes_nothing() {
    let bench = Bench::new();
    for i in 0..5i16 {
        Dcm::ct(4, 4, &[i; 16]).at(&i.to_string(), i.into()).write(&bench.source(&i.to_string()));
    }
    let report = bench.run(&SliceOptions { out: None, sheet: true, ..bench.options() });
    assert!(report.sheet.is_some() && !bench.path("out").exists());
}

#[test]
fn pictures_of_others_are_never_removed() {
    let bench = Bench::new();
    Dcm::ct(1, 1, &[0]).write(&bench.source("a"));
    std::fs::create_dir_all(bench.path("out/images/mine")).unwrap();
    std::fs::write(bench.path("out/images/mine/x.png"), b"mine").unwrap();
    let o = SliceOptions { overwrite: true, ..bench.options() };
    let refused = slices(&o, &mut |_| ControlFlow::Continue(())).unwrap_err().to_string();
    assert!(refused.contains("another --out"), "{refused}");
    std::fs::rename(bench.path("out/images/mine"), bench.path("out/mine")).unwrap();
    bench.run(&o);
    // What is put beside ours later stays, too.
    std::fs::rename(bench.path("out/mine"), bench.path("out/images/mine")).unwrap();
    let before = bench.rows()[0]["image"].as_str().unwrap().to_owned();
    bench.run(&SliceOptions { format: lightbox_core::medical::PictureFormat::Jpg, ..o });
    assert!(!bench.path("out").join(before).exists() && bench.path("out/images/mine/x.png").exists());
}
