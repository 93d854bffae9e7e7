//! `lightbox evaluate`: several models on one data set. The worker answers, into files; the report is made here from them.

use super::{report, worker};
use anyhow::Result;
use lightbox_core::args::EvaluateArgs;
use lightbox_core::data::{Dataset, DatasetOptions};
use lightbox_core::exit::{Because, Exit};
use std::path::PathBuf;
use std::process::ExitCode;

pub fn run(args: &EvaluateArgs) -> Result<ExitCode> {
    let variants = args.variants().because(Exit::Usage)?;
    let resolved = args.model.resolve().because(Exit::Config)?;
    let profile = args.data.over(resolved.profile.as_ref()).because(Exit::Config)?;
    // Wrong classes are said now, not after an hour of answers.
    args.report
        .classes
        .as_deref()
        .map(lightbox_core::evaluate::classes::Classes::load)
        .transpose()
        .because(Exit::Config)?;
    let ended = worker::pass_on()?;
    if ended != ExitCode::SUCCESS {
        return Ok(ended);
    }
    let dataset = Dataset::open(&DatasetOptions::of(&profile, &profile.dataset)).because(Exit::Data)?;
    let named: Vec<(String, PathBuf)> = variants.iter().map(|v| (v.name.clone(), v.file(&args.output_dir))).collect();
    let exit = report::make(&named, &args.report, &args.output_dir, args.work.json, &mut |sample| match dataset
        .get(sample.index)
    {
        Ok(sample) => sample.images.iter().map(report::read).collect(),
        Err(problem) => vec![Err(problem.reason)],
    })?;
    Ok(ExitCode::from(exit as u8))
}
