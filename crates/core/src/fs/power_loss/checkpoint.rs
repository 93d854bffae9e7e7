//! The protocols of checkpoints: commit, `LATEST`, deletion, pins. First a model of them in a few lines, parts of which
//! can be left out to see that they are needed; then those that runs use.
use super::*;
use crate::runs::RunDir;
use crate::runs::checkpoints::{self, About, Keep};
use crate::runs::trainer_state::TrainerState;
use safetensors::tensor::{Dtype, TensorView};
use sha2::{Digest, Sha256};

/// Parts of the protocol that a wrong one leaves out.
#[derive(Clone, Copy, PartialEq)]
enum Without {
    Nothing,
    SyncOfFiles,
    SyncOfTheFolder,
    SyncOfTheParent,
    RenamingWhatGoes,
}

fn weights(step: usize) -> Vec<u8> {
    version(step)
}

/// Commits steps 1 to 3, each followed by `LATEST` and the deletion of the one before.
fn commit_three(root: &Path, without: Without) {
    for step in 1..=3 {
        commit(root, step, without);
        acknowledge();
    }
}

fn commit(root: &Path, step: usize, without: Without) {
    let (partial, path) = (root.join(".partial"), root.join(format!("checkpoint-{step}")));
    create_dir_all(&partial).unwrap();
    let manifest = Sha256::digest(weights(step)).to_vec();
    for (name, bytes) in [("weights", weights(step)), ("manifest", manifest)] {
        let mut file = OutFile::create(&partial.join(name)).unwrap();
        file.write_all(&bytes).unwrap();
        if without == Without::SyncOfFiles { file.flush().unwrap() } else { file.finish().unwrap() }
    }
    if without != Without::SyncOfTheFolder {
        sync_dir(&partial).unwrap();
    }
    rename(&partial, &path).unwrap();
    if without != Without::SyncOfTheParent {
        sync_dir(root).unwrap();
    }
    write_atomic(&root.join("LATEST"), step.to_string().as_bytes()).unwrap();
    let Some(before) = step.checked_sub(1) else { return };
    let (old, trash) = (root.join(format!("checkpoint-{before}")), root.join(".trash"));
    if without == Without::RenamingWhatGoes {
        return remove_dir_all(&old).unwrap();
    }
    rename(&old, &trash).unwrap();
    sync_dir(root).unwrap();
    remove_dir_all(&trash).unwrap();
}

/// What a checkpoint folder is: not there, whole, or something else.
fn state_of(root: &Path, step: usize) -> Result<bool, String> {
    let path = root.join(format!("checkpoint-{step}"));
    let (content, manifest) = (std::fs::read(path.join("weights")), std::fs::read(path.join("manifest")));
    match (path.exists(), content, manifest) {
        (false, ..) => Ok(false),
        (true, Ok(content), Ok(manifest))
            if content == weights(step) && manifest == Sha256::digest(&content).as_slice() =>
        {
            Ok(true)
        }
        _ => Err(format!("checkpoint-{step} is broken")),
    }
}

/// No broken checkpoint under its name, the acknowledged one or a newer one is there, and `LATEST` names one.
fn checkpoints_are_whole(root: &Path, acknowledged: usize) -> Result<(), String> {
    let found: Vec<usize> = (0..=3)
        .filter_map(|step| state_of(root, step).map(|whole| whole.then_some(step)).transpose())
        .collect::<Result<_, _>>()?;
    let newest = *found.last().ok_or("no valid checkpoint")?;
    if newest < acknowledged {
        return Err(format!("checkpoint {newest}, though {acknowledged} was acknowledged"));
    }
    let latest = std::fs::read_to_string(root.join("LATEST")).map_err(|e| e.to_string())?;
    if !found.iter().any(|step| step.to_string() == latest) {
        return Err(format!("LATEST names {latest:?}, of {found:?}"));
    }
    Ok(())
}

fn first_checkpoint(root: &Path) {
    commit(root, 0, Without::Nothing);
}

#[test]
fn commit_latest_and_deletion_together_always_leave_the_acknowledged_checkpoint() {
    let protocol = |root: &Path| commit_three(root, Without::Nothing);
    prove("commit, LATEST, delete (model)", first_checkpoint, protocol, &checkpoints_are_whole);
}

