//! Faults at named points: death between any two operations of a save, failing operations one after the other, numbers that
//! are not finite, memory that runs out, a device that is lost, checkpoints that rot.

use crate::rig::{Engine, Outcome, Rig, scaled};
use lightbox_core::runs::RunDir;
use lightbox_core::runs::record::{Event, Metric};
use lightbox_core::runs::state::Status;

const EXTRA: &str = "max_steps: 12\nsave_steps: 3\nsave_total_limit: 2";

fn clean(engine: Engine) -> Outcome {
    let rig = Rig::new(engine, EXTRA);
    assert_eq!(rig.finish().code(), Some(0), "{}", rig.log_text());
    rig.outcome()
}

/// Every place where a save, a deletion, a state or a log line can be cut off.
const POINTS: [&str; 14] = [
    "checkpoint.begin",
    "checkpoint.files",
    "checkpoint.manifest",
    "checkpoint.fsync",
    "checkpoint.rename",
    "checkpoint.parent",
    "checkpoint.verify",
    "checkpoint.latest",
    "retain.rename",
    "retain.delete",
    "fs.rename",
    "fs.write",
    "fs.sync",
    "log.line",
];

fn dies_at_every_point(engine: Engine, times: &[u64]) {
    let outcome = clean(engine);
    let mut deaths = 0;
    for point in POINTS {
        for &n in times {
            let how = format!("{point}#{n}=abort");
            let rig = Rig::new(engine, EXTRA);
            let status = rig.start_with(&how).wait();
            // A point that is passed fewer times than n leaves the run undisturbed.
            if status.code() != Some(0) {
                deaths += 1;
                rig.keeps_its_checkpoints(&how);
                assert_eq!(rig.finish().code(), Some(0), "{how}\n{}", rig.log_text());
            }
            rig.agrees_with(&outcome, &how);
        }
    }
    // Four saves and two deletions are made.
    assert!(deaths >= POINTS.len() * times.len() * 2 / 3, "only {deaths} deaths: are the points still passed?");
    println!(
        "R3, death at a named point, {engine:?} engine: {deaths} deaths at {} points, all resumed exactly",
        POINTS.len()
    );
}

#[test]
fn r3_the_fake_engine_dies_at_every_point_of_a_save_and_goes_on_exactly() {
    dies_at_every_point(Engine::Fake, &[1, 2, 3, 4]);
}

#[test]
fn r3_the_real_engine_dies_at_every_point_of_a_save_and_goes_on_exactly() {
    dies_at_every_point(Engine::Real, if scaled(1) > 1 { &[1, 2, 3, 4] } else { &[1, 2] });
}

/// The n-th operation on a file fails, for n = 1, 2, 3, … until a run makes fewer. It goes on, or ends with a code that
/// says why; started again it ends with the right numbers. A wrong file is never taken for a right one.
fn fails_at_every_operation(engine: Engine, stride: usize) {
    let outcome = clean(engine);
    let errors = ["ENOSPC", "EIO", "EDQUOT", "EROFS", "EMFILE", "short"];
    let (mut n, mut went_on, mut ended) = (1, 0, 0);
    loop {
        let how = format!("fs#{n}=error:{}", errors[n % errors.len()]).replace("error:short", "short");
        let rig = Rig::new(engine, EXTRA);
        let status = rig.start_with(&how).wait();
        match status.code() {
            Some(0) => went_on += 1,
            Some(code @ (1 | 10 | 12 | 22)) => {
                ended += 1;
                assert!(rig.log_text().contains("error: "), "{how} ended with {code} and no word");
                rig.keeps_its_checkpoints(&how);
                assert_eq!(rig.finish().code(), Some(0), "after {how}: {}", rig.log_text());
            }
            other => panic!("{how}: {other:?}\n{}", rig.log_text()),
        }
        // Records may be missing where writing them failed; those that are there are right, and so is the adapter.
        for step in rig.steps() {
            let bits = crate::rig::Bits::of(&step);
            assert_eq!(Some(&bits), outcome.steps.get(&step.step), "{how}\n{}", rig.log_text());
        }
        assert!(rig.outcome().adapter == outcome.adapter, "{how}\n{}", rig.log_text());
        if !rig.log_text().contains("fault: fs strikes") {
            break; // an undisturbed run makes fewer operations
        }
        n += stride;
        assert!(n < 20_000, "the operations do not end");
    }
    println!(
        "R5, the n-th operation fails, {engine:?} engine: n up to {n}, {went_on} runs went on, {ended} ended and were resumed"
    );
}

