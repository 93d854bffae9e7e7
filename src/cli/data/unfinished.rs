//! A long pass over samples that is stopped, and goes on with the same command.

use anyhow::{Result, anyhow};
use lightbox_core::data::{Dataset, Encoder, Journal};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::runs::say::say;

/// What an earlier `lightbox data WHAT` of the same kind has found, if it was stopped. `None` where nothing can be kept,
/// which is said.
pub fn journal(what: &str, dataset: &Dataset, encoder: Option<&Encoder<'_>>, how: &str) -> Option<Journal> {
    match Journal::of_command(what, &Journal::key(what, dataset, encoder, how)) {
        Ok(journal) => {
            if journal.kept() > 0 {
                say(&format!("going on behind {} samples that were read before", journal.kept()));
            }
            Some(journal)
        }
        Err(e) => {
            warn(&e);
            None
        }
    }
}

/// The pass is through: it would begin anew.
pub fn done(journal: Option<Journal>) -> Result<()> {
    let Some(journal) = journal else { return Ok(()) };
    if let Some(fault) = journal.fault() {
        warn(fault);
    }
    Ok(journal.remove()?)
}

/// The error of a pass that was stopped.
pub fn stopped<T>(journal: Option<&Journal>) -> Result<T> {
    let kept = journal.filter(|journal| journal.fault().is_none()).map_or(0, Journal::kept);
    let what = match kept {
        0 => "stopped; nothing was written".to_owned(),
        n => format!(
            "stopped; nothing was written, but what was found out about {n} samples is kept: the same command goes on behind them"
        ),
    };
    Err(anyhow!(what)).because(Exit::Stopped)
}

fn warn(e: &std::io::Error) {
    say(&format!("warning: what is found cannot be kept ({e}); if this is stopped, it begins anew"));
}
