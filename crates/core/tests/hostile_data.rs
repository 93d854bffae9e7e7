//! Data sets as they come from strangers and broken disks: every fault is named with its line and a stable kind, the rows
//! around it are read, and nothing hangs. What rows mean is tested in `dataset.rs`, parquet in `parquet_table.rs`.

use lightbox_core::data::{CheckReport, Dataset, DatasetOptions, Encoder, Samples, Step, check};
use lightbox_core::text::{EncodeOptions, Tokenizer};
use lightbox_core::vision::{ImageProcessor, PixelBudget};
use serde_json::{Value, json};
use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(path)
}

/// A folder with a data set `d`, its rows in `d.json`, its pictures beside it.
struct Set(tempfile::TempDir);

impl Set {
    fn new(rows: impl AsRef<[u8]>) -> Self {
        let set = Self(tempfile::tempdir().unwrap());
        let info = json!({"d": {"file_name": "d.json", "formatting": "sharegpt",
            "columns": {"messages": "messages", "images": "images"},
            "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}}});
        set.write("dataset_info.json", info.to_string());
        set.write("d.json", rows);
        set.write("good.png", png(8, 8));
        set
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn open(&self) -> anyhow::Result<Dataset> {
        Dataset::open(&DatasetOptions {
            dataset_dir: self.0.path().into(),
            media_dir: None,
            names: vec!["d".into()],
            max_samples: None,
            seed: 42,
            mix: Default::default(),
        })
    }

    fn refusal(&self) -> String {
        format!("{:#}", self.open().expect_err("a refusal"))
    }

    fn check(&self) -> CheckReport {
        checked(&self.open().unwrap())
    }
}

fn checked(d: &Dataset) -> CheckReport {
    let report = check(d, 0..d.len(), None, None, &mut |_| ControlFlow::Continue(()));
    assert_eq!(report.by_kind.values().sum::<usize>(), report.problems.len());
    report
}

/// Line and kind of every problem.
fn problems(report: &CheckReport) -> Vec<(usize, &'static str)> {
    let line = |origin: &str| origin.rsplit_once(':').unwrap().1.parse().unwrap();
    report.problems.iter().map(|p| (line(&p.origin), p.kind)).collect()
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(width, height, image::Rgb([200, 30, 90]))
        .write_to(&mut out, image::ImageFormat::Png)
        .unwrap();
    out.into_inner()
}

fn row(images: &[&str]) -> Value {
    let question = format!("{}What?", "<image>".repeat(images.len()));
    json!({"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": "That."}], "images": images})
}

/// `before`, a good row, `after`.
fn around(before: &[u8], after: &[u8]) -> Vec<u8> {
    [before, row(&[]).to_string().as_bytes(), after].concat()
}

#[test]
fn a_damaged_line_is_named_and_the_rows_around_it_are_read() {
    let good = row(&[]).to_string();
    let said = |text: &str| {
        json!({"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "X"}]})
            .to_string()
            .replace('X', text)
    };
    let bad = Some("bad_json");
    for (name, line, expected) in [
        ("ends in mid-row", good.as_bytes()[..good.len() - 9].to_vec(), bad),
        ("ends in a string", good.as_bytes()[..30].to_vec(), bad),
        ("a NUL between values", b"{\"messages\":\0[]}".to_vec(), bad),
        ("a line of NULs, as a crash leaves them", vec![0; 512], bad),
        ("a raw NUL in a string", said("a\0b").into_bytes(), bad),
        ("an escaped NUL in a string", said("a\\u0000b").into_bytes(), None),
        ("a raw escape in a string", said("\x1b[2J").into_bytes(), bad),
        ("Latin-1", said("caf").replace("caf", "caf\u{e9}").chars().map(|c| c as u8).collect(), Some("not_utf8")),
        (
            "GBK",
            [said("A").as_bytes().split(|&b| b == b'A').next().unwrap(), b"\xd6\xd0\"}]}"].concat(),
            Some("not_utf8"),
        ),
        ("an overlong slash", b"{\"messages\": \"\xC0\xAF\"}".to_vec(), Some("not_utf8")),
        ("an encoded surrogate", b"{\"messages\": \"\xED\xA0\x80\"}".to_vec(), Some("not_utf8")),
        ("half a surrogate pair", said("\\ud800").into_bytes(), bad),
        ("a whole surrogate pair", said("\\ud83e\\ude7a").into_bytes(), None),
        ("a byte order mark in the middle", format!("\u{feff}{good}").into_bytes(), bad),
        ("a Windows line end", format!("{good}\r").into_bytes(), None),
        ("white space around", format!(" \t{good} \t").into_bytes(), None),
        ("a comma at the end", format!("{good},").into_bytes(), None),
        ("two rows on one line", format!("{good}{good}").into_bytes(), bad),
        ("a comment", b"// {}".to_vec(), bad),
        ("single quotes", good.replace('"', "'").into_bytes(), bad),
        ("a trailing comma inside", good.replace("]}", ",]}").into_bytes(), bad),
        ("NaN", b"{\"messages\": NaN}".to_vec(), bad),
        ("a number beyond all floats", b"{\"messages\": 1e999}".to_vec(), bad),
        ("an unknown escape", said("\\x41").into_bytes(), bad),
        ("brackets without end", vec![b'['; 100_000], bad),
        ("depth of 100,000", [vec![b'['; 100_000], vec![b']'; 100_000]].concat(), bad),
        ("a number", b"7".to_vec(), Some("not_an_object")),
        ("a text", b"\"row\"".to_vec(), Some("not_an_object")),
        ("a list", b"[{}]".to_vec(), Some("not_an_object")),
        ("null", b"null".to_vec(), Some("not_an_object")),
        ("an empty object", b"{}".to_vec(), Some("missing_column")),
    ] {
        let rows = [around(b"", b"\n\n"), line, around(b"\n", b"\n")].concat();
        let report = Set::new(rows).check();
        assert_eq!(problems(&report), Vec::from_iter(expected.map(|kind| (3, kind))), "{name}: {:?}", report.problems);
        assert_eq!((report.samples, report.good), (3, 3 - usize::from(expected.is_some())), "{name}");
    }
}

#[test]
fn damage_of_the_whole_file_is_one_more_row_or_a_refusal() {
    let good = row(&[]).to_string();
    for (name, rows, good_rows, expected) in [
        ("a byte order mark", around(b"\xEF\xBB\xBF", b"\n"), 1, vec![]),
        ("old Macintosh line ends", format!("{good}\r{good}\r").into_bytes(), 2, vec![]),
        ("a list cut behind a comma", format!("[{good},\n").into_bytes(), 1, vec![(2, "bad_json")]),
        ("a list cut in a row", format!("[{good},\n{{\"mess").into_bytes(), 1, vec![(2, "bad_json")]),
        ("a list without its comma", format!("[{good}\n{good}]").into_bytes(), 1, vec![(2, "bad_json")]),
        ("a list with two commas", format!("[{good},\n,{good}]").into_bytes(), 1, vec![(2, "bad_json")]),
        ("a list and more", format!("[{good}]\n[{good}]").into_bytes(), 1, vec![(2, "bad_json")]),
        ("an empty list", b"[]".to_vec(), 0, vec![]),
    ] {
        let report = Set::new(rows).check();
        assert_eq!((report.good, problems(&report)), (good_rows, expected), "{name}");
    }
    for (rows, message) in [
        (b"".to_vec(), "is empty"),
        (b" \r\n\t".to_vec(), "white space"),
        (b"\xFF\xFE{\0}\0".to_vec(), "UTF-16"),
        (b"PAR1....".to_vec(), "neither a JSON list nor"),
        (b"\x1f\x8b\x08\0".to_vec(), "neither a JSON list nor"),
    ] {
        let refusal = Set::new(rows).refusal();
        assert!(refusal.contains(message) && refusal.contains("d.json"), "{refusal}");
    }
}

#[test]
fn a_line_of_a_hundred_megabytes_is_named_and_not_read() {
    let long = |end: &str| [b"{\"messages\": \"".to_vec(), vec![b'x'; 100 << 20], end.into()].concat();
    for end in ["\"}", "", "\" : "] {
        let set = Set::new([around(b"", b"\n"), long(end), around(b"\n", b"\n")].concat());
        let report = set.check();
        assert_eq!((report.good, problems(&report)), (2, vec![(2, "row_too_large")]), "ends with {end:?}");
    }
}

/// A picture bomb: a sound header that promises `width` x `height` pixels, and nothing behind it.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let header = [b"IHDR".as_slice(), &width.to_be_bytes(), &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    for chunk in [header, b"IDAT".to_vec(), b"IEND".to_vec()] {
        file.extend((chunk.len() as u32 - 4).to_be_bytes());
        file.extend(&chunk);
        file.extend(crc32fast::hash(&chunk).to_be_bytes());
    }
    file
}

#[test]
fn pictures_of_all_kinds_are_read_or_named() {
    let format = |name: &str| std::fs::read(golden("preprocess/formats").join(name)).unwrap();
    let cut = |name: &str| {
        let bytes = format(name);
        bytes[..bytes.len() / 2].to_vec()
    };
    let jpeg_of = |width: u16, height: u16| {
        let mut file = format("jpeg_444.jpg");
        let frame = file.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
        file[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
        file[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
        file
    };
    let gif_of = |side: u16| {
        let mut file = format("gif_P.gif");
        file[6..10].copy_from_slice(&[side.to_le_bytes(), side.to_le_bytes()].concat());
        file
    };
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("one pixel", png(1, 1), &[]),
        ("one pixel, JPEG", format("jpeg_odd_1x1.jpg"), &[]),
        ("a long strip", png(1, 3000), &[]),
        ("CMYK, JPEG", format("jpeg_CMYK.jpg"), &[]),
        ("CMYK, TIFF", format("tiff_CMYK.tif"), &[]),
        ("16 bits a channel", format("png_RGB16.png"), &[]),
        ("16 bits, grey", format("png_I16.png"), &[]),
        ("an animation, GIF", format("gif_anim.gif"), &[]),
        ("an animation, WebP", format("webp_anim.webp"), &[]),
        ("turned by EXIF", format("jpeg_exif6.jpg"), &[]),
        ("no bytes", vec![], &["image_format"]),
        ("one byte", vec![0x89], &["image_format"]),
        ("a web page", b"<!DOCTYPE html><html>404".to_vec(), &["image_format"]),
        (
            "a Git LFS pointer",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n".to_vec(),
            &["image_format"],
        ),
        ("SVG", b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>".to_vec(), &["image_format"]),
        ("PDF", b"%PDF-1.7".to_vec(), &["image_format"]),
        ("AVIF", b"\0\0\0\x1cftypavif".to_vec(), &["image_format"]),
        ("zeros", vec![0; 4096], &["image_format"]),
        ("cut, JPEG", cut("jpeg_444.jpg"), &["image_truncated"]),
        ("cut, PNG", cut("png_RGB.png"), &["image_truncated"]),
        ("cut, GIF", cut("gif_P.gif"), &["image_truncated", "image_broken"]),
        ("cut, BMP", cut("bmp_RGB.bmp"), &["image_truncated"]),
        ("cut, WebP", cut("webp_lossy.webp"), &["image_truncated", "image_broken"]),
        ("cut, TIFF", cut("tiff_RGB.tif"), &["image_truncated", "image_broken"]),
        ("cut, PNM", cut("pnm_RGB.ppm"), &["image_truncated"]),
        ("a bomb of 50,000 x 50,000, PNG", png_header(50_000, 50_000), &["image_too_large"]),
        ("a bomb of 65,500 x 65,500, JPEG", jpeg_of(65_500, 65_500), &["image_too_large"]),
        ("a bomb of 65,535 x 65,535, GIF", gif_of(65_535), &["image_too_large"]),
        ("a bomb, PNM", b"P6 100000 100000 255\n".to_vec(), &["image_too_large"]),
        ("no width", png_header(0, 8), &["image_broken"]),
        ("a header without pixels", png_header(64, 64), &["image_truncated", "image_broken"]),
        ("more pixels than data, JPEG", jpeg_of(4000, 4000), &["image_truncated", "image_broken"]),
    ];
    let set = Set::new("");
    let rows: Vec<String> = (0..cases.len()).map(|i| row(&[&format!("{i}.png")]).to_string()).collect();
    set.write("d.json", rows.join("\n"));
    cases.iter().enumerate().for_each(|(i, (_, bytes, _))| set.write(&format!("{i}.png"), bytes));
    let report = set.check();
    for (i, (name, _, expected)) in cases.iter().enumerate() {
        let found: Vec<_> = report.problems.iter().filter(|p| p.index == i).collect();
        assert_eq!(found.len(), usize::from(!expected.is_empty()), "{name}: {found:?}");
        for problem in found {
            assert!(
                expected.contains(&problem.kind) && problem.origin.ends_with(&format!("d.json:{}", i + 1)),
                "{name}: {problem}"
            );
        }
    }
}

#[test]
fn paths_lead_to_regular_files_or_are_named() {
    let set = Set::new("");
    std::fs::create_dir(set.path("folder")).unwrap();
    set.write("folder/in.png", png(8, 8));
    set.write("图片 \u{1b}[2J\n.png", png(8, 8));
    set.write("locked.png", png(8, 8));
    std::fs::set_permissions(set.path("locked.png"), PermissionsExt::from_mode(0o0)).unwrap();
    symlink("good.png", set.path("link.png")).unwrap();
    symlink("nowhere.png", set.path("dangling.png")).unwrap();
    symlink("loop2.png", set.path("loop1.png")).unwrap();
    symlink("loop1.png", set.path("loop2.png")).unwrap();
    symlink(".", set.path("self")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(set.path("fifo.png")).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(set.path("socket.png")).unwrap();
    let absolute = set.path("good.png");
    let deep = format!("{}good.png", "self/".repeat(60));
    let long = "x".repeat(5000);
    // The superuser may read what is locked.
    let locked = File::open(set.path("locked.png")).is_err().then_some("image_unreadable");
    let cases = [
        (absolute.to_str().unwrap(), None),
        ("./folder/../good.png", None),
        ("folder/in.png", None),
        ("图片 \u{1b}[2J\n.png", None),
        ("link.png", None),
        ("locked.png", locked),
        ("GOOD.PNG", Some("image_missing")),
        ("good.png/", Some("image_missing")),
        ("good.png/../good.png", Some("image_missing")),
        ("dangling.png", Some("image_missing")),
        ("loop1.png", Some("image_missing")),
        (&deep, Some("image_missing")),
        (&long, Some("image_missing")),
        ("", Some("image_missing")),
        ("good.png\0.png", Some("image_missing")),
        ("../../../../../../../../etc/passwd", Some("image_format")),
        ("/etc/passwd", Some("image_format")),
        ("folder", Some("image_not_a_file")),
        (".", Some("image_not_a_file")),
        ("fifo.png", Some("image_not_a_file")),
        ("socket.png", Some("image_unreadable")),
        ("/dev/zero", Some("image_not_a_file")),
        ("/dev/stdin", Some("image_not_a_file")),
        // A regular file whose first page cannot be read: EIO.
        ("/proc/self/mem", Some("image_unreadable")),
    ];
    let rows: Vec<String> = cases.iter().map(|(path, _)| row(&[path]).to_string()).collect();
    set.write("d.json", rows.join("\n"));
    let report = set.check();
    let expected: Vec<_> = (1..).zip(&cases).filter_map(|(line, (_, kind))| Some((line, (*kind)?))).collect();
    assert_eq!(problems(&report), expected, "{:#?}", report.problems);
}

#[test]
fn inputs_that_broke_something_once_are_named_today() {
    let seeds = |name: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(name);
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let pictures = seeds("image");
    assert!(!pictures.is_empty());
    for path in pictures {
        let report = Set::new(row(&[path.canonicalize().unwrap().to_str().unwrap()]).to_string()).check();
        assert_eq!(report.problems.len(), 1, "{}", path.display());
    }
    let tables = seeds("parquet");
    assert!(!tables.is_empty());
    for path in tables {
        let names = vec![path.to_str().unwrap().to_owned()];
        let options = DatasetOptions {
            dataset_dir: ".".into(),
            media_dir: None,
            names,
            max_samples: None,
            seed: 0,
            mix: Default::default(),
        };
        let refused = Dataset::open(&options).map(|d| checked(&d)).map_or(true, |report| !report.problems.is_empty());
        assert!(refused, "{}", path.display());
    }
}

#[test]
fn what_changes_after_opening_is_an_error_of_its_rows_and_never_a_crash() {
    let rows = [row(&["good.png"]).to_string(), row(&["good.png"]).to_string()].join("\n");
    let kinds = |change: &dyn Fn(&Set)| {
        let set = Set::new(&rows);
        let open = set.open().unwrap();
        change(&set);
        problems(&checked(&open)).into_iter().map(|(_, kind)| kind).collect::<Vec<_>>()
    };
    let d = |set: &Set| set.path("d.json");
    let picture = |set: &Set| set.path("good.png");
    let cut = |set: &Set| File::options().write(true).open(d(set)).unwrap().set_len(rows.len() as u64 - 9).unwrap();
    assert_eq!(kinds(&cut), ["unreadable"]);
    assert_eq!(kinds(&|set| set.write("d.json", "x".repeat(rows.len()))), ["bad_json"; 2]);
    assert_eq!(kinds(&|set| set.write("d.json", "")), ["unreadable"; 2]);
    assert_eq!(kinds(&|set| std::fs::remove_file(d(set)).unwrap()), [""; 0], "an open file stays readable");
    assert_eq!(kinds(&|set| std::fs::rename(picture(set), d(set)).unwrap()), ["image_missing"; 2]);
    assert_eq!(kinds(&|set| std::fs::remove_file(picture(set)).unwrap()), ["image_missing"; 2]);
    assert_eq!(kinds(&|set| set.write("good.png", "")), ["image_format"; 2]);
    assert_eq!(kinds(&|set| set.write("good.png", &png(8, 8)[..40])), ["image_truncated"; 2]);
    let folder = |set: &Set| {
        std::fs::remove_file(picture(set)).unwrap();
        std::fs::create_dir(picture(set)).unwrap();
    };
    assert_eq!(kinds(&folder), ["image_not_a_file"; 2]);
}

#[test]
fn a_picture_that_vanishes_between_check_and_reading_is_left_out_and_counted() {
    let set = Set::new([row(&["good.png"]).to_string(), row(&[]).to_string()].join("\n"));
    let open = set.open().unwrap();
    assert_eq!(checked(&open).good, 2);
    std::fs::remove_file(set.path("good.png")).unwrap();
    let model = golden("models/tiny-tied");
    let (tokenizer, processor) = (Tokenizer::from_dir(&model).unwrap(), ImageProcessor::from_dir(&model).unwrap());
    let encoder = Encoder {
        tokenizer: &tokenizer,
        processor: &processor,
        budget: PixelBudget::default(),
        options: &EncodeOptions::default(),
    };
    let mut bad = Vec::new();
    let mut watch = |step: Step<'_>| bad.extend(step.problems.iter().map(|p| (p.index, p.kind)));
    let samples = Samples::check(Arc::new(open), None, &encoder, None, &mut watch).unwrap();
    assert_eq!((0..samples.len()).map(|row| samples.index(row)).collect::<Vec<_>>(), [1]);
    assert_eq!(bad, [(0, "image_missing")]);
}

#[test]
fn what_stands_where_a_file_should_be_is_refused_in_words_and_without_waiting() {
    type Change = fn(&Path);
    let fifo: Change = |path| assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    let folder: Change = |path| std::fs::create_dir(path).unwrap();
    let looped: Change = |path| symlink(path, path).unwrap();
    let dangling: Change = |path| symlink("nowhere", path).unwrap();
    let device: Change = |path| symlink("/dev/zero", path).unwrap();
    let huge: Change = |path| File::create(path).unwrap().set_len(1 << 40).unwrap(); // sparse: takes no space
    let list: Change = |path| std::fs::write(path, "[]").unwrap();
    for (name, change, message) in [
        ("dataset_info.json", fifo, "not a regular file"),
        ("dataset_info.json", folder, "not a regular file"),
        ("dataset_info.json", device, "not a regular file"),
        ("dataset_info.json", huge, "which no list of data sets has"),
        ("dataset_info.json", looped, "dataset_dir must be the folder"),
        ("dataset_info.json", dangling, "dataset_dir must be the folder"),
        ("dataset_info.json", list, "not a JSON object of data sets"),
        ("d.json", fifo, "not a regular file"),
        ("d.json", folder, "is empty"),
        ("d.json", device, "not a regular file"),
        ("d.json", looped, "not found"),
        ("d.json", dangling, "not found"),
    ] {
        let set = Set::new("[]");
        std::fs::remove_file(set.path(name)).unwrap();
        change(&set.path(name));
        let refusal = set.refusal();
        assert!(refusal.contains(message) && refusal.contains(name), "{refusal}");
    }
}
