//! `lightbox data check`

use super::options::{EncodeOptionArgs, RangeArgs, SourceArgs};
use super::select::{default_name, watch};
use super::unfinished;
use crate::cli::progress::Progress;
use crate::cli::runs::words::size;
use crate::cli::table::table;
use anyhow::Result;
use clap::Args;
use lightbox_core::data::select::{FixOptions, FixReport, Remove, fix};
use lightbox_core::data::{CheckReport, Step, check};
use lightbox_core::exit::Exit;
use lightbox_core::safe_text::{clean, clean_line};
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct CheckArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    range: RangeArgs,
    /// Model folder: also check that every sample fits into cutoff_len
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    #[command(flatten)]
    encode: EncodeOptionArgs,
    /// Write a copy of the good samples into --out, registered in its dataset_info.json, and NAME.problems.jsonl, which says of
    /// the others what is wrong. Samples with warnings stay, unless they are named: --fix=warnings, --fix=duplicate,image_tiny
    #[arg(long, value_name = "KIND", value_delimiter = ',', num_args = 0..=1, default_missing_value = "problems", require_equals = true, requires = "out")]
    fix: Vec<String>,
    /// The dataset_dir to be, for --fix
    #[arg(long, value_name = "DIR", requires = "fix")]
    out: Option<PathBuf>,
    /// The copy's name [default: that of the data set, or `selected` for several]
    #[arg(long, requires = "fix")]
    name: Option<String>,
    /// Replace an earlier copy of that name
    #[arg(long, requires = "fix")]
    overwrite: bool,
    /// List at most N problems (all are counted)
    #[arg(long, value_name = "N", default_value_t = 20)]
    show: usize,
    /// One JSON object with all problems (100,000 in full, the others counted)
    #[arg(long)]
    json: bool,
}

pub fn run(args: CheckArgs) -> Result<Exit> {
    let dataset = args.source.open()?;
    let model = args.model.as_deref().map(|dir| args.encode.load(dir)).transpose()?;
    let encoder = model.as_ref().map(|model| model.encoder());
    let range = args.range.of(dataset.len());
    let mut journal = unfinished::journal("check", &dataset, encoder.as_ref(), &format!("{range:?}"));
    let mut progress = Progress::new("checking")?;
    let (report, fixed) = match &args.out {
        Some(out) => {
            let options = FixOptions {
                out: out.clone(),
                name: args.name.clone().unwrap_or_else(|| default_name(&args.source.names())),
                remove: Remove::parse(&args.fix)?,
                overwrite: args.overwrite,
            };
            match fix(&dataset, range, encoder.as_ref(), &options, journal.as_mut(), &mut watch(&mut progress))? {
                Some((report, fixed)) => (report, Some(fixed)),
                None => return unfinished::stopped(journal.as_ref()),
            }
        }
        None => {
            let watch = &mut |step: Step<'_>| progress.step(&step);
            (check(&dataset, range, encoder.as_ref(), journal.as_mut(), watch), None)
        }
    };
    let seconds = progress.finish();
    if !report.complete {
        return unfinished::stopped(journal.as_ref());
    }
    unfinished::done(journal)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        let mut summary = serde_json::to_value(&report)?;
        if let Some(fixed) = &fixed {
            summary["fixed"] = serde_json::to_value(fixed)?;
        }
        writeln!(out, "{summary}")?;
    } else {
        human(&mut out, &report, &args, fixed.is_some(), seconds)?;
        if let (Some(fixed), Some(folder)) = (&fixed, &args.out) {
            copied(&mut out, fixed, folder)?;
        }
    }
    // With a copy the problems are dealt with.
    Ok(if report.problems.is_empty() || fixed.is_some() { Exit::Finished } else { Exit::Data })
}

fn copied(out: &mut impl Write, fixed: &FixReport, folder: &Path) -> std::io::Result<()> {
    let path = |p: &Path| clean(&p.display().to_string());
    let FixReport { written, dataset_info, removed, problems_file } = fixed;
    writeln!(out, "\ncopied    {} samples to {} ({})", written.rows, path(&written.path), size(written.bytes))?;
    writeln!(out, "left out  {removed} samples")?;
    writeln!(out, "problems  {}", path(problems_file))?;
    let name = clean(&written.name);
    writeln!(out, "entry     \"{name}\" in {}", path(dataset_info))?;
    writeln!(out, "\nNext: lightbox data stats {name} --dataset-dir {}", path(folder))
}

fn human(
    out: &mut impl Write,
    report: &CheckReport,
    args: &CheckArgs,
    is_fixed: bool,
    seconds: f64,
) -> std::io::Result<()> {
    writeln!(
        out,
        "{} samples and {} pictures read in {seconds:.1} s: {} samples are good, {} are not",
        report.samples,
        report.pictures,
        report.good,
        report.samples - report.good
    )?;
    if !report.warnings.is_empty() {
        let kinds: Vec<Vec<String>> =
            report.warnings.iter().map(|(kind, n)| vec![(*kind).to_owned(), n.to_string()]).collect();
        write!(out, "\n{}", table(&["warning", "count#"], &kinds))?;
        for warning in report.warned.iter().take(args.show.min(3)) {
            writeln!(out, "sample {}, {}", warning.index, clean_line(&warning.to_string(), 400))?;
        }
        writeln!(out)?;
    }
    if report.problems.is_empty() {
        return match args.model {
            Some(_) => writeln!(out, "Nothing is wrong, and every sample fits into {} tokens.", args.encode.cutoff_len),
            None => writeln!(
                out,
                "Nothing is wrong. With --model DIR it is also checked that every sample fits into cutoff_len."
            ),
        };
    }
    let kinds: Vec<Vec<String>> =
        report.by_kind.iter().map(|(kind, n)| vec![(*kind).to_owned(), n.to_string()]).collect();
    write!(out, "\n{}\n", table(&["problem", "count#"], &kinds))?;
    for problem in report.problems.iter().take(args.show) {
        writeln!(out, "sample {}, {}", problem.index, clean_line(&problem.to_string(), 400))?;
    }
    let all: usize = report.by_kind.values().sum();
    let listed = report.problems.len().min(args.show);
    if all > listed {
        writeln!(out, "… and {} more; --show {all} lists them all, --json as JSON", all - listed)?;
    }
    if is_fixed {
        return Ok(());
    }
    writeln!(
        out,
        "\nMend these, train with `on_bad_sample: skip`, which leaves them out and says so, or write a copy without them: --fix --out DIR"
    )
}
