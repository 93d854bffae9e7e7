//! `lightbox export`: a model or adapter folder for others to load. What is done is in [`crate::export`]; here are its words.

use crate::export::adapter::AdapterPlan;
use crate::export::staging::Staging;
use crate::export::verify::{Report, verify, verify_adapter};
use crate::export::{Plan, Source, card, check_room};
use anyhow::{Result, anyhow};
use lightbox_core::args::{ExportArgs, ResolvedModel};
use lightbox_core::exit::{self, Because, Exit};
use lightbox_core::fs;
use lightbox_core::safe_text::{clean, clean_line};
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub fn run(args: &ExportArgs) -> Result<Exit> {
    let resolved = args.resolve().because(Exit::Config)?;
    let weights = args.weights(resolved.adapters.len()).because(Exit::Config)?;
    let adapters: Vec<Source> =
        resolved.adapters.iter().zip(weights).map(|(dir, weight)| Source { dir: dir.clone(), weight }).collect();
    let stop = super::stop_flag()?;
    let told = Told { json: args.json, total: 0, next: Instant::now(), what: String::new(), stop };
    if args.adapter_only {
        adapter_folder(args, &resolved, &adapters, told)
    } else {
        model_folder(args, &resolved, &adapters, told)
    }
}

fn model_folder(args: &ExportArgs, resolved: &ResolvedModel, adapters: &[Source], mut told: Told) -> Result<Exit> {
    let plan =
        Plan::new(&resolved.model, adapters, super::kind(resolved.dtype), args.shard_size).because(Exit::Model)?;
    if let Some(first) = plan.left_out.first() {
        let n = plan.left_out.len();
        eprintln!(
            "warning: {n} tensors of the base are no part of a Qwen2-VL and are left out ({}, …)",
            clean_line(first, 80)
        );
    }
    let staging = open(args, resolved)?;
    plan.check_room(staging.dir())?;
    told.total = plan.bytes();
    plan.write(staging.dir(), &mut |done, file| told.progress(done, file)).map_err(with_code)?;
    card::write(staging.dir(), &name(&args.out), &resolved.model, adapters, false, plan.kind).map_err(with_code)?;
    let report = match args.verify {
        true => Some(
            verify(&resolved.model, adapters, staging.dir(), plan.kind, &mut |what| told.progress(plan.bytes(), what))
                .map_err(failed_verification)?,
        ),
        false => None,
    };
    let dir = staging.commit().map_err(with_code)?;
    told.done(&dir, plan.bytes(), plan.tensors(), plan.merged(), report.as_ref())?;
    Ok(Exit::Finished)
}

fn adapter_folder(args: &ExportArgs, resolved: &ResolvedModel, adapters: &[Source], mut told: Told) -> Result<Exit> {
    let plan = AdapterPlan::new(&resolved.model, adapters, super::kind(resolved.dtype), args.key_names)
        .because(Exit::Model)?;
    let staging = open(args, resolved)?;
    check_room(staging.dir(), plan.bytes())?;
    told.total = plan.bytes();
    told.progress(0, "adapter_model.safetensors")?;
    plan.write(staging.dir()).map_err(with_code)?;
    card::write(staging.dir(), &name(&args.out), &resolved.model, adapters, true, plan.kind).map_err(with_code)?;
    told.progress(plan.bytes(), "adapter_model.safetensors")?;
    let report = match args.verify {
        true => Some(
            verify_adapter(&resolved.model, adapters, staging.dir(), &plan, &mut |what| {
                told.progress(plan.bytes(), what)
            })
            .map_err(failed_verification)?,
        ),
        false => None,
    };
    let dir = staging.commit().map_err(with_code)?;
    told.done(&dir, plan.bytes(), plan.tensors(), 0, report.as_ref())?;
    Ok(Exit::Finished)
}

fn open(args: &ExportArgs, resolved: &ResolvedModel) -> Result<Staging> {
    let sources: Vec<&Path> =
        std::iter::once(&resolved.model).chain(&resolved.adapters).map(std::path::PathBuf::as_path).collect();
    Staging::open(&args.out, args.overwrite, &sources)
}

fn name(out: &Path) -> String {
    out.file_name().unwrap_or(out.as_os_str()).to_string_lossy().into_owned()
}

fn failed_verification(error: anyhow::Error) -> anyhow::Error {
    // Stopped, or out of memory: that says nothing about the folder.
    if !matches!(exit::code(&error), Exit::Failed | Exit::Model) {
        return error;
    }
    exit::coded(error.context("the new folder failed its verification and was removed"), Exit::Model)
}

/// What has no code yet: of the disk, or of the weights.
fn with_code(error: anyhow::Error) -> anyhow::Error {
    if exit::code(&error) != Exit::Failed {
        return error;
    }
    let io = exit::causes(&error).find_map(|cause| cause.downcast_ref::<std::io::Error>());
    if io.is_some_and(fs::is_full) {
        let what_next = "free some space, or set --out to another disk; nothing was left behind";
        return super::disk_or(error.context(what_next), Exit::Model);
    }
    super::disk_or(error, Exit::Model)
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

    fn done(&self, dir: &Path, bytes: u64, tensors: usize, merged: usize, report: Option<&Report>) -> Result<()> {
        let mut out = std::io::stdout().lock();
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