#[test]
fn r5_any_operation_on_a_file_may_fail() {
    fails_at_every_operation(Engine::Fake, 1);
}

#[test]
fn r5_any_operation_of_the_real_engine_may_fail() {
    fails_at_every_operation(Engine::Real, if scaled(1) > 1 { 1 } else { 29 });
}

fn warnings(rig: &Rig, wanted: &str) -> usize {
    rig.events().iter().filter(|e| matches!(e, Event::Warning { code, .. } if code == wanted)).count()
}

#[test]
fn r18_updates_that_are_not_finite_are_left_out_and_too_many_in_a_row_end_the_run() {
    for engine in [Engine::Fake, Engine::Real] {
        for (point, value) in [("step.loss", "nan"), ("step.loss", "inf"), ("step.grad", "nan"), ("step.grad", "-inf")]
        {
            let rig = Rig::new(engine, EXTRA);
            let status = rig.start_with(&format!("{point}#5={value};{point}#6={value}")).wait();
            assert_eq!(status.code(), Some(0), "two in a row are allowed\n{}", rig.log_text());
            assert_eq!(warnings(&rig, "nonfinite"), 2);
            let skipped: Vec<u64> = rig.steps().iter().filter(|s| s.skipped).map(|s| s.step).collect();
            assert_eq!(skipped, [5, 6]);
            let step = rig.steps().into_iter().find(|s| s.step == 5).unwrap();
            assert!(step.nonfinite.is_some() && (step.loss.is_none() || step.grad_norm.is_none()), "{step:?}");
        }
        let rig = Rig::new(engine, EXTRA);
        let status = rig.start_with("step.loss#5+=nan").wait();
        assert_eq!(status.code(), Some(21), "{}", rig.log_text());
        let state = rig.state();
        assert_eq!((state.state, state.reason.unwrap().kind.as_str()), (Status::Failed, "nonfinite"));
        assert_eq!(state.checkpoint.as_deref(), Some("checkpoint-6"), "the save at step 6 came before the third one");
        assert!(rig.log_text().contains("samples ") && rig.log_text().contains("learning_rate"), "{}", rig.log_text());
        // Weights were untouched: without the fault it goes on from there.
        assert_eq!(rig.finish().code(), Some(0), "{}", rig.log_text());
    }
}

#[test]
fn r19_out_of_memory_splits_the_micro_batch_and_computes_the_same() {
    let outcome = clean(Engine::Real);
    for n in [1, 2, 4, 9] {
        let rig = Rig::new(Engine::Real, EXTRA);
        let status = rig.start_with(&format!("micro#{n}=oom")).wait();
        assert_eq!(status.code(), Some(0), "{}", rig.log_text());
        assert!(warnings(&rig, "oom_split") >= 1, "micro#{n}\n{}", rig.log_text());
        for step in rig.steps() {
            let clean = f32::from_bits(u32::from_str_radix(&outcome.steps[&step.step].loss, 16).unwrap());
            let ours = step.loss.unwrap() as f32;
            // Dropout is drawn anew for the parts, so losses agree as those of two seeds do.
            assert!((ours - clean).abs() < 0.1 * clean.abs(), "step {}: {ours} and {clean}", step.step);
        }
    }
    let rig = Rig::new(Engine::Real, EXTRA);
    let status = rig.start_with("micro#1+=oom").wait();
    assert_eq!(status.code(), Some(20), "{}", rig.log_text());
    assert!(rig.log_text().contains("sample") && rig.log_text().contains("image_max_pixels"), "{}", rig.log_text());
}

