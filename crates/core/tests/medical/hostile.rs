//! Files of strangers and broken disks: named, counted, never a crash, never more memory than their size asks for.

use super::Bench;
use super::files::{Dcm, Nii, RLE, gzip, rle};
use dicom_core::VR;
use dicom_dictionary_std::tags;
use lightbox_core::medical::SliceOptions;

/// The kind of the only problem.
fn kind(bench: &Bench, name: &str, bytes: &[u8]) -> &'static str {
    std::fs::write(bench.source(name), bytes).unwrap();
    let report = bench.run(&SliceOptions { overwrite: true, ..bench.options() });
    std::fs::remove_file(bench.source(name)).unwrap();
    assert_eq!((report.pictures, report.bad.len()), (0, 1), "{:?}", report.bad);
    report.bad[0].kind
}

#[test]
fn bombs_are_refused_by_what_they_say() {
    let bench = Bench::new();
    let small = || Dcm::ct(1, 1, &[0]);
    let huge = |dcm: Dcm| dcm.number(tags::ROWS, 65_535).number(tags::COLUMNS, 65_535);
    assert_eq!(kind(&bench, "a", &huge(small()).bytes()), "image_too_large");
    assert_eq!(
        kind(&bench, "a", &huge(small()).fragments(RLE, vec![], vec![rle(&[vec![0], vec![0]])]).bytes()),
        "image_too_large"
    );
    let frames = small().text(tags::NUMBER_OF_FRAMES, VR::IS, "2000000000").bytes();
    assert_eq!(kind(&bench, "a", &frames), "image_too_large");
    let nii = Nii { dim: [2, 2, 2, 1], affine: [[1.0; 4]; 3], slope: (0.0, 0.0), big_endian: false };
    let mut volume = nii.bytes(|_| 0);
    volume[42..48].fill(0x7f);
    assert_eq!(kind(&bench, "a", &volume), "image_too_large");
    assert_eq!(kind(&bench, "a", &gzip(&volume)), "image_too_large");
    // 200 MB promised, nothing there.
    volume[42..48].copy_from_slice(&[0, 2, 0, 2, 0, 2]);
    std::fs::write(bench.source("v.nii.gz"), gzip(&volume)).unwrap();
    let report = bench.run(&SliceOptions { overwrite: true, range: 0..1, ..bench.options() });
    assert_eq!(report.bad[0].kind, "nifti_broken");
}

#[test]
fn an_element_longer_than_the_file_and_sequences_without_end() {
    let bench = Bench::new();
    let mut long = Dcm::ct(1, 1, &[0]).bytes();
    let at = long.windows(4).position(|w| w == [0x08, 0, 0x60, 0]).unwrap();
    // Modality as UN of 4 GB less 2.
    long.splice(at + 4..at + 8, [b'U', b'N', 0, 0, 0xfe, 0xff, 0xff, 0xff]);
    assert_eq!(kind(&bench, "a", &long), "dicom_truncated");
    let head = Dcm::empty().bytes();
    let nested: Vec<u8> = (0..200_000)
        .flat_map(|_| {
            [0x08, 0, 0x40, 0x11, b'S', b'Q', 0, 0, 0xff, 0xff, 0xff, 0xff, 0xfe, 0xff, 0, 0xe0, 0xff, 0xff, 0xff, 0xff]
        })
        .collect();
    assert_eq!(kind(&bench, "a", &[head.as_slice(), &nested].concat()), "dicom_broken");
}

#[test]
fn no_cut_and_no_flip_of_any_kind_of_file_makes_it_panic_or_go_unnoticed() {
    let bench = Bench::new();
    let values: Vec<i16> = (0..64).collect();
    let bytes = |shift: u16| values.iter().map(|v| (*v as u16 >> shift) as u8).collect::<Vec<_>>();
    let nii = Nii {
        dim: [3, 3, 3, 1],
        affine: [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]],
        slope: (0.0, 0.0),
        big_endian: false,
    };
    for whole in [
        Dcm::ct(8, 8, &values).at("1", 1.0).bytes(),
        Dcm::ct(8, 8, &values).fragments(RLE, vec![], vec![rle(&[bytes(8), bytes(0)])]).bytes(),
        nii.bytes(|_| 1),
        gzip(&nii.bytes(|_| 1)),
    ] {
        for i in (0..whole.len()).step_by(7) {
            std::fs::write(bench.source("cut"), &whole[..i]).unwrap();
            let mut flipped = whole.clone();
            flipped[i] ^= 0xff;
            std::fs::write(bench.source("flipped"), flipped).unwrap();
            std::fs::write(bench.source("whole"), &whole).unwrap();
            let report = bench.run(&SliceOptions { overwrite: true, ..bench.options() });
            assert!(report.pictures >= 1, "the whole one is always read: cut and flipped at {i}: {report:?}");
        }
    }
}

#[test]
fn pipes_folders_and_strange_files_are_named() {
    let bench = Bench::new();
    Dcm::ct(1, 1, &[0]).write(&bench.source("good"));
    let fifo = bench.source("fifo");
    let name = std::ffi::CString::new(fifo.to_str().unwrap()).unwrap();
    // SAFETY: `name` is a NUL-terminated path that outlives the call.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let text = bench.path("notes.txt");
    std::fs::write(&text, "not a picture").unwrap();
    Dcm::ct(1, 1, &[0]).without(tags::PIXEL_DATA).write(&bench.path("report"));
    let sources = vec![bench.path("in"), fifo, text, bench.path("report")];
    let report = bench.run(&SliceOptions { sources, ..bench.options() });
    let kinds: Vec<_> = report.bad.iter().map(|bad| bad.kind).collect();
    assert_eq!(
        (report.pictures, kinds.as_slice()),
        (1, ["image_not_a_file", "not_medical", "dicom_no_pixels"].as_slice())
    );
    std::os::unix::fs::symlink(bench.path("in"), bench.source("loop")).unwrap();
    assert_eq!(bench.run(&SliceOptions { overwrite: true, ..bench.options() }).pictures, 1, "no walk in circles");
}
