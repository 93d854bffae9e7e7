//! `lightbox export`: a model folder for others to load. What is done is in [`crate::export`]; here are its words.

use crate::export::Plan;
use crate::export::staging::Staging;
use crate::export::verify::{Report, verify};
use anyhow::{Result, anyhow};
use lightbox_core::args::{ExportArgs, ResolvedModel};
use lightbox_core::exit::{self, Because, Exit};
use lightbox_core::fs;
use lightbox_core::safe_text::{clean, clean_line};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub fn run(args: &ExportArgs) -> Result<Exit> {
    let resolved = args.resolve().because(Exit::Config)?;
    let stop = stop_flag()?;
    let plan = Plan::new(&resolved.model, &resolved.adapters, super::kind(resolved.dtype), args.shard_size)
        .because(Exit::Model)?;
    if let Some(first) = plan.left_out.first() {
        let n = plan.left_out.len();
        eprintln!(
            "warning: {n} tensors of the base are no part of a Qwen2-VL and are left out ({}, …)",
            clean_line(first, 80)
        );
    }
    let sources: Vec<&Path> =
        std::iter::once(&resolved.model).chain(&resolved.adapters).map(std::path::PathBuf::as_path).collect();
    let staging = Staging::open(&args.out, args.overwrite, &sources)?;
    plan.check_room(staging.dir())?;

    let mut told = Told { json: args.json, total: plan.bytes(), next: Instant::now(), what: String::new(), stop };
    plan.write(staging.dir(), &mut |done, file| told.progress(done, file)).map_err(with_code)?;
    let report = if args.verify { Some(check(&resolved, &plan, &staging, &mut told)?) } else { None };
    let dir = staging.commit().map_err(with_code)?;
    told.done(&dir, &plan, report.as_ref())?;
    Ok(Exit::Finished)
}

fn check(resolved: &ResolvedModel, plan: &Plan, staging: &Staging, told: &mut Told) -> Result<Report> {
    let total = plan.bytes();
    let dir = staging.dir();
    verify(&resolved.model, &resolved.adapters, dir, plan.kind, &mut |what| told.progress(total, what)).map_err(
        |error| {
            // Stopped, or out of memory: that says nothing about the folder.
            if !matches!(exit::code(&error), Exit::Failed | Exit::Model) {
                return error;
            }
            let error = error.context("the new folder failed its verification and was removed");
            Err::<(), _>(error).because(Exit::Model).unwrap_err()
        },
    )
}

/// Set by Ctrl-C or SIGTERM: the partial folder is removed before the program ends. A second one ends it at once.
fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}

/// What went wrong with files is the disk's; anything else has to do with the weights.
fn with_code(error: anyhow::Error) -> anyhow::Error {
    if exit::code(&error) != Exit::Failed {
        return error;
    }
    let io =
        |error: &anyhow::Error| exit::causes(error).find_map(|c| c.downcast_ref::<std::io::Error>().map(fs::is_full));
    let coded = |error: anyhow::Error, exit| Err::<(), _>(error).because(exit).unwrap_err();
    match io(&error) {
        Some(true) => {
            coded(error.context("free some space, or set --out to another disk; nothing was left behind"), Exit::Disk)
        }
        Some(false) => coded(error, Exit::Disk),
        None => coded(error, Exit::Model),
    }
}

/// What is said while it goes on.
struct Told {
    json: bool,
    total: u64,
    /// Not before this: a reader gets at most ten lines a second.
    next: Instant,
    what: String,
    stop: Arc<AtomicBool>,
}

impl Told {
    /// # Errors
    /// [`Exit::Stopped`]: a signal came.
    fn progress(&mut self, done: u64, what: &str) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(anyhow!("stopped; nothing was written")).because(Exit::Stopped);
        }
        let new = self.what != what;
        if new {
            self.what = what.to_owned();
        }
        let last = done == self.total && !what.starts_with("verify");
        let mut out = std::io::stdout().lock();
        // A reader that has gone away does not end the work.
        if self.json && (new || last || Instant::now() >= self.next) {
            self.next = Instant::now() + Duration::from_millis(100);
            let line = json!({"event": "progress", "done": done, "total": self.total, "what": what});
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        } else if !self.json && new {
            let _ = writeln!(out, "{what}");
        }
        Ok(())
    }

    fn done(&self, dir: &Path, plan: &Plan, report: Option<&Report>) -> Result<()> {
        let mut out = std::io::stdout().lock();
        let (bytes, tensors, merged) = (plan.bytes(), plan.tensors(), plan.merged());
        if self.json {
            let line = json!({"event": "done", "dir": dir.display().to_string(), "bytes": bytes, "tensors": tensors, "merged": merged, "verify": report});
            writeln!(out, "{line}")?;
            return Ok(());
        }
        let gigabytes = bytes as f64 / 1e9;
        writeln!(
            out,
            "{}: {tensors} tensors, {gigabytes:.3} GB, {merged} matrices merged",
            clean(&dir.display().to_string())
        )?;
        if let Some(r) = report {
            let tokens = if r.tokens_equal { "are the same" } else { "differ, by rounding alone" };
            writeln!(
                out,
                "verified: logits differ by at most {:.2e} of {:.2} (rounding alone: {:.2e}); {} greedy tokens of {} answers {tokens}",
                r.max_abs_diff, r.max_logit, r.rounding, r.tokens, r.questions
            )?;
        }
        Ok(())
    }
}
