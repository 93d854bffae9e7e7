use super::*;
use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};

const FIRST: &str = "adapter_model.safetensors";

fn weights() -> Vec<u8> {
    let data = [0u8; 64];
    safetensors::serialize([("w", TensorView::new(Dtype::F32, vec![16], &data).unwrap())], None).unwrap()
}

fn run(steps: &[u64]) -> (tempfile::TempDir, RunDir) {
    let temp = tempfile::tempdir().unwrap();
    let dir = RunDir::create(temp.path().join("run")).unwrap();
    for &step in steps {
        let path = dir.checkpoint(step);
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join(FIRST), weights()).unwrap();
        let state = TrainerState { global_step: step, ..TrainerState::default() };
        std::fs::write(path.join(RunDir::TRAINER_STATE), state.to_json().unwrap()).unwrap();
    }
    (temp, dir)
}

fn steps(checkpoints: &[Checkpoint]) -> Vec<u64> {
    checkpoints.iter().map(|c| c.step).collect()
}

#[test]
fn checkpoints_are_sorted_by_number_not_by_name() {
    let (_temp, dir) = run(&[100, 9, 20]);
    std::fs::write(dir.join("checkpoint-7"), "a file").unwrap();
    std::fs::create_dir(dir.join("checkpoint-best")).unwrap();
    std::os::unix::fs::symlink(dir.checkpoint(9), dir.checkpoint(500)).unwrap();
    assert_eq!(steps(&list(&dir).unwrap()), [9, 20, 100]);
}

#[test]
fn the_newest_usable_checkpoint_is_found_behind_broken_ones() {
    let (_temp, dir) = run(&[10, 20, 30, 40, 50]);
    std::fs::write(dir.checkpoint(50).join(FIRST), &weights()[..100]).unwrap();
    std::fs::remove_file(dir.checkpoint(40).join(FIRST)).unwrap();
    std::fs::copy(dir.checkpoint(20).join(RunDir::TRAINER_STATE), dir.checkpoint(30).join(RunDir::TRAINER_STATE))
        .unwrap();
    let (newest, skipped) = newest_complete(&dir).unwrap();
    assert_eq!(newest.map(|c| c.step), Some(20));
    assert_eq!(skipped.len(), 3);
    assert!(skipped[0].contains("checkpoint-50/adapter_model.safetensors"), "{skipped:?}");
    assert!(skipped[1].contains("no weights") && skipped[2].contains("says step 20"), "{skipped:?}");
}

#[test]
fn sharded_weights_need_every_shard() {
    let (_temp, dir) = run(&[5]);
    let checkpoint = &list(&dir).unwrap()[0];
    std::fs::rename(checkpoint.path.join(FIRST), checkpoint.path.join("model-00001-of-00002.safetensors")).unwrap();
    let index = r#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
    std::fs::write(checkpoint.path.join("model.safetensors.index.json"), index).unwrap();
    assert!(checkpoint.check().unwrap_err().contains("model-00002-of-00002.safetensors"));
    std::fs::write(checkpoint.path.join("model-00002-of-00002.safetensors"), weights()).unwrap();
    assert_eq!(checkpoint.check(), Ok(()));
    std::fs::write(
        checkpoint.path.join("model.safetensors.index.json"),
        r#"{"weight_map": {"a": "../../x.safetensors"}}"#,
    )
    .unwrap();
    assert!(checkpoint.check().is_err());
}

#[test]
fn the_oldest_go_and_the_best_the_pinned_and_the_newest_two_stay() {
    let (_temp, dir) = run(&[10, 20, 30, 40, 50, 60]);
    let keep = |last, best| Keep { last, best };
    assert_eq!(steps(&retain(&dir, keep(None, None)).unwrap()), [0u64; 0]);
    pin(&dir, 20, Some("good"), true).unwrap();
    assert_eq!(steps(&retain(&dir, keep(Some(3), Some(10))).unwrap()), [30]);
    assert_eq!(steps(&retain(&dir, keep(Some(3), Some(10))).unwrap()), [0u64; 0]);
    pin(&dir, 20, None, false).unwrap();
    assert_eq!(steps(&retain(&dir, keep(Some(1), None)).unwrap()), [10, 20, 40]);
    assert_eq!(steps(&list(&dir).unwrap()), [50, 60], "two stay even if one was asked for");
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
}

#[test]
fn a_broken_checkpoint_does_not_push_out_a_good_one() {
    let (_temp, dir) = run(&[10, 20, 30]);
    std::fs::remove_file(dir.checkpoint(30).join(FIRST)).unwrap();
    assert_eq!(retain(&dir, Keep { last: Some(2), best: None }).unwrap(), []);
    assert_eq!(newest_complete(&dir).unwrap().0.map(|c| c.step), Some(20));
}

