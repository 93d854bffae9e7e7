//! `lightbox data convert`

use super::options::{ColumnArgs, OnBadArg, write_asked};
use super::print_summary;
use crate::cli::progress::Progress;
use anyhow::Result;
use clap::{Args, ValueEnum};
use lightbox_core::data::convert::{DEFAULT_FOLDER, DEFAULT_NAME, Format};
use lightbox_core::data::questions::{DEFAULT_QUESTION, DEFAULT_QUESTION_EN};
use lightbox_core::data::table::parquet_files;
use lightbox_core::data::{ConvertError, ConvertOptions, ConvertReport, convert};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::safe_text::clean;
use std::io::Write;
use std::path::PathBuf;

/// Rows are read and written one by one. An interrupted conversion goes on where it was when the same command is given
/// again, and ends with the same files.
#[derive(Args)]
pub struct ConvertArgs {
    /// Parquet files, folders of them, or patterns with *
    #[arg(value_name = "SRC", required = true)]
    sources: Vec<String>,
    /// The dataset_dir to be: gets dataset_info.json and the folder of pictures
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The data set's name in dataset_info.json
    #[arg(long, default_value = DEFAULT_NAME)]
    name: String,
    /// Folder for pictures and JSON inside --out [default: mllm_data for the name mllm_med, else the name]
    #[arg(long)]
    folder: Option<String>,
    /// One JSON list as in the tutorial, or one row a line
    #[arg(long, value_enum, default_value = "json")]
    format: FormatArg,
    #[command(flatten)]
    columns: ColumnArgs,
    /// The tutorial's question by language, after those of --question [default: zh if there is neither]
    #[arg(long, value_enum, value_delimiter = ',', conflicts_with = "drawn")]
    lang: Vec<Lang>,
    /// Where pictures lie that the parquet only names [default: beside the parquet file]
    #[arg(long, value_name = "DIR")]
    media_dir: Option<PathBuf>,
    /// Rows that cannot be used: listed in a problems file and left out, or a reason to stop
    #[arg(long, value_enum, default_value = "skip")]
    on_bad: OnBadArg,
    /// Decode every picture completely (slower: about 2 ms each)
    #[arg(long)]
    decode: bool,
    /// Only the first N rows
    #[arg(long, value_name = "N")]
    max_samples: Option<usize>,
    /// Replace another conversion in the same folder, or an entry of the same name
    #[arg(long)]
    overwrite: bool,
    /// The closing summary as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatArg {
    Json,
    Jsonl,
}

#[derive(Clone, Copy, ValueEnum)]
enum Lang {
    /// 图片中的诊断结果是怎样？
    Zh,
    /// What is the diagnosis in this picture?
    En,
}

impl Lang {
    fn question(self) -> &'static str {
        match self {
            Self::Zh => DEFAULT_QUESTION,
            Self::En => DEFAULT_QUESTION_EN,
        }
    }
}

pub fn run(args: ConvertArgs) -> Result<Exit> {
    let folder = args
        .folder
        .unwrap_or_else(|| if args.name == DEFAULT_NAME { DEFAULT_FOLDER.to_owned() } else { args.name.clone() });
    let options = ConvertOptions {
        sources: parquet_files(&args.sources)?,
        out: args.out,
        name: args.name,
        folder,
        format: match args.format {
            FormatArg::Json => Format::Json,
            FormatArg::Jsonl => Format::Jsonl,
        },
        columns: args.columns.choice(args.lang.iter().map(|lang| lang.question().to_owned()))?,
        media_dir: args.media_dir,
        on_bad: args.on_bad.into(),
        decode: args.decode,
        max_rows: args.max_samples,
        overwrite: args.overwrite,
    };
    let mut progress = Progress::new("converting")?;
    let result = convert(&options, &mut |step| progress.step(&step));
    let seconds = progress.finish();
    let report = match result {
        Ok(report) => report,
        Err(e @ ConvertError::BadRow(_)) => return Err(e).because(Exit::Data),
        Err(e @ ConvertError::Stopped { .. }) => return Err(e).because(Exit::Stopped),
        Err(ConvertError::Other(e)) => return Err(e),
    };
    if args.json {
        print_summary(&report, seconds)?;
    } else {
        human(&mut std::io::stdout().lock(), &report, &options, seconds)?;
    }
    Ok(Exit::Finished)
}

fn human(out: &mut impl Write, r: &ConvertReport, o: &ConvertOptions, seconds: f64) -> std::io::Result<()> {
    let path = |p: &std::path::Path| clean(&p.display().to_string());
    if r.already_done {
        writeln!(out, "Nothing to do: all {} rows had been converted.", r.rows)?;
    } else {
        let new = r.rows - r.continued_at;
        let earlier =
            if r.continued_at > 0 { format!(", {} rows were done before", r.continued_at) } else { String::new() };
        writeln!(
            out,
            "{new} rows converted in {seconds:.1} s ({:.0} a second){earlier}.",
            new as f64 / seconds.max(1e-3)
        )?;
    }
    writeln!(out, "samples   {} ({} MB of pictures)", r.written, r.image_bytes.div_ceil(1 << 20))?;
    write_asked(out, &r.questions)?;
    if r.repeated_ids > 0 {
        writeln!(out, "repeated  {} ids came more than once; their files got a number", r.repeated_ids)?;
    }
    if r.skipped > 0 {
        let kinds: Vec<String> = r.problems.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
        writeln!(out, "left out  {} ({})", r.skipped, kinds.join(", "))?;
    }
    writeln!(out, "data      {}", path(&r.json))?;
    writeln!(out, "entry     \"{}\" in {}", clean(&r.name), path(&r.dataset_info))?;
    if let Some(problems) = &r.problems_file {
        writeln!(out, "problems  {}", path(problems))?;
    }
    writeln!(out, "\nNext: lightbox data check {} --dataset-dir {}", clean(&r.name), path(&o.out))
}
