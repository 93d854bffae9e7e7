//! `lightbox data select`

use super::options::SourceArgs;
use super::{print_summary, unfinished};
use crate::cli::progress::Progress;
use crate::cli::runs::words::size;
use crate::cli::table::table;
use anyhow::Result;
use clap::{Args, ValueEnum};
use lightbox_core::data::query::Query;
use lightbox_core::data::select::{
    Grouping, LeftOut, MOST_BITS, Phase, SelectOptions, SelectReport, Split, Twin, select,
};
use lightbox_core::exit::Exit;
use lightbox_core::fs::safe_file_name;
use lightbox_core::safe_text::{clean, clean_line};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// JSON rows keep their bytes (but for the paths of pictures, where another folder asks for it), parquet rows their columns and
/// the bytes of their pictures. Everything appears at its end, or not at all. Queries are those of the workbench: words,
/// "two words", -not, answer:x, pictures:>1, len:>400, column.NAME:value, column.NAME:brats*, column.NAME:20..40
#[derive(Args)]
pub struct SelectArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// The dataset_dir to be: gets the rows and their entry in dataset_info.json. May be the --dataset-dir
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The new data set's name; with --split NAME_PART [default: that of the data set, or `selected` for several]
    #[arg(long)]
    name: Option<String>,
    /// Only rows that fit
    #[arg(long = "where", value_name = "QUERY", allow_hyphen_values = true)]
    query: Option<Query>,
    /// Of equal rows only the first: the whole sample, the same answer, or the same pictures (bytes)
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',', num_args = 0..=1, default_missing_value = "sample", require_equals = true)]
    dedupe: Vec<TwinArg>,
    /// Of rows whose pictures look alike only the first: most of 256 bits of a perceptual hash that may differ, 0 to 31. 8 finds
    /// pictures that were resized or compressed again
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u32).range(0..=i64::from(MOST_BITS)))]
    near: Option<u32>,
    /// Parts and their shares, which add up to 1: train=0.9,val=0.05,test=0.05. Who comes where depends on --seed and on what
    /// the rows are, not on their order
    #[arg(long, value_name = "PART=SHARE,…")]
    split: Option<Split>,
    /// Rows with the same value in this column come into the same part
    #[arg(long, value_name = "COLUMN", requires = "split")]
    group_by: Option<String>,
    /// Rows in whose --group-by column (else id, else names of pictures) this fits the same come into the same part: its first
    /// group in brackets, or all of it
    #[arg(long, value_name = "REGEX", requires = "split")]
    group_regex: Option<String>,
    /// Rows whose pictures look alike come into the same part; bits as for --near, 0 for equal pictures
    #[arg(long, value_name = "BITS", requires = "split", value_parser = clap::value_parser!(u32).range(0..=i64::from(MOST_BITS)))]
    group_near: Option<u32>,
    /// Replace an earlier selection of that name
    #[arg(long)]
    overwrite: bool,
    /// The closing summary as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum TwinArg {
    Sample,
    Answer,
    Picture,
}

impl From<TwinArg> for Twin {
    fn from(arg: TwinArg) -> Self {
        match arg {
            TwinArg::Sample => Self::Sample,
            TwinArg::Answer => Self::Answer,
            TwinArg::Picture => Self::Picture,
        }
    }
}

/// The new name where none is given: that of a single data set, or of its file.
pub fn default_name(names: &[String]) -> String {
    let [name] = names else { return "selected".to_owned() };
    let path = Path::new(name);
    let stem = if path.exists() { path.file_stem().map(|stem| stem.to_string_lossy()) } else { None };
    safe_file_name(stem.as_deref().unwrap_or(name))
}

/// What watches a selection.
pub fn watch(progress: &mut Progress) -> impl FnMut(Phase, usize, usize) -> ControlFlow<()> + '_ {
    |phase, done, total| {
        progress.set_what(if phase == Phase::Reading { "rows read" } else { "rows written" });
        progress.set(done, total)
    }
}