#[test]
fn a_run_that_never_began_has_no_checkpoints() {
    let (temp, _) = run(&[]);
    let dir = RunDir::create(temp.path().join("other")).unwrap();
    std::fs::remove_dir(dir.path()).unwrap();
    assert_eq!(newest_complete(&dir).unwrap(), (None, Vec::new()));
}

/// A run with whole, committed checkpoints.
fn committed(steps: &[u64]) -> (tempfile::TempDir, RunDir) {
    let temp = tempfile::tempdir().unwrap();
    let dir = RunDir::create(temp.path().join("run")).unwrap();
    for &step in steps {
        commit_one(&dir, step, step as u8).unwrap();
    }
    (temp, dir)
}

fn commit_one(dir: &RunDir, step: u64, byte: u8) -> anyhow::Result<u64> {
    commit(dir, About { step, ..About::default() }, |to| {
        std::fs::write(to.join(FIRST), weights())?;
        std::fs::write(to.join("optimizer.safetensors"), [byte; 5000])?;
        let state = TrainerState { global_step: step, ..TrainerState::default() };
        Ok(state.write(&to.join(RunDir::TRAINER_STATE))?)
    })
}

#[test]
fn a_committed_checkpoint_is_whole_and_latest_names_it() {
    let (_temp, dir) = committed(&[5, 10]);
    assert_eq!(newest_complete(&dir).unwrap().0.map(|c| c.step), Some(10));
    let manifest = manifest(&dir.checkpoint(10)).unwrap().unwrap();
    assert_eq!(manifest.files.keys().collect::<Vec<_>>(), [FIRST, "optimizer.safetensors", RunDir::TRAINER_STATE]);
    let latest = std::fs::read_to_string(dir.join(LATEST)).unwrap();
    assert_eq!(latest.lines().next(), Some("checkpoint-10"));
}

#[test]
fn a_failed_save_leaves_nothing_and_takes_nothing() {
    let (_temp, dir) = committed(&[5]);
    let error = commit(&dir, About { step: 10, ..About::default() }, |to| {
        std::fs::write(to.join("half"), b"x")?;
        anyhow::bail!("the model cannot be read")
    })
    .unwrap_err();
    assert!(error.to_string().contains("the model cannot be read"));
    assert_eq!(steps(&list(&dir).unwrap()), [5]);
    assert!(!dir.join(".partial-checkpoint-10").exists());
    // A second save of the same step replaces the first.
    commit_one(&dir, 5, 77).unwrap();
    assert_eq!(std::fs::read(dir.checkpoint(5).join("optimizer.safetensors")).unwrap()[0], 77);
    assert_eq!(newest_complete(&dir).unwrap().0.map(|c| c.step), Some(5));
}

#[test]
fn what_an_interrupted_save_or_deletion_left_is_swept_and_a_replaced_checkpoint_comes_back() {
    let (_temp, dir) = committed(&[5, 10]);
    std::fs::create_dir(dir.join(".partial-checkpoint-15")).unwrap();
    // Died between the two renames of a replacement …
    std::fs::rename(dir.checkpoint(10), dir.join(".replaced-checkpoint-10")).unwrap();
    // … and in the middle of a deletion.
    let half = dir.join(".deleted-checkpoint-3");
    std::fs::create_dir(&half).unwrap();
    std::fs::write(half.join(FIRST), weights()).unwrap();
    sweep(&dir).unwrap();
    assert_eq!(steps(&list(&dir).unwrap()), [5, 10]);
    assert!(!half.exists() && !dir.join(".partial-checkpoint-15").exists());
}

#[test]
fn a_save_that_fails_after_its_rename_gives_the_old_checkpoint_back() {
    for point in ["checkpoint.rename", "checkpoint.parent", "checkpoint.verify", "fs.rename", "fs.sync_dir"] {
        let (_temp, dir) = committed(&[5]);
        let most = if point.starts_with("fs.") { 12 } else { 1 };
        for n in 1..=most {
            let fault = crate::fault::inject(&format!("{point}#{n}=error:EIO")).unwrap();
            let outcome = commit_one(&dir, 5, 77);
            let hit = fault.hits() > 0;
            drop(fault);
            sweep(&dir).unwrap();
            let byte = std::fs::read(dir.checkpoint(5).join("optimizer.safetensors")).unwrap()[0];
            assert_eq!(newest_complete(&dir).unwrap().0.map(|c| c.step), Some(5), "{point}#{n}: {outcome:?}");
            assert_eq!(byte, if outcome.is_ok() { 77 } else { 5 }, "{point}#{n}: {outcome:?}");
            if !hit || outcome.is_ok() {
                break;
            }
        }
    }
}

