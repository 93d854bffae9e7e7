//! The protocols of checkpoints: commit, `LATEST`, deletion, pins.
use super::*;
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
    let (old, trash) = (root.join(format!("checkpoint-{}", step - 1)), root.join(".trash"));
    if without == Without::RenamingWhatGoes {
        return remove_dir_all(&old).unwrap();
    }
    if old.exists() {
        rename(&old, &trash).unwrap();
        sync_dir(root).unwrap();
        remove_dir_all(&trash).unwrap();
    }
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
    commit(root, 0, Without::RenamingWhatGoes);
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
