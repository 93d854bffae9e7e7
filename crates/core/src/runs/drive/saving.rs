//! Checkpoints and the finished adapter on a disk that may be full: during training the run is worth more than one
//! checkpoint and goes on; at the end nothing is worth more than the weights, and it waits.

use super::super::checkpoints::{self, About};
use super::super::report::Report;
use super::super::{RunDir, record::Event};
use super::Trainee;
use crate::exit::{self, Because, Exit};
use crate::fs;
use anyhow::{Context, Result, anyhow};
use std::path::Path;

/// Room beyond the files themselves: logs, names, rounding to blocks.
const MARGIN: u64 = 16 << 20;

/// Writes `checkpoint-STEP`. Returns its bytes.
///
/// # Errors
/// Nothing is left of it, older ones are as they were.
pub fn checkpoint(
    dir: &RunDir,
    trainee: &mut dyn Trainee,
    report: &mut Report,
    about: About,
    finished: bool,
) -> Result<u64> {
    enough_room(dir, trainee.checkpoint_bytes())?;
    checkpoints::commit(dir, about, |to: &Path| {
        trainee.save(to)?;
        report.save(to, finished)
    })
}

/// # Errors
/// A full disk's error, with both numbers.
fn enough_room(dir: &RunDir, bytes: u64) -> Result<()> {
    // A file system that does not say is asked by writing.
    let Ok(space) = fs::space(dir.path()) else { return Ok(()) };
    if space.free_bytes >= bytes {
        return Ok(());
    }
    let full = std::io::Error::from_raw_os_error(libc::ENOSPC);
    Err(full).with_context(|| {
        format!(
            "{} free, {} needed in {}; free {}",
            size(space.free_bytes),
            size(bytes),
            dir.path().display(),
            size(bytes - space.free_bytes)
        )
    })
}

/// Before the first update: a run that cannot save anything is not begun; one that will run out later is warned of.
///
/// # Errors
/// [`Exit::Disk`]: not even one checkpoint and the finished weights fit.
pub fn preflight(dir: &RunDir, one: u64, checkpoints: u64, report: &mut Report) -> Result<()> {
    let least = one.saturating_add(one / 2).saturating_add(MARGIN);
    let Ok(space) = fs::space(dir.path()) else { return Ok(()) };
    let hopeless = if space.free_bytes < least {
        Some(format!("{} free", size(space.free_bytes)))
    } else {
        // What a quota or a thin volume says only when asked for blocks.
        fs::try_reserve(dir.path(), least).err().filter(fs::is_full).map(|e| e.to_string())
    };
    if let Some(found) = hopeless {
        return Err(anyhow!(
            "{}: a checkpoint and the finished weights need {} ({found}), so nothing was trained; free some space, or set output_dir to another disk",
            dir.path().display(),
            size(least)
        ))
        .because(Exit::Disk);
    }
    let all = one.saturating_mul(checkpoints.saturating_add(1)).saturating_add(one / 2);
    if space.free_bytes < all {
        report.warning(
            "disk_space",
            &format!(
                "the run's checkpoints will need {} and {} is free in {}",
                size(all),
                size(space.free_bytes),
                dir.path().display()
            ),
            Some("set save_total_limit, raise save_steps, or free some space; a checkpoint that does not fit is left out, and training goes on"),
        );
    }
    Ok(())
}

/// Says that a checkpoint was not written, and what holds now.
pub fn not_written(dir: &RunDir, step: u64, error: &anyhow::Error, report: &mut Report) {
    let kept = match report.newest_checkpoint() {
        Some(newest) => format!("the newest checkpoint is {newest}"),
        None => "there is no checkpoint yet".to_owned(),
    };
    let text = format!("checkpoint at step {step} was not written: {error:#}. Training goes on; {kept}");
    let hint = format!("when there is room, `lightbox runs checkpoint {}`", dir.path().display());
    report.warning("checkpoint_failed", &text, Some(&hint));
    let path = format!("{}{step}", checkpoints::PREFIX);
    report.event(&Event::CheckpointFailed { step, path, error: format!("{error:#}") });
}

/// The user can mend it, and then it works.
pub fn is_full(error: &anyhow::Error) -> bool {
    exit::causes(error).any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(fs::is_full))
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}
