//! Data sets of very many samples, with the real binaries: looking at one takes the same memory whatever its size, training
//! without `streaming` some bytes a sample, and with it none; a pass over all of them that is killed goes on where it was.
//!
//! 25 shards of 4,000 rows are 100,000; `make torture` (`LIGHTBOX_TORTURE=20`) makes it 25 million.

use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray, StructArray};
use arrow_schema::Field;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

const SHARDS: usize = 25;

/// Rows of a shard.
fn shard_rows() -> usize {
    if std::env::var_os("LIGHTBOX_TORTURE").is_some() { 1_000_000 } else { 4_000 }
}

/// A data set of one shard, and one of as many as are asked for: the same file under other names.
struct Sets {
    one: PathBuf,
    many: PathBuf,
    temp: tempfile::TempDir,
}

/// Made once for all tests of this file.
fn sets() -> &'static Sets {
    static MADE: OnceLock<Sets> = OnceLock::new();
    MADE.get_or_init(|| {
        let temp = tempfile::tempdir().unwrap();
        let (one, many) = (temp.path().join("one"), temp.path().join("many"));
        std::fs::create_dir(&one).unwrap();
        std::fs::create_dir(&many).unwrap();
        let shard = one.join("train-00000.parquet");
        write_shard(&shard, shard_rows());
        for i in 0..SHARDS {
            std::fs::hard_link(&shard, many.join(format!("train-{i:05}.parquet"))).unwrap();
        }
        Sets { one, many, temp }
    })
}

/// MedTrinity's columns; a small picture and a caption of three sentences in each row, in row groups of 1,000.
fn write_shard(path: &Path, rows: usize) {
    let picture = |grey: u8| {
        let mut png = std::io::Cursor::new(Vec::new());
        let pixels = image::GrayImage::from_pixel(28, 28, image::Luma([grey]));
        pixels.write_to(&mut png, image::ImageFormat::Png).unwrap();
        png.into_inner()
    };
    let pictures: Vec<Vec<u8>> = (0..=255).map(picture).collect();
    let side = ["left", "right"];
    let caption = |i: usize| {
        format!(
            "The image is a CT scan of the head in axial view, slice {i}. The region of interest, located on the {} side, \
             occupies approximately {}.{}% of the image area. It may suggest a lesion of decreased density.",
            side[i % 2],
            i % 37,
            i % 10
        )
    };
    let mut writer = None;
    for start in (0..rows).step_by(1000) {
        let range = || start..(start + 1000).min(rows);
        let bytes: ArrayRef = Arc::new(BinaryArray::from_iter_values(range().map(|i| &pictures[i % 256])));
        let paths: ArrayRef = Arc::new(StringArray::from_iter(range().map(|i| Some(format!("{i}.png")))));
        let field = |name: &str, a: &ArrayRef| Arc::new(Field::new(name, a.data_type().clone(), true));
        let image = StructArray::from(vec![(field("bytes", &bytes), bytes.clone()), (field("path", &paths), paths)]);
        let ids: ArrayRef = Arc::new(StringArray::from_iter_values(range().map(|i| format!("scan-{i:08}"))));
        let captions: ArrayRef = Arc::new(StringArray::from_iter_values(range().map(caption)));
        let columns = [("image", Arc::new(image) as ArrayRef, true), ("id", ids, true), ("caption", captions, true)];
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(1000)).build();
        let writer = writer.get_or_insert_with(|| {
            ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap()
        });
        writer.write(&batch).unwrap();
    }
    writer.unwrap().close().unwrap();
}

/// A program that has ended.
struct Ran {
    stdout: String,
    stderr: String,
    /// The largest memory that it ever had, in bytes.
    peak: u64,
}