#[test]
fn r20_a_lost_device_ends_the_process_without_trying_again() {
    for engine in [Engine::Fake, Engine::Real] {
        let rig = Rig::new(engine, EXTRA);
        let status = rig.start_with("micro#9=device").wait();
        assert_eq!(status.code(), Some(24), "{}", rig.log_text());
        let state = rig.state();
        assert_eq!((state.state, state.reason.unwrap().kind.as_str()), (Status::Failed, "device"));
        assert!(rig.dir.join(RunDir::CRASH).is_dir(), "the end of the log is kept");
        assert_eq!(rig.finish().code(), Some(0), "{}", rig.log_text());
        rig.agrees_with(&clean(engine), "after the device came back");
    }
}

#[test]
fn r13_a_rotten_checkpoint_is_moved_aside_and_the_one_before_it_used() {
    for engine in [Engine::Fake, Engine::Real] {
        let outcome = clean(engine);
        for file in ["adapter_model.safetensors", "optimizer.safetensors", "trainer_state.json", "progress.json"] {
            let rig = Rig::new(engine, EXTRA);
            let mut worker = rig.start_with("step.loss#8=abort");
            worker.wait();
            let path = rig.dir.checkpoint(6).join(file);
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(rig.finish().code(), Some(0), "{}", rig.log_text());
            let quarantined = rig.events().into_iter().find_map(|e| match e {
                Event::CheckpointQuarantined { step, reason, .. } => Some((step, reason)),
                _ => None,
            });
            let (step, reason) = quarantined.expect("an event says so");
            assert!(step == 6 && reason.contains(file), "{reason}");
            assert!(rig.log_text().contains("resumed at step 3"), "{}", rig.log_text());
            rig.agrees_with(&outcome, &format!("after {file} had rotted"));
        }
    }
}

#[test]
fn changed_settings_are_named_and_the_run_goes_on_with_them() {
    for (from, to, key) in [
        ("learning_rate: 1.0e-3", "learning_rate: 2.0e-3", "learning_rate"),
        ("models/tiny-tied", "models/tiny-untied", "model_name_or_path"),
    ] {
        let rig = Rig::new(Engine::Fake, EXTRA);
        rig.start_with("step.loss#8=abort").wait();
        let profile = rig.dir.join(RunDir::PROFILE);
        let text = std::fs::read_to_string(&profile).unwrap();
        assert!(text.contains(from));
        std::fs::write(&profile, text.replace(from, to)).unwrap();
        assert_eq!(rig.finish().code(), Some(0), "{}", rig.log_text());
        let named = rig
            .events()
            .into_iter()
            .any(|e| matches!(e, Event::Changed { what, key: changed, .. } if what == "settings" && changed == key));
        assert!(named && rig.log_text().contains(key), "{}", rig.log_text());
        assert!(!rig.events().iter().any(|e| matches!(e, Event::ResumeVerified { .. })), "nothing to compare with");
    }
}

/// The same settings, but what they name has become something else: that is refused until it is accepted.
#[test]
fn changed_data_and_a_changed_model_are_refused_by_name_until_accepted() {
    let golden = std::path::Path::new(crate::rig::ROOT).join("tests/golden");
    for (what, code) in [("data", 11), ("model", 12)] {
        let temp = tempfile::tempdir().unwrap();
        copy(&golden.join("llamafactory/data"), &temp.path().join("data"));
        copy(&golden.join("models/tiny-tied"), &temp.path().join("model"));
        let places = format!("dataset_dir: {0}/data\nmodel_name_or_path: {0}/model\n{EXTRA}", temp.path().display());
        let rig = Rig::new(Engine::Real, &places);
        rig.start_with("step.loss#8=abort").wait();
        let changed = match what {
            "data" => first_picture(&temp.path().join("data")),
            _ => temp.path().join("model/model.safetensors"),
        };
        let mut bytes = std::fs::read(&changed).unwrap();
        match what {
            // Behind the end of the picture: the pixels are the same, the file is not.
            "data" => bytes.push(0),
            _ => {
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
            }
        }
        std::fs::write(&changed, bytes).unwrap();
        assert_eq!(rig.finish().code(), Some(code), "{what}\n{}", rig.log_text());
        assert!(rig.log_text().contains("--accept-changes"), "{}", rig.log_text());
        assert_eq!(rig.state().state, Status::Failed);
        let mut command = rig.command();
        command.env("LIGHTBOX_ACCEPT_CHANGES", "1");
        let status = crate::rig::Worker(command.spawn().unwrap()).wait();
        assert_eq!(status.code(), Some(0), "{what}\n{}", rig.log_text());
        assert!(rig.events().iter().any(|e| matches!(e, Event::Changed { what: changed, .. } if changed == what)));
    }
}