#[test]
fn an_error_while_reading_is_no_damage_and_a_newer_version_none_either() {
    let (_temp, dir) = committed(&[5]);
    let checkpoint = &list(&dir).unwrap()[0];
    let path = checkpoint.path.join(Manifest::FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, r#"{"v": 2, "files": ["of another shape"]}"#).unwrap();
    assert!(checkpoint.check().unwrap_err().contains("newer version") && !checkpoint.is_damaged());
    std::fs::write(&path, text.replace("optimizer", "0ptimizer")).unwrap();
    assert!(checkpoint.is_damaged());
    std::fs::remove_file(&path).unwrap();
    assert!(!checkpoint.is_damaged(), "without a manifest nobody knows");
}

/// R13: whatever happens to the newest checkpoint's files, it is found out, the one before is used, and the sentence names
/// file and damage.
#[track_caller]
fn is_found_out(dir: &RunDir, names: &str, how: &str) {
    let (newest, why) = newest_complete(dir).unwrap();
    assert_eq!(newest.map(|c| c.step), Some(10), "{how}: {why:?}");
    assert!(why.len() == 1 && why[0].contains("checkpoint-15") && why[0].contains(names), "{how}: {why:?}");
}

#[test]
fn r13_every_truncation_every_lost_file_and_every_swap_is_found_out() {
    let (_temp, dir) = committed(&[5, 10, 15]);
    let names = [FIRST, "optimizer.safetensors", RunDir::TRAINER_STATE];
    let path = |name: &str| dir.checkpoint(15).join(name);
    for name in names {
        let whole = std::fs::read(path(name)).unwrap();
        for i in 0..64 {
            std::fs::write(path(name), &whole[..whole.len() * i / 64]).unwrap();
            is_found_out(&dir, name, &format!("{name} cut at {i}/64"));
        }
        std::fs::remove_file(path(name)).unwrap();
        is_found_out(&dir, name, &format!("{name} removed"));
        std::fs::create_dir(path(name)).unwrap();
        is_found_out(&dir, name, &format!("{name} a folder"));
        std::fs::remove_dir(path(name)).unwrap();
        std::fs::write(path(name), whole).unwrap();
    }
    std::fs::write(path("README.md"), "a note").unwrap();
    assert_eq!(newest_complete(&dir).unwrap().0.map(|c| c.step), Some(15), "another file is no damage");
    for (a, b) in [(names[0], names[1]), (names[1], names[2])] {
        std::fs::rename(path(a), path("aside")).unwrap();
        std::fs::rename(path(b), path(a)).unwrap();
        std::fs::rename(path("aside"), path(b)).unwrap();
        is_found_out(&dir, "manifest", &format!("{a} and {b} swapped"));
        std::fs::rename(path(a), path("aside")).unwrap();
        std::fs::rename(path(b), path(a)).unwrap();
        std::fs::rename(path("aside"), path(b)).unwrap();
    }
    // The manifest itself.
    let manifest = std::fs::read_to_string(path(Manifest::FILE)).unwrap();
    for (from, to, says) in [
        ("\"v\": 1", "\"v\": 2", "newer version"),
        ("\"step\": 15", "\"step\": 16", "says step 16"),
        ("{", "[", "manifest.json"),
        (FIRST, "../../etc/passwd", "outside its folder"),
    ] {
        std::fs::write(path(Manifest::FILE), manifest.replacen(from, to, 1)).unwrap();
        is_found_out(&dir, says, says);
    }
    std::fs::write(path(Manifest::FILE), &manifest).unwrap();
    for latest in ["", "checkpoint-99\n0\n", "\0\0"] {
        std::fs::write(dir.join(LATEST), latest).unwrap();
        assert_eq!(newest_complete(&dir).unwrap().0.map(|c| c.step), Some(15), "LATEST is only a hint");
    }
    // Moved aside, it is no checkpoint any more, and a second one gets a place, too.
    for n in 0..2 {
        assert!(quarantine(&dir, &Checkpoint { step: 15 - 5 * n, path: dir.checkpoint(15 - 5 * n) }).unwrap().exists());
    }
    assert_eq!(steps(&list(&dir).unwrap()), [5]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn r13_every_flipped_bit_is_found_out(file in 0usize..3, place: prop::sample::Index, bit in 0u8..8) {
        let (_temp, dir) = committed(&[10, 15]);
        let name = [FIRST, "optimizer.safetensors", RunDir::TRAINER_STATE][file];
        let path = dir.checkpoint(15).join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        let i = place.index(bytes.len());
        bytes[i] ^= 1 << bit;
        std::fs::write(&path, bytes).unwrap();
        is_found_out(&dir, name, &format!("bit {bit} of byte {i} of {name}"));
    }
}
