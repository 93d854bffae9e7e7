//! `data pack`: captions in parquet and pictures in archives become one data set.

use crate::rig::{data, jpeg, json_of, png, s, stderr, texts, write_parquet};
use serde_json::json;

/// A tar archive with files of these names.
fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in members {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", bytes.len()).as_bytes());
        header[148..156].copy_from_slice(b"        ");
        (header[156], header[257]) = (b'0', b'u');
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend(header);
        out.extend(*bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

/// MedTrinity's `25M_full`: captions in parquet, pictures in archives.
#[test]
fn packed_rows_and_archives_are_a_data_set_like_25m_demo() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let columns = vec![
        ("file_name", texts(["a-right lung.nii-105.png", "b.jpg", "gone.jpg"].map(Some))),
        ("caption", texts(["First.", "Second.", "Third."].map(Some))),
        ("source", texts(["flare23", "pmc_oa", "brats"].map(Some))),
    ];
    std::fs::create_dir(at("25M_full")).unwrap();
    write_parquet(&at("25M_full/train-00000-of-00001.parquet"), columns);
    let (png, jpeg) = (png(1), jpeg(2));
    std::fs::create_dir(at("25M_accessible")).unwrap();
    std::fs::write(at("25M_accessible/2.tar"), tar(&[("x/y/a-right lung.nii-105.png", &png)])).unwrap();
    std::fs::write(at("25M_accessible/1.tar"), tar(&[("b.jpg", &jpeg), ("unknown.jpg", &jpeg)])).unwrap();

    let (rows, archives, packed) = (at("25M_full"), at("25M_accessible"), at("packed"));
    let args = ["pack", s(&rows), "--archives", s(&archives), "--out", s(&packed), "--json"];
    let report = json_of(&data(args), 0);
    let counts = ["rows", "packed", "unnamed", "repeated"].map(|key| report[key].as_u64().unwrap());
    assert_eq!(counts, [3, 2, 1, 0], "{report}");
    let shown = json_of(&data(["show", s(&packed), "--index", "1", "--json"]), 0);
    assert!(shown.to_string().contains("First."), "{shown}");
    let report = json_of(&data(["check", s(&packed), "--json"]), 0);
    assert_eq!((&report["samples"], &report["good"]), (&json!(2), &json!(2)), "{report}");
    // The same again has nothing to do; other archives are another data set.
    let again = json_of(&data(args), 0);
    assert_eq!((&again["packed"], &again["continued_at"]), (&json!(2), &json!(1)));
    let other = data(["pack", s(&rows), "--archives", s(&at("25M_accessible/1.tar")), "--out", s(&packed)]);
    assert_ne!(other.status.code(), Some(0));
    assert!(stderr(&other).contains("--overwrite"), "{}", stderr(&other));
}