#[test]
fn a_bad_sample_in_mid_run_is_left_out_and_counted_or_ends_the_run_as_chosen() {
    for (policy, code) in [("skip", 0), ("refuse", 11)] {
        let temp = tempfile::tempdir().unwrap();
        let golden = std::path::Path::new(crate::rig::ROOT).join("tests/golden/llamafactory/data");
        copy(&golden, temp.path());
        let rig = Rig::new(
            Engine::Real,
            &format!(
                "dataset_dir: {}\non_bad_sample: {policy}\nmax_steps: 12\nlogging_steps: 1",
                temp.path().display()
            ),
        );
        let mut worker = rig.start_with("step.loss#2=sleep:1500");
        rig.wait_for(&mut worker, "training", |e| matches!(e, Event::State { to: Status::Running, .. }));
        rig.wait_for_step(&mut worker, 1);
        let picture = first_picture(temp.path());
        std::fs::remove_file(&picture).unwrap();
        assert_eq!(worker.wait().code(), Some(code), "{policy}\n{}", rig.log_text());
        let name = picture.file_name().unwrap().to_string_lossy().into_owned();
        assert!(rig.log_text().contains(&name), "{name} is not named\n{}", rig.log_text());
        let issues = rig.events().iter().filter(|e| matches!(e, Event::DataIssue { .. })).count();
        assert_eq!(issues > 0, policy == "skip");
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn first_picture(dir: &std::path::Path) -> std::path::PathBuf {
    let mut stack = vec![dir.to_owned()];
    let mut pictures = Vec::new();
    while let Some(dir) = stack.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                stack.push(entry.path());
            } else if entry.path().extension().is_some_and(|e| e == "png" || e == "jpg") {
                pictures.push(entry.path());
            }
        }
    }
    pictures.sort();
    pictures.remove(0)
}

/// R27: the losses of this rig on the CPU that wrote the file, bit for bit; on another one to six digits.
#[test]
fn r27_the_losses_of_fifty_updates_are_the_recorded_ones() {
    let rig = Rig::new(Engine::Real, "max_steps: 50");
    assert_eq!(rig.finish().code(), Some(0), "{}", rig.log_text());
    let path = std::path::Path::new(crate::rig::ROOT).join("tests/golden/losses-cpu.txt");
    let cpu = cpu_name();
    let ours: Vec<String> = rig.steps().into_iter().map(|s| s.loss_bits).collect();
    if std::env::var_os("LIGHTBOX_RECORD").is_some() {
        std::fs::write(&path, format!("# {cpu}\n{}\n", ours.join("\n"))).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once('\n').unwrap();
    let recorded: Vec<&str> = rest.lines().collect();
    assert_eq!(ours.len(), recorded.len());
    let same_cpu = head == format!("# {cpu}");
    for (i, (a, b)) in ours.iter().zip(recorded).enumerate() {
        let value = |bits: &str| f32::from_bits(u32::from_str_radix(bits, 16).unwrap());
        let close = (value(a) - value(b)).abs() <= 1e-4 * value(b).abs();
        assert!(if same_cpu { a == b } else { close }, "update {}: {} and recorded {}", i + 1, value(a), value(b));
    }
    println!("R27, golden losses: 50 updates, {}", if same_cpu { "bit for bit" } else { "another CPU: to 1e-4" });
}

fn cpu_name() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name =
        info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|x| x.1.trim().to_owned()));
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// With a rate this high the first evaluation is the best one.
#[test]
fn the_best_checkpoint_by_evaluation_loss_is_kept_and_becomes_the_finished_adapter() {
    let rig = Rig::new(
        Engine::Fake,
        "max_steps: 30\nsave_steps: 5\nsave_total_limit: 2\nlearning_rate: 3.0\nlr_scheduler_type: constant\nval_size: 0.1\n\
         eval_strategy: steps\neval_steps: 5\nload_best_model_at_end: true",
    );
    assert_eq!(rig.finish().code(), Some(0), "{}", rig.log_text());
    let steps: Vec<u64> =
        lightbox_core::runs::checkpoints::list(&rig.dir).unwrap().into_iter().map(|c| c.step).collect();
    let evals: Vec<(u64, f64)> = lightbox_core::runs::log::read::<Metric>(&rig.dir.join(RunDir::METRICS))
        .unwrap()
        .lines
        .into_iter()
        .filter_map(|line| if let Metric::Eval(e) = line.record { Some((e.step, e.loss?)) } else { None })
        .collect();
    let best = evals.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0;
    assert!(best < 25, "the test needs a best one that the limit alone would delete: {evals:?}");
    assert_eq!(steps, [best, 25, 30]);
    let adapter = |path: &std::path::Path| std::fs::read(path.join("adapter_model.safetensors")).unwrap();
    assert!(adapter(rig.dir.path()) == adapter(&rig.dir.checkpoint(best)), "the finished adapter is the best one");
    let state = std::fs::read_to_string(rig.dir.join(RunDir::TRAINER_STATE)).unwrap();
    assert!(state.contains(&format!("\"best_global_step\": {best}")), "{state}");
}

