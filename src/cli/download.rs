//! `lightbox download`

use super::ask::confirmed;
use super::hub::{KindArg, Line, coded, files, print_json, watched};
use super::runs::words::size;
use anyhow::{Context, Result, anyhow};
use clap::{Args, ValueEnum};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::hub::{self, Client, DataPart, Filters, Kind, Listing, Repo, Source, Wanted, What};
use lightbox_core::runs::progress::short_time;
use lightbox_core::runs::say::say;
use lightbox_core::safe_text::{clean, clean_line};
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// From so many bytes on it is asked first.
const LARGE: u64 = 1_000_000_000;

/// Files go into the cache that Python's tools use (HF_HOME, HF_HUB_CACHE); what is there is not loaded again. Every file
/// is verified. After Ctrl-C or a lost connection the same command goes on where it was. HF_ENDPOINT names a mirror;
/// gated and private repositories need HF_TOKEN, or a stored login. Prints the folder.
#[derive(Args)]
pub struct DownloadArgs {
    #[arg(value_enum)]
    kind: KindArg,
    /// Its name on the Hub, like Qwen/Qwen2-VL-2B-Instruct
    #[arg(value_name = "REPO")]
    id: String,
    /// Where from. ModelScope has its own variables, MODELSCOPE_ENDPOINT and MODELSCOPE_API_TOKEN; the cache is the same
    #[arg(long, value_enum, default_value = "hf")]
    source: SourceArg,
    /// Branch, tag or commit (of ModelScope: branch or tag) [default: main, of ModelScope master]
    #[arg(long, value_name = "R", hide_default_value = true)]
    revision: Option<String>,
    /// Only files whose path matches, like '*.safetensors' (repeatable; `*` also stands for `/`)
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// No files whose path matches
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Of a data set, only the files of its rows (parquet, JSON), as training reads them: one split [train, or the only one]
    #[arg(long, conflicts_with_all = ["include", "exclude"])]
    rows: bool,
    /// --rows of this config
    #[arg(long, value_name = "CONFIG", conflicts_with_all = ["include", "exclude"])]
    subset: Option<String>,
    /// --rows of this split
    #[arg(long, value_name = "SPLIT", conflicts_with_all = ["include", "exclude"])]
    split: Option<String>,
    /// --rows in this folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["include", "exclude"])]
    folder: Option<String>,
    /// Also lay the files out here, as a plain folder without links into the cache
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Progress and result as JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Do not ask before loading more than 1 GB
    #[arg(long, short)]
    yes: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum SourceArg {
    /// The Hugging Face Hub
    Hf,
    Modelscope,
}

impl From<SourceArg> for Source {
    fn from(source: SourceArg) -> Self {
        match source {
            SourceArg::Hf => Self::HuggingFace,
            SourceArg::Modelscope => Self::ModelScope,
        }
    }
}

#[derive(Serialize)]
struct Done<'a> {
    folder: &'a Path,
    commit: &'a str,
    files: usize,
    bytes: u64,
}

impl DownloadArgs {
    /// The rows that are asked for, rather than files.
    fn part(&self) -> Option<DataPart> {
        let part = DataPart { subset: self.subset.clone(), split: self.split.clone(), folder: self.folder.clone() };
        (self.rows || part != DataPart::default()).then_some(part)
    }

    /// What the Hub has, and which of it is meant.
    fn listing(&self) -> Result<(Listing, Filters)> {
        let (kind, source) = (Kind::from(self.kind), Source::from(self.source));
        if let Some(part) = self.part() {
            if kind != Kind::Dataset {
                return Err(anyhow!("a model has no rows: --rows, --subset, --split and --folder are for data sets"))
                    .because(Exit::Usage);
            }
            let wanted = Wanted::of(source, &self.id, What::Data(part), self.revision.as_deref(), None);
            let offer = coded(wanted.offer(None))?;
            say(&clean_line(&format!("{}: {}", offer.listing.repo, offer.part.unwrap_or_default()), 500));
            return Ok((offer.listing, offer.filters));
        }
        let revision = self.revision.clone().unwrap_or_else(|| source.main_branch().to_owned());
        let repo = Repo { kind, id: self.id.clone(), revision };
        let listing = coded(Client::from_env_of(source).and_then(|client| hub::list(&repo, &client)))?;
        Ok((listing, Filters { include: self.include.clone(), exclude: self.exclude.clone() }))
    }
}

pub fn run(args: &DownloadArgs) -> Result<Exit> {
    let (listing, filters) = args.listing()?;
    let repo = &listing.repo;
    let missing = coded(hub::missing_bytes(&listing, &filters))?;
    let chosen = coded(listing.chosen(&filters))?;
    let (count, bytes) = (files(chosen.len()), chosen.iter().map(|file| file.bytes).sum::<u64>());
    if missing > LARGE && !args.yes && std::io::stdin().is_terminal() {
        let here = if missing < bytes { format!(", {} of it still to load", size(missing)) } else { String::new() };
        if !confirmed(&format!("{repo}: {count}, {}{here}. Load?", size(bytes)))? {
            return Ok(Exit::Stopped);
        }
    }
    let started = Instant::now();
    let snapshot = watched(args.json, |notify| hub::download(&listing, &filters, notify))?;
    let folder = match &args.out {
        Some(out) => {
            coded(hub::lay_out(&listing, &filters, out))?;
            std::path::absolute(out).context("the folder of --out")?
        }
        None => snapshot,
    };
    if args.json {
        let done = Done { folder: &folder, commit: &listing.commit, files: chosen.len(), bytes };
        print_json(&Line::Done(done))?;
    } else {
        let loaded = if missing == 0 { "all were here".to_owned() } else { format!("{} loaded", size(missing)) };
        say(&format!("{repo}: {count}, {}; {loaded}, {}", size(bytes), short_time(started.elapsed().as_secs_f64())));
        writeln!(std::io::stdout(), "{}", clean(&folder.display().to_string()))?;
    }
    Ok(Exit::Finished)
}
