//! `lightbox data pack`

use super::print_summary;
use crate::cli::progress::Progress;
use crate::cli::runs::words::size;
use anyhow::{Result, anyhow};
use clap::Args;
use lightbox_core::args::parse_size;
use lightbox_core::data::pack::{self, PackOptions, PackReport};
use lightbox_core::data::table::parquet_files;
use lightbox_core::exit::{Because, Exit};
use lightbox_core::safe_text::clean;
use std::io::Write;
use std::path::{Path, PathBuf};

/// MedTrinity-25M's 25M_full comes so: captions in parquet, pictures in archives that can only be read from their beginning.
/// Packed it is laid out as its 25M_demo is, and can be browsed, checked, converted and trained from. Each archive is read
/// once. After Ctrl-C or a crash the same command goes on behind the last whole shard, and makes the same files.
#[derive(Args)]
pub struct PackArgs {
    /// Parquet files with the rows, folders of them, or patterns with *
    #[arg(value_name = "ROWS", required = true)]
    rows: Vec<String>,
    /// Archives of pictures (.tar, .tar.zst, .tar.gz), folders of them, or patterns with *
    #[arg(long, value_name = "TAR", required = true, num_args = 1..)]
    archives: Vec<String>,
    /// Folder for the new parquet files
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Column with the pictures' file names; folders in them do not count [default: file_name, or another usual name]
    #[arg(long, value_name = "COLUMN")]
    name_column: Option<String>,
    /// About how large a file gets
    #[arg(long, value_name = "SIZE", default_value = "500MB", value_parser = parse_size)]
    shard_size: u64,
    /// Replace what was packed into the folder from other files or with other options
    #[arg(long)]
    overwrite: bool,
    /// The closing summary as one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: PackArgs) -> Result<Exit> {
    let options = PackOptions {
        rows: parquet_files(&args.rows)?,
        archives: pack::archives(&args.archives)?,
        out: args.out,
        name_column: args.name_column,
        shard_bytes: args.shard_size,
        overwrite: args.overwrite,
    };
    let mut progress = Progress::new("MB of archives read")?;
    let report = pack::pack(&options, &mut |done, total| progress.set((done >> 20) as usize, (total >> 20) as usize));
    let seconds = progress.finish();
    let Some(report) = report? else {
        return Err(anyhow!("stopped; whole shards are kept, and the same command goes on behind them"))
            .because(Exit::Stopped);
    };
    if args.json {
        print_summary(&report, seconds)?;
    } else {
        human(&mut std::io::stdout().lock(), &report, &options.out, seconds)?;
    }
    Ok(if report.problems.is_empty() { Exit::Finished } else { Exit::Data })
}

fn human(out: &mut impl Write, r: &PackReport, folder: &Path, seconds: f64) -> std::io::Result<()> {
    let path = |p: &Path| clean(&p.display().to_string());
    let earlier = match r.continued_at {
        0 => String::new(),
        n => format!(", {n} shards were made before"),
    };
    let percent = 100.0 * r.packed as f64 / r.rows.max(1) as f64;
    let (rows, packed, bytes, shards) = (r.rows, r.packed, size(r.image_bytes), r.shards.len());
    writeln!(
        out,
        "packed    {packed} of {rows} rows ({percent:.1} %), {bytes} of pictures, in {seconds:.1} s{earlier}"
    )?;
    writeln!(out, "missing   {} rows found no picture", rows - packed)?;
    if r.unnamed + r.repeated > 0 {
        writeln!(out, "unused    {} files that no row names, {} that came again", r.unnamed, r.repeated)?;
    }
    if !r.problems.is_empty() {
        let kinds: Vec<String> = r.problems.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
        writeln!(out, "left out  {}", kinds.join(", "))?;
    }
    if !r.columns_left_out.is_empty() {
        writeln!(out, "columns   without {}: they hold no text", clean(&r.columns_left_out.join(", ")))?;
    }
    writeln!(out, "data      {shards} files in {}", path(folder))?;
    if let Some(problems) = &r.problems_file {
        writeln!(out, "problems  {}", path(problems))?;
    }
    writeln!(out, "\nNext: lightbox data show {} --index 0", path(folder))
}
