use super::*;
use crate::data::test_data::open;
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use std::io::Write;
use std::sync::Arc;

fn rows(path: &Path, names: &[Option<&str>]) -> PathBuf {
    let caption = |i: usize| format!("Caption {i}");
    let name: ArrayRef = Arc::new(StringArray::from_iter(names.iter().copied()));
    let captions: ArrayRef = Arc::new(StringArray::from_iter_values((0..names.len()).map(caption)));
    let source: ArrayRef = Arc::new(StringArray::from_iter_values(names.iter().map(|_| "brats")));
    let batch = RecordBatch::try_from_iter([("file_name", name), ("caption", captions), ("source", source)]).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    path.to_owned()
}

/// A whole PNG; another one for each seed.
fn png(seed: u32) -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    let grain = |x: u32, y: u32| image::Rgb([(x * 7 + seed) as u8, (y * 11) as u8, (seed * 13) as u8]);
    image::RgbImage::from_fn(24, 20, grain).write_to(&mut out, image::ImageFormat::Png).unwrap();
    out.into_inner()
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        // The name as it is: `set_path` refuses what a hostile archive would have.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn options(dir: &Path, rows: PathBuf, archives: &[PathBuf]) -> PackOptions {
    let (rows, archives, out) = (vec![rows], archives.to_vec(), dir.join("out"));
    PackOptions { rows, archives, out, name_column: None, shard_bytes: 1 << 30, overwrite: false }
}

fn whole(o: &PackOptions) -> Result<PackReport> {
    pack(o, &mut |_, _| ControlFlow::Continue(())).map(|report| report.expect("not stopped"))
}

fn save(path: PathBuf, bytes: &[u8]) -> PathBuf {
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn rows_and_pictures_of_all_kinds_of_archives_meet_by_base_name() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let names =
        [Some("a.png"), Some("gone.png"), Some("b c-right lung.nii-105.png"), None, Some("图像.png"), Some("a.png")];
    let rows = rows(&dir.join("rows.parquet"), &names);
    let pictures: Vec<Vec<u8>> = (0..4).map(png).collect();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&tar(&[("x/图像.png", &pictures[2]), ("other.png", &pictures[3])])).unwrap();
    let zst = zstd::encode_all(&tar(&[("deep/er/b c-right lung.nii-105.png", &pictures[1])])[..], 3).unwrap();
    let archives = [
        save(dir.join("1.tar"), &tar(&[("../../a.png", &pictures[0]), ("again/a.png", &pictures[3])])),
        save(dir.join("2.tar.zst"), &zst),
        save(dir.join("3.tar.gz"), &gz.finish().unwrap()),
    ];
    let report = whole(&options(dir, rows, &archives)).unwrap();
    assert_eq!((report.rows, report.packed, report.unnamed, report.repeated), (6, 4, 1, 1));
    assert!(report.problems.is_empty() && report.problems_file.is_none());
    assert!(!dir.join("a.png").exists() && !dir.parent().unwrap().join("a.png").exists());
    // It is a data set of captioned pictures, as 25M_demo is: two rows of one name, then the others.
    let set = open(&dir.join("out"));
    let samples: Vec<_> = (0..set.len()).map(|i| set.get(i).unwrap()).collect();
    let caption = |i: usize| samples[i].conversation.messages[1].content.as_str();
    let picture = |i: usize| samples[i].images[0].load().unwrap().into_owned();
    assert_eq!([caption(0), caption(1), caption(2), caption(3)], ["Caption 0", "Caption 5", "Caption 2", "Caption 4"]);
    assert!(
        picture(0) == pictures[0]
            && picture(1) == pictures[0]
            && picture(2) == pictures[1]
            && picture(3) == pictures[2]
    );
    let table = ParquetTable::open(&report.shards).unwrap();
    assert_eq!(table.row(3).unwrap().json("source").unwrap(), "brats");
    assert_eq!(table.row(2).unwrap().json("file_name").unwrap(), "b c-right lung.nii-105.png");
}

