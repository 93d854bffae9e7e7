//! `lightbox data list`

use super::options::SourceArgs;
use crate::cli::table::table;
use anyhow::Result;
use clap::Args;
use lightbox_core::data::dataset_info::DatasetInfo;
use lightbox_core::data::{Dataset, PartInfo};
use lightbox_core::exit::Exit;
use lightbox_core::safe_text::clean;
use serde::Serialize;
use std::io::Write;

#[derive(Args)]
pub struct ListArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// One JSON list
    #[arg(long)]
    json: bool,
}

/// One line of the list: what a set is, or why it cannot be used.
#[derive(Serialize)]
struct Line {
    name: String,
    #[serde(flatten)]
    info: Option<PartInfo>,
    error: Option<String>,
}

pub fn run(args: ListArgs) -> Result<Exit> {
    let mut names = args.source.names();
    if names.is_empty() {
        names = DatasetInfo::load(&args.source.dataset_dir)?.names().map(str::to_owned).collect();
    }
    let lines: Vec<Line> = names
        .into_iter()
        .map(|name| match Dataset::open(&args.source.options(vec![name.clone()])) {
            Ok(dataset) => Line { name, info: dataset.parts().into_iter().next(), error: None },
            Err(e) => Line { name, info: None, error: Some(format!("{e:#}")) },
        })
        .collect();
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &lines)?;
        writeln!(out)?;
        return Ok(Exit::Finished);
    }
    if lines.is_empty() {
        writeln!(
            out,
            "No data sets. `lightbox data convert FILE.parquet --out {}` makes one.",
            clean(&args.source.dataset_dir.display().to_string())
        )?;
        return Ok(Exit::Finished);
    }
    let rows: Vec<Vec<String>> = lines.iter().filter_map(|line| line.info.as_ref()).map(row).collect();
    if !rows.is_empty() {
        write!(out, "{}", table(&["data set", "layout", "type", "samples#", "rows#", "pictures in", "file"], &rows))?;
    }
    if let [Line { info: Some(info), .. }] = lines.as_slice()
        && info.files.len() > 1
    {
        let files: Vec<Vec<String>> =
            info.files.iter().map(|f| vec![f.path.display().to_string(), f.rows.to_string()]).collect();
        write!(out, "\n{}", table(&["file", "rows#"], &files))?;
    }
    for line in &lines {
        for note in line.info.iter().flat_map(|info| &info.notes) {
            writeln!(out, "\n{}: note: {}", clean(&line.name), clean(note))?;
        }
        if let Some(error) = &line.error {
            writeln!(out, "\n{}: cannot be used: {}", clean(&line.name), clean(error))?;
        }
    }
    if let Some(line) = lines.iter().find(|line| line.info.is_some()) {
        writeln!(out, "\nNext: lightbox data show {}", args.source.again(&line.name))?;
    }
    Ok(Exit::Finished)
}

fn row(info: &PartInfo) -> Vec<String> {
    let file = match info.files.as_slice() {
        [file] => file.path.display().to_string(),
        [first, rest @ ..] => format!("{} and {} more", first.path.display(), rest.len()),
        [] => String::new(),
    };
    vec![
        info.name.clone(),
        info.format.into(),
        info.file_type.into(),
        info.samples.to_string(),
        info.rows.to_string(),
        info.image_column.clone().unwrap_or_else(|| "-".into()),
        file,
    ]
}