/// Runs it to its end, which must be a good one.
#[expect(clippy::zombie_processes, reason = "wait4 waits for it, and says what it took besides")]
fn measured(command: &mut Command) -> Ran {
    let output = sets().temp.path();
    let unique = tempfile::Builder::new().prefix("output-").tempdir_in(output).unwrap();
    let file = |name: &str| File::create(unique.path().join(name)).unwrap();
    command.env("OMP_NUM_THREADS", "1").env("OMP_WAIT_POLICY", "PASSIVE").env_remove("LIGHTBOX_FAULTS");
    let child = command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr")).spawn().unwrap();
    // SAFETY: plain integers, for which all zeros are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let mut status = 0;
    // SAFETY: both pointers are to values of this function, and nobody else waits for this child.
    let waited = unsafe { libc::wait4(child.id() as libc::pid_t, &mut status, 0, &mut usage) };
    assert_eq!(waited, child.id() as libc::pid_t);
    let read = |name: &str| std::fs::read_to_string(unique.path().join(name)).unwrap();
    assert_eq!(status, 0, "{command:?}: wait status {status}\n{}\n{}", read("stdout"), read("stderr"));
    Ran { stdout: read("stdout"), stderr: read("stderr"), peak: usage.ru_maxrss as u64 * 1024 }
}