#[test]
fn what_is_no_whole_picture_and_a_damaged_archive_are_listed_and_the_rest_is_packed() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let rows = rows(&dir.join("rows.parquet"), &["a", "b", "c", "d", "e"].map(Some));
    let (picture, cut) = (png(1), png(2));
    let first = tar(&[("a", &picture), ("b", &cut[..cut.len() / 2]), ("c", b"<html>")]);
    let second = zstd::encode_all(&tar(&[("d", &picture), ("e", &vec![7; 300_000])])[..], 3).unwrap();
    let archives = [
        save(dir.join("1.tar"), &first),
        save(dir.join("2.tar"), &tar(&[("d", &picture), ("e", &picture)])[..1600]),
        save(dir.join("3.tar.zst"), &second[..second.len() - 9]),
        save(dir.join("4.tar"), &tar(&[("e", &picture)])),
    ];
    let report = whole(&options(dir, rows, &archives)).unwrap();
    assert_eq!(report.packed, 3, "{report:?}");
    let problems = [("bad_archive", 2), ("image_format", 1), ("image_truncated", 1)];
    assert_eq!(report.problems, problems.map(|(kind, n)| (kind.to_owned(), n)).into());
    let listed = std::fs::read_to_string(report.problems_file.unwrap()).unwrap();
    assert!(listed.contains("2.tar") && listed.contains(r#""member":"b""#), "{listed}");
}

#[test]
fn a_run_that_is_stopped_anywhere_goes_on_to_the_same_files() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let names: Vec<String> = (0..40).map(|i| format!("{i}.png")).collect();
    let rows = rows(&dir.join("rows.parquet"), &names.iter().map(|name| Some(name.as_str())).collect::<Vec<_>>());
    let pictures: Vec<Vec<u8>> = (0..40).map(png).collect();
    let members: Vec<(&str, &[u8])> = (0..40).rev().map(|i| (names[i].as_str(), pictures[i].as_slice())).collect();
    let broken: &[(&str, &[u8])] = &[("3.png", b"again"), ("none.png", b"x"), ("7.png", b"cut")];
    let archives = [
        save(dir.join("1.tar"), &tar(&members[..23])),
        save(dir.join("2.tar.zst"), &zstd::encode_all(&tar(&members[23..])[..], 1).unwrap()),
        save(dir.join("3.tar"), &tar(broken)),
    ];
    let with = |out: &str| PackOptions {
        out: dir.join(out),
        shard_bytes: 7 * pictures[0].len() as u64,
        ..options(dir, rows.clone(), &archives)
    };
    let expected = whole(&with("whole")).unwrap();
    assert!(expected.shards.len() >= 5 && expected.packed == 40, "{expected:?}");
    let mut runs = 0;
    let report = loop {
        runs += 1;
        let mut seen = 0;
        let watch = &mut |_: u64, _: u64| {
            seen += 1;
            if seen > runs * 16 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        if let Some(report) = pack(&with("parts"), watch).unwrap() {
            break report;
        }
        assert!(runs < 50);
    };
    assert!(runs > 2, "{runs} runs");
    assert_eq!(
        (report.packed, report.repeated, report.unnamed),
        (expected.packed, expected.repeated, expected.unnamed)
    );
    assert_eq!((&report.problems, report.shards.len()), (&expected.problems, expected.shards.len()));
    for name in expected.shards.iter().map(|path| path.file_name().unwrap()) {
        let read = |out: &str| std::fs::read(dir.join(out).join(name)).unwrap();
        assert!(read("whole") == read("parts"), "{name:?}");
    }
    // Once more: there is nothing to do.
    let again = whole(&with("parts")).unwrap();
    assert_eq!((again.packed, again.continued_at), (40, expected.shards.len()));
}

#[test]
fn other_options_and_strange_files_in_the_folder_are_refused_and_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let rows = rows(&dir.join("rows.parquet"), &[Some("a")]);
    let archives = [save(dir.join("1.tar"), &tar(&[("a", &png(1))]))];
    let o = options(dir, rows, &archives);
    let why = |o: &PackOptions| whole(o).unwrap_err().to_string();
    std::fs::create_dir(&o.out).unwrap();
    let strange = save(o.out.join("train-00000.parquet"), b"mine");
    assert!(why(&o).contains("of another origin"), "{}", why(&o));
    assert_eq!(std::fs::read(&strange).unwrap(), b"mine");
    let replaced = whole(&PackOptions { overwrite: true, ..o.clone() }).unwrap();
    assert_eq!(replaced.packed, 1);
    // The rows themselves are called as shards are: they are never taken for old ones.
    let source = o.out.with_file_name("train-00000-of-00001.parquet");
    std::fs::copy(&o.rows[0], &source).unwrap();
    let among = PackOptions { rows: vec![source.clone()], out: dir.into(), overwrite: true, ..o.clone() };
    assert!(why(&among).contains("name another folder") && source.exists(), "{}", why(&among));
    let other = PackOptions { shard_bytes: 1, ..o.clone() };
    assert!(why(&other).contains("--overwrite"), "{}", why(&other));
    let named = |name: &str| PackOptions { name_column: Some(name.into()), ..o.clone() };
    assert!(why(&named("nothing")).contains("file_name, caption, source"), "{}", why(&named("nothing")));
}

/// An Arrow schema beside the columns would hide the `huggingface` note from pyarrow: `datasets` would then see a plain struct.
#[test]
fn datasets_finds_the_note_that_the_column_holds_pictures() {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let temp = tempfile::tempdir().unwrap();
    let rows = rows(&temp.path().join("rows.parquet"), &[Some("a.png")]);
    let archives = [save(temp.path().join("1.tar"), &tar(&[("a.png", &png(0))]))];
    let o = options(temp.path(), rows, &archives);
    whole(&o).unwrap();
    let shard = shards_in(&o.out).unwrap().remove(0);
    let reader = SerializedFileReader::new(std::fs::File::open(shard).unwrap()).unwrap();
    let notes = reader.metadata().file_metadata().key_value_metadata().unwrap();
    assert_eq!(notes.iter().map(|note| note.key.as_str()).collect::<Vec<_>>(), ["huggingface"]);
    let features: serde_json::Value = serde_json::from_str(notes[0].value.as_deref().unwrap()).unwrap();
    assert_eq!(features["info"]["features"]["image"]["_type"], "Image");
}
