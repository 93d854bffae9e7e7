//! `lightbox data check`

use super::options::{EncodeOptionArgs, RangeArgs, SourceArgs};
use crate::cli::progress::Progress;
use crate::cli::table::table;
use anyhow::Result;
use clap::Args;
use lightbox_core::data::{CheckReport, check};
use lightbox_core::exit::Exit;
use lightbox_core::safe_text::clean_line;
use std::io::Write;
use std::path::PathBuf;

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
    let mut progress = Progress::new("checking");
    let report = check(&dataset, args.range.of(dataset.len()), encoder.as_ref(), &mut |step| progress.step(&step));
    let seconds = progress.finish();
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut out, &report)?;
        writeln!(out)?;
    } else {
        human(&mut out, &report, &args, seconds)?;
    }
    Ok(if report.problems.is_empty() { Exit::Finished } else { Exit::Data })
}

fn human(out: &mut impl Write, report: &CheckReport, args: &CheckArgs, seconds: f64) -> std::io::Result<()> {
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
    writeln!(out, "\nMend these, or train with `on_bad_sample: skip`, which leaves them out and says so.")
}
