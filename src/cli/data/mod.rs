//! `lightbox data …`: what a data set holds, whether it is sound, what the model will see of it; and conversion.
//! The options that several of these commands share are in [`options`].

mod check;
mod convert;
mod encode;
mod list;
mod options;
mod pack;
mod select;
mod show;
mod slices;
mod stats;
mod unfinished;

use anyhow::Result;
use clap::{Args, Subcommand};
use lightbox_core::exit::Exit;
use serde::Serialize;
use std::io::Write;

#[derive(Args)]
pub struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Subcommand)]
enum DataCommand {
    /// List the data sets of a dataset_info.json, or the files of one data set
    List(list::ListArgs),
    /// Show one sample: its turns and its pictures
    Show(show::ShowArgs),
    /// Read everything strictly and report what is wrong (exit code 11 if anything is)
    Check(check::CheckArgs),
    /// Write a data set of chosen rows: by a query, without duplicates, split into parts
    Select(select::SelectArgs),
    /// Token lengths, picture sizes, turns
    Stats(stats::StatsArgs),
    /// Token ids and labels of every sample, as training sees them
    Encode(encode::EncodeArgs),
    /// Turn captioned pictures in parquet into a LLaMA-Factory data set
    Convert(convert::ConvertArgs),
    /// Join rows in parquet with pictures in tar archives, by file name, into parquet files with the pictures inside
    Pack(pack::PackArgs),
    /// Turn DICOM, NIfTI and 16-bit pictures into 8-bit ones through a window, and into a data set
    Slices(slices::SlicesArgs),
}

pub fn run(args: DataArgs) -> Result<Exit> {
    match args.command {
        DataCommand::List(args) => list::run(args),
        DataCommand::Show(args) => show::run(args),
        DataCommand::Check(args) => check::run(args),
        DataCommand::Select(args) => select::run(args),
        DataCommand::Stats(args) => stats::run(args),
        DataCommand::Encode(args) => encode::run(args),
        DataCommand::Convert(args) => convert::run(args),
        DataCommand::Pack(args) => pack::run(args),
        DataCommand::Slices(args) => slices::run(args),
    }
}

/// The closing summary as one JSON object: the report, and the seconds it took.
fn print_summary(report: &impl Serialize, seconds: f64) -> Result<()> {
    #[derive(Serialize)]
    struct Summary<'a, R> {
        #[serde(flatten)]
        report: &'a R,
        seconds: f64,
    }
    let line = serde_json::to_string(&Summary { report, seconds })?;
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