pub fn run(args: SelectArgs) -> Result<Exit> {
    let names = args.source.names();
    let dataset = args.source.open()?;
    let group = (args.group_by.is_some() || args.group_regex.is_some())
        .then_some(Grouping { column: args.group_by, pattern: args.group_regex });
    let options = SelectOptions {
        out: args.out,
        name: args.name.unwrap_or_else(|| default_name(&names)),
        query: args.query,
        dedupe: args.dedupe.into_iter().map(Twin::from).collect(),
        near: args.near,
        split: args.split,
        group,
        group_near: args.group_near,
        seed: args.source.options(names).seed,
        overwrite: args.overwrite,
    };
    let mut journal = unfinished::journal("select", &dataset, None, &options.asked_of_rows());
    let mut progress = Progress::new("rows read")?;
    let report = select(&dataset, &options, journal.as_mut(), &mut watch(&mut progress));
    let seconds = progress.finish();
    let Some(report) = report? else { return unfinished::stopped(journal.as_ref()) };
    unfinished::done(journal)?;
    if args.json {
        print_summary(&report, seconds)?;
    } else {
        human(&mut std::io::stdout().lock(), &report, &options, seconds)?;
    }
    Ok(Exit::Finished)
}

/// What a reason means for the reader.
fn meaning(reason: &str) -> &str {
    match reason {
        "query" => "do not fit --where",
        "same_sample" => "say what an earlier row says, with the same pictures",
        "same_answer" => "have the answer of an earlier row",
        "same_picture" => "have the pictures of an earlier row",
        "similar_picture" => "have pictures that look like those of an earlier row",
        kind => kind,
    }
}

fn human(out: &mut impl Write, r: &SelectReport, o: &SelectOptions, seconds: f64) -> Result<()> {
    let path = |p: &Path| clean(&p.display().to_string());
    writeln!(out, "chosen    {} of {} rows, in {seconds:.1} s", r.chosen, r.read)?;
    for (reason, LeftOut { count, groups, first }) in &r.left_out {
        let like = if groups.is_empty() { String::new() } else { format!(" ({} chosen rows)", groups.len()) };
        writeln!(out, "left out  {count} {}{like}", meaning(reason))?;
        for example in first.iter().filter(|_| *reason != "query") {
            writeln!(out, "          {}", clean_line(&format!("{} {}", example.origin, example.reason), 200))?;
        }
    }
    for (kind, count) in &r.unread_pictures {
        writeln!(out, "pictures  {count} could not be compared: {kind}; their rows count as like no other")?;
    }
    let shares = o.split.as_ref().map(|split| split.parts.as_slice()).unwrap_or_default();
    if let Some(split) = &r.split {
        let rows: Vec<Vec<String>> = r
            .parts
            .iter()
            .zip(&split.groups)
            .zip(shares)
            .map(|((part, groups), (_, share))| {
                let got = part.rows as f64 / r.chosen.max(1) as f64;
                vec![
                    part.name.clone(),
                    part.rows.to_string(),
                    groups.to_string(),
                    format!("{got:.4}"),
                    share.to_string(),
                ]
            })
            .collect();
        write!(out, "\n{}", table(&["part", "rows#", "groups#", "share#", "asked for#"], &rows))?;
        writeln!(out, "largest group: {} rows", split.largest_group)?;
        if split.joined > 0 {
            writeln!(out, "{} groups were put to others, because pictures in them look alike", split.joined)?;
        }
        if o.group.is_some() {
            writeln!(out, "{} rows have no group; each stands for itself", split.without_group)?;
        }
        writeln!(out)?;
    }
    for part in &r.parts {
        writeln!(out, "data      {} ({} rows, {})", path(&part.path), part.rows, size(part.bytes))?;
    }
    if r.paths_changed > 0 {
        writeln!(out, "paths     {} rows lead to their pictures from the new folder", r.paths_changed)?;
    }
    if let Some(from) = &r.paths_from {
        writeln!(out, "paths     pictures that rows name by a path are found with --media-dir {}", path(from))?;
    }
    let Some(first) = r.parts.first() else { return Ok(()) };
    let names: Vec<String> = r.parts.iter().map(|part| format!("\"{}\"", clean(&part.name))).collect();
    writeln!(out, "entry     {} in {}", names.join(", "), path(&r.dataset_info))?;
    writeln!(out, "\nNext: lightbox data check {} --dataset-dir {}", clean(&first.name), path(&o.out))?;
    Ok(())
}