/// A scheduler starts a preempted run with the same command; `overwrite_output_dir` then must not cost what it has done.
#[test]
fn a_run_that_is_started_again_does_not_overwrite_itself_and_a_new_profile_does() {
    let rig = Rig::new(Engine::Fake, &format!("{EXTRA}\noverwrite_output_dir: true"));
    rig.start_with("step.loss#8=abort").wait();
    assert_eq!(rig.finish().code(), Some(0), "{}", rig.log_text());
    assert!(rig.log_text().contains("resumed at step 6"), "{}", rig.log_text());
    let profile = rig.dir.join(RunDir::PROFILE);
    std::fs::write(&profile, std::fs::read(&profile).unwrap()).unwrap();
    assert_eq!(rig.finish().code(), Some(0), "{}", rig.log_text());
    assert!(rig.log_text().contains("checkpoints of an older run were removed"), "{}", rig.log_text());
}

/// R23: what steers a run, and what the model and libtorch said, is its owner's; the rest is as open as the umask.
#[test]
fn r23_the_files_of_a_run_have_their_documented_modes() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    for (umask, file) in [(0o022, 0o644), (0o077, 0o600)] {
        let rig = Rig::new(Engine::Fake, EXTRA);
        let mut command = rig.command();
        // SAFETY: umask is async-signal-safe.
        unsafe {
            command.pre_exec(move || {
                libc::umask(umask);
                Ok(())
            });
        }
        assert_eq!(crate::rig::Worker(command.spawn().unwrap()).wait().code(), Some(0), "{}", rig.log_text());
        let mode = |name: &str| std::fs::metadata(rig.dir.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(RunDir::COMMANDS), 0o700);
        for name in
            [RunDir::STATE, RunDir::EVENTS, RunDir::METRICS, RunDir::INFO, RunDir::ENV, "adapter_model.safetensors"]
        {
            assert_eq!(mode(name), file, "{name} under umask {umask:o}");
        }
    }
}

/// Repeated updates of a resumed run are logged twice, and agree.
#[test]
fn a_resumed_run_says_that_the_repeated_updates_match() {
    for engine in [Engine::Fake, Engine::Real] {
        // Slow enough for the log's own thread to have written what the loop has handed over.
        let rig = Rig::new(engine, EXTRA).env("LIGHTBOX_FAKE_STEP_MS", 20);
        rig.start_with("step.loss#9=abort").wait();
        let lines = |rig: &Rig| {
            let path = rig.dir.join(RunDir::METRICS);
            lightbox_core::runs::log::read::<Metric>(&path).unwrap().lines.len()
        };
        let before = lines(&rig);
        assert_eq!(rig.finish().code(), Some(0), "{}", rig.log_text());
        assert!(lines(&rig) > before);
        let verified = rig.events().into_iter().find_map(|e| match e {
            Event::ResumeVerified { from_step, steps, exact, .. } => Some((from_step, steps, exact)),
            _ => None,
        });
        assert_eq!(verified, Some((6, 2, true)), "{engine:?}\n{}", rig.log_text());
    }
}