/// Starts it, and kills it when `journal` has got something.
fn killed_when_it_has_kept(command: &mut Command, journal: impl Fn() -> Option<PathBuf>) {
    command.env("OMP_NUM_THREADS", "1").env("OMP_WAIT_POLICY", "PASSIVE").env_remove("LIGHTBOX_FAULTS");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(120);
    while journal().and_then(|path| path.metadata().ok()).is_none_or(|meta| meta.len() < 1000) {
        assert!(Instant::now() < until, "nothing was kept");
        assert!(child.try_wait().unwrap().is_none(), "it ended before anything was kept");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// How many samples a program says it need not read again.
fn kept(ran: &Ran) -> usize {
    let words: Vec<&str> = ran.stderr.split_whitespace().collect();
    let at = words.windows(2).position(|pair| pair[1] == "samples" && pair[0].parse::<usize>().is_ok());
    words[at.unwrap_or_else(|| panic!("it began anew: {}", ran.stderr))].parse().unwrap()
}

fn data(args: &[&str]) -> Ran {
    measured(Command::new(env!("CARGO_BIN_EXE_lightbox")).arg("data").args(args))
}

/// Trains two updates on the data set in `folder`.
fn train(name: &str, folder: &Path, extra: &str) -> (Ran, Value) {
    let run = prepare(name, folder, extra);
    let ran = measured(&mut engine(&run));
    let results = std::fs::read_to_string(run.join("all_results.json")).unwrap();
    (ran, serde_json::from_str(&results).unwrap())
}

/// The folder of a run that has not begun.
fn prepare(name: &str, folder: &Path, extra: &str) -> PathBuf {
    let run = sets().temp.path().join(name);
    std::fs::create_dir(&run).unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/models/tiny-tied");
    let profile = format!(
        "stage: sft\ndo_train: true\ntemplate: qwen2_vl\nmodel_name_or_path: {}\ndataset: {}\nmax_steps: 2\n\
         per_device_train_batch_size: 2\ngradient_accumulation_steps: 2\nlogging_steps: 1\ndevice: cpu\nnum_threads: 1\n\
         output_dir: {}\n{extra}",
        model.display(),
        folder.display(),
        run.display()
    );
    std::fs::write(run.join("profile.yaml"), profile).unwrap();
    run
}

fn engine(run: &Path) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_lightbox")).with_file_name("lightbox-engine"));
    command.arg("train").arg(run).env("LIGHTBOX_STATE", run.with_extension("state"));
    command
}

const MIB: u64 = 1 << 20;

#[track_caller]
fn no_more_than(many: u64, one: u64, allowed: u64) {
    let (a, b) = (many as f64 / MIB as f64, one as f64 / MIB as f64);
    assert!(many <= one + allowed, "{a:.0} MiB with many samples, {b:.0} MiB with few, {} MiB allowed", allowed / MIB);
}

#[test]
fn looking_at_a_large_data_set_takes_the_memory_of_a_small_one() {
    let (one, many) = (sets().one.to_str().unwrap(), sets().many.to_str().unwrap());
    let rows = SHARDS * shard_rows();
    let last = (rows - 1).to_string();
    let shown = data(&["show", many, "--index", &last, "--json"]);
    let sample: Value = serde_json::from_str(&shown.stdout).unwrap();
    let answer = sample["messages"][1]["content"].as_str().unwrap();
    assert!(answer.contains(&format!("slice {}.", shard_rows() - 1)), "{answer}");
    no_more_than(shown.peak, data(&["show", one, "--index", "5", "--json"]).peak, 24 * MIB);
    let listed: Value = serde_json::from_str(&data(&["list", many, "--json"]).stdout).unwrap();
    assert!(listed.to_string().contains(&rows.to_string()), "{listed}");
    let all = data(&["stats", many, "--json"]);
    let stats: Value = serde_json::from_str(&all.stdout).unwrap();
    assert_eq!((stats["samples"].as_u64(), stats["good"].as_u64()), (Some(rows as u64), Some(rows as u64)));
    no_more_than(all.peak, data(&["stats", one, "--json"]).peak, 24 * MIB);
}

#[test]
fn training_takes_some_bytes_a_sample_and_with_streaming_none() {
    let Sets { one, many, .. } = sets();
    let rows = (SHARDS * shard_rows()) as u64;
    let (few, results) = train("few", one, "");
    assert!(results["train_loss"].as_f64().unwrap() > 0.0);
    let (all, whole) = train("all", many, "");
    // 24 bytes a sample, the order of an epoch in 4, another 4 while it is made; vectors that grow, and what the allocator holds.
    no_more_than(all.peak, few.peak, 64 * rows + 32 * MIB);
    // Killed while the samples are checked, it goes on behind those that are, and learns the same.
    let run = prepare("killed", many, "");
    killed_when_it_has_kept(&mut engine(&run), || Some(run.join("checked.rows")));
    let resumed = measured(&mut engine(&run));
    assert!((1..SHARDS * shard_rows()).contains(&kept(&resumed)));
    assert!(!run.join("checked.rows").exists(), "what is done needs no journal");
    let results: Value = serde_json::from_slice(&std::fs::read(run.join("all_results.json")).unwrap()).unwrap();
    assert_eq!(results["train_loss"], whole["train_loss"]);
    no_more_than(resumed.peak, few.peak, 64 * rows + 32 * MIB);
    let (streamed, results) =
        train("streamed", many, "streaming: true\nval_size: 4\neval_strategy: steps\neval_steps: 1\n");
    assert!(results["eval_loss"].as_f64().unwrap() > 0.0, "{results}");
    no_more_than(streamed.peak, few.peak, 32 * MIB);
}

#[test]
fn a_check_that_is_killed_goes_on_where_it_was_and_finds_the_same() {
    let many = sets().many.to_str().unwrap();
    let state = tempfile::tempdir().unwrap();
    let unfinished = || std::fs::read_dir(state.path().join("unfinished")).into_iter().flatten().flatten();
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lightbox"));
        command.args(["data", "check", many, "--json"]).env("LIGHTBOX_STATE", state.path());
        command
    };
    killed_when_it_has_kept(&mut check(), || unfinished().next().map(|entry| entry.path()));
    let resumed = measured(&mut check());
    let kept = kept(&resumed);
    assert!((1..SHARDS * shard_rows()).contains(&kept), "{kept}");
    assert_eq!(unfinished().count(), 0, "what is done needs no journal");
    let whole = measured(&mut check());
    assert!(!whole.stderr.contains("going on"), "{}", whole.stderr);
    let report = |ran: &Ran| serde_json::from_str::<Value>(&ran.stdout).unwrap();
    assert_eq!(report(&resumed), report(&whole));
}
