//! `lightbox data stats`

use super::options::{EncodeOptionArgs, RangeArgs, SourceArgs};
use super::unfinished;
use crate::cli::progress::Progress;
use crate::cli::table::table;
use anyhow::{Context, Result};
use clap::Args;
use lightbox_core::data::stats::Summary;
use lightbox_core::data::stats::picture::{Format, picture};
use lightbox_core::data::{Stats, stats};
use lightbox_core::exit::Exit;
use lightbox_core::fs::write_atomic;
use lightbox_core::safe_text::{clean, clean_line};
use std::io::Write;
use std::path::PathBuf;

#[derive(Args)]
pub struct StatsArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    range: RangeArgs,
    /// Model folder, for lengths in tokens
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    #[command(flatten)]
    encode: EncodeOptionArgs,
    /// Draw histograms of lengths, picture tokens and picture sizes into a .png or .svg file
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: StatsArgs) -> Result<Exit> {
    // Before an hour of measuring.
    let format = args.picture.as_deref().map(Format::of).transpose()?;
    let dataset = args.source.open()?;
    let model = args.model.as_deref().map(|dir| args.encode.load(dir)).transpose()?;
    let encoder = model.as_ref().map(|model| model.encoder());
    let range = args.range.of(dataset.len());
    let mut journal = unfinished::journal("stats", &dataset, encoder.as_ref(), &format!("{range:?}"));
    let mut progress = Progress::new("measuring")?;
    let found = stats(&dataset, range, encoder.as_ref(), journal.as_mut(), &mut |step| progress.step(&step));
    progress.finish();
    if !found.complete {
        return unfinished::stopped(journal.as_ref());
    }
    unfinished::done(journal)?;
    if let (Some(path), Some(format)) = (&args.picture, format) {
        let title = clean_line(&args.source.names().join(", "), 300);
        let drawn = picture(&found, &title, args.encode.cutoff_len, format)?;
        write_atomic(path, &drawn).with_context(|| format!("writing {}", path.display()))?;
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut out, &found)?;
        writeln!(out)?;
    } else {
        human(&mut out, &found, &args)?;
        if let Some(path) = &args.picture {
            writeln!(out, "\npicture   {}", clean(&path.display().to_string()))?;
        }
    }
    Ok(Exit::Finished)
}

fn human(out: &mut impl Write, s: &Stats, args: &StatsArgs) -> std::io::Result<()> {
    writeln!(out, "{} samples, {} of them text only, {} cannot be used\n", s.samples, s.text_only, s.samples - s.good)?;
    let rows: Vec<Vec<String>> = [
        ("tokens", &s.tokens),
        ("picture tokens", &s.picture_tokens),
        ("label tokens", &s.label_tokens),
        ("turns", &s.turns),
        ("pictures", &s.images_per_sample),
        ("picture width", &s.image_width),
        ("picture height", &s.image_height),
        ("answer characters", &s.answer_characters),
    ]
    .into_iter()
    .filter_map(|(name, summary)| Some(row(name, summary.as_ref()?)))
    .collect();
    write!(out, "{}", table(&["", "min#", "median#", "p90#", "p99#", "max#", "mean#"], &rows))?;
    if let Some(tokens) = s.tokens.as_ref().or(s.answer_characters.as_ref()) {
        let what = if s.tokens.is_some() { "tokens" } else { "answer characters" };
        write!(out, "\n{what}\n{}", histogram(tokens))?;
    }
    if let Some(truncated) = s.truncated {
        let too_long = s.problems.get("too_long").copied().unwrap_or(0);
        writeln!(
            out,
            "\ncutoff_len {}: {truncated} samples lose text, {too_long} are left out because a picture would be cut",
            args.encode.cutoff_len
        )?;
    } else {
        writeln!(out, "\nWith --model DIR: lengths in tokens, and how many samples exceed cutoff_len.")?;
    }
    if !s.problems.is_empty() {
        let kinds: Vec<Vec<String>> =
            s.problems.iter().map(|(kind, n)| vec![(*kind).to_owned(), n.to_string()]).collect();
        write!(out, "\n{}", table(&["problem", "count#"], &kinds))?;
        writeln!(out, "\nNext: lightbox data check says which samples these are.")?;
    }
    Ok(())
}

fn row(name: &str, s: &Summary) -> Vec<String> {
    let numbers = [s.min, s.median, s.p90, s.p99, s.max].map(|n| n.to_string());
    std::iter::once(name.to_owned()).chain(numbers).chain([format!("{:.1}", s.mean)]).collect()
}

/// Bars of `#`, the longest 50 wide.
fn histogram(s: &Summary) -> String {
    let most = s.histogram.iter().copied().max().unwrap_or(0).max(1);
    let rows: Vec<Vec<String>> = s
        .histogram
        .iter()
        .enumerate()
        .map(|(i, &count)| {
            let (first, last) = s.range(i);
            vec![format!("{first}-{last}"), count.to_string(), "#".repeat((count * 50).div_ceil(most))]
        })
        .collect();
    table(&["range#", "samples#", ""], &rows)
}