#[test]
fn each_part_of_the_commit_protocol_is_needed() {
    for (without, what) in [
        (Without::SyncOfFiles, "is broken"),
        (Without::SyncOfTheFolder, "is broken"),
        (Without::SyncOfTheParent, "LATEST names"),
        (Without::RenamingWhatGoes, "is broken"),
    ] {
        let found = survives(first_checkpoint, |root| commit_three(root, without), &checkpoints_are_whole);
        let found = found.expect_err(what);
        assert!(found.contains(what), "{what}: {found}");
    }
}

/// Weights of 2,000 bytes, different for each step.
fn adapter(step: u64) -> Vec<u8> {
    let data: Vec<u8> = (0..500u64).flat_map(|i| ((step * 1000 + i) as f32).to_le_bytes()).collect();
    safetensors::serialize([("w", TensorView::new(Dtype::F32, vec![500], &data).unwrap())], None).unwrap()
}

fn save(dir: &RunDir, step: u64) {
    let write = |folder: &Path| {
        write_atomic(&folder.join("adapter_model.safetensors"), &adapter(step))?;
        TrainerState { global_step: step, ..Default::default() }.write(&folder.join(RunDir::TRAINER_STATE))?;
        Ok(())
    };
    checkpoints::commit(dir, About { step, ..Default::default() }, write).unwrap();
}

fn run(root: &Path) -> RunDir {
    RunDir::open(root).unwrap()
}

fn save_first(root: &Path) {
    save(&run(root), 1);
}

/// A resume finds the acknowledged checkpoint (1 is there before the recording begins), or a newer one, with its weights.
fn can_be_resumed(root: &Path, acknowledged: usize) -> Result<(), String> {
    let (newest, skipped) = checkpoints::newest_complete(&run(root)).map_err(|e| e.to_string())?;
    let newest = newest.ok_or_else(|| format!("no valid checkpoint: {skipped:?}"))?;
    if newest.step < 1 + acknowledged as u64 {
        return Err(format!("checkpoint {} after {acknowledged} more: {skipped:?}", newest.step));
    }
    match std::fs::read(newest.path.join("adapter_model.safetensors")) {
        Ok(bytes) if bytes == adapter(newest.step) => Ok(()),
        _ => Err(format!("checkpoint {} has other weights", newest.step)),
    }
}

#[test]
#[ignore = "runs::checkpoints::commit is still to come"]
fn an_acknowledged_checkpoint_of_a_run_survives_a_power_cut() {
    let protocol = |root: &Path| {
        for step in 2..=3 {
            save(&run(root), step);
            acknowledge();
        }
    };
    prove("checkpoints::commit", save_first, protocol, &can_be_resumed);
}

#[test]
#[ignore = "runs::checkpoints::retain is still to come"]
fn deleting_old_checkpoints_never_costs_the_newest() {
    let setup = |root: &Path| (1..=4).for_each(|step| save(&run(root), step));
    let protocol = |root: &Path| {
        (0..3).for_each(|_| acknowledge());
        checkpoints::retain(&run(root), Keep { last: Some(2), best: None }).unwrap();
    };
    prove("checkpoints::retain", setup, protocol, &can_be_resumed);
}

#[test]
#[ignore = "runs::checkpoints::pin is still to come"]
fn pins_are_old_or_new_after_a_power_cut() {
    let setup = |root: &Path| (1..=3).for_each(|step| save(&run(root), step));
    let protocol = |root: &Path| {
        for step in 1..=3 {
            checkpoints::pin(&run(root), step, Some("a label"), true).unwrap();
            acknowledge();
        }
    };
    let check = |root: &Path, acknowledged: usize| {
        let pins: Vec<u64> = checkpoints::pins(&run(root)).map_err(|e| e.to_string())?.into_keys().collect();
        let expected = |n: usize| (1..=n as u64).collect::<Vec<_>>();
        if (acknowledged..=3).any(|n| pins == expected(n)) { Ok(()) } else { Err(format!("the pins are {pins:?}")) }
    };
    prove("checkpoints::pin", setup, protocol, &check);
}
