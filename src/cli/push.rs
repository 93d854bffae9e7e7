//! `lightbox push`

use super::ask::confirmed;
use super::hub::{KindArg, Line, coded, files, print_json, watched};
use super::runs::words::size;
use anyhow::Result;
use clap::Args;
use lightbox_core::args::base_name_of;
use lightbox_core::exit::Exit;
use lightbox_core::hub::{self, Client, Destination, Filters, Folder, Push, Pushed, Repo};
use lightbox_core::runs::progress::short_time;
use lightbox_core::runs::say::say;
use lightbox_core::safe_text::{clean, clean_line};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Instant;

const ADAPTER_CONFIG: &str = "adapter_config.json";

/// The repository and the branch are made if they are missing; files that the Hub has as they are stay as they are, files
/// that only the Hub has as well. Never sent: hidden and temporary files, locks, links out of the folder. Of a training's
/// output folder the result is sent: no checkpoints, states and logs, unless --include names them. After Ctrl-C or a lost
/// connection the same command goes on; nothing is visible before all is there. Needs a token with write permission in
/// HF_TOKEN, or a stored login. Prints the address of the commit.
#[derive(Args)]
pub struct PushArgs {
    /// A folder: an export, an adapter, the output folder of a run, a data set
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Account and name on the Hub, like my-name/my-model
    #[arg(value_name = "REPO")]
    id: String,
    /// What the repository holds
    #[arg(long, value_enum, default_value = "model")]
    kind: KindArg,
    /// Only into a private repository; it is made private if it is new
    #[arg(long)]
    private: bool,
    /// Branch; it begins at main if it is new
    #[arg(long, value_name = "BRANCH", default_value = "main")]
    revision: String,
    /// Message of the commit
    #[arg(long, value_name = "M", default_value = "Upload with Lightbox")]
    message: String,
    /// Only files whose path matches, like '*.safetensors' (repeatable; `*` also stands for `/`)
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// No files whose path matches
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Progress and result as JSON, one object a line: `progress` (phase `comparing`, then `sending`; file, file_done,
    /// file_bytes, done_bytes, total_bytes, files_done, files, bytes_per_second, note), then `done`. Each phase counts from 0
    /// to all; within it done_bytes and files_done never fall
    #[arg(long)]
    json: bool,
    /// Do not ask before sending
    #[arg(long, short)]
    yes: bool,
}

pub fn run(args: &PushArgs) -> Result<Exit> {
    let repo = Repo { kind: args.kind.into(), id: args.id.clone(), revision: args.revision.clone() };
    let filters = Filters { include: args.include.clone(), exclude: args.exclude.clone() };
    let client = coded(Client::from_env())?;
    let destination = coded(hub::destination(&repo, args.private, &client))?;
    let folder = coded(Folder::read(&args.folder, &filters))?;
    for (why, names) in &folder.left_out {
        let more = names.len().saturating_sub(6);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let names = names.iter().take(6).map(|name| clean_line(name, 80)).collect::<Vec<_>>().join(", ");
        say(&format!("not sent ({why}): {names}{more}"));
    }
    let is_sent = folder.files.iter().any(|f| f.path == ADAPTER_CONFIG);
    if let Some(base) = base_name_of(&args.folder).filter(|base| is_sent && std::path::Path::new(base).is_dir()) {
        let base = clean_line(&base, 200);
        let what = "a folder of this machine; others will have to name the base themselves";
        say(&format!("{ADAPTER_CONFIG} is sent as it is, with {base} as its base: {what}"));
    }
    let kind = match destination {
        Destination::New if args.private => "a new private",
        Destination::New => "a new",
        Destination::Public => "the public",
        Destination::Private => "the private",
    };
    let branch = if args.revision == "main" { String::new() } else { format!(", branch {}", args.revision) };
    let (count, bytes) = (files(folder.files.len()), size(folder.total_bytes()));
    let what = format!("{count}, {bytes}, to {kind} {repo} at {}{branch}", client.endpoint());
    if !args.yes && std::io::stdin().is_terminal() {
        if !confirmed(&format!("{what}. Send?"))? {
            return Ok(Exit::Stopped);
        }
    } else {
        say(&clean_line(&what, 500));
    }
    let started = Instant::now();
    let push = Push { folder: &folder, repo: &repo, private: args.private, message: &args.message, client: &client };
    let pushed = watched(args.json, |notify| hub::push(&push, notify))?;
    if args.json {
        print_json(&Line::Done(&pushed))?;
    } else {
        say(&format!("{repo}: {}, {}", outcome(&pushed), short_time(started.elapsed().as_secs_f64())));
        writeln!(std::io::stdout(), "{}", clean(&pushed.url))?;
    }
    Ok(Exit::Finished)
}

/// `3 files, 4.4 GB, committed; 9 were there as they are`
fn outcome(pushed: &Pushed) -> String {
    let there = if pushed.unchanged == 1 { "1 was".to_owned() } else { format!("{} were", pushed.unchanged) };
    let mut said = match (pushed.files, pushed.unchanged) {
        (0, _) => format!("nothing to do, all of it is there ({})", files(pushed.unchanged)),
        (n, 0) => format!("{}, {}, committed", files(n), size(pushed.bytes)),
        (n, _) => format!("{}, {}, committed; {there} there as they are", files(n), size(pushed.bytes)),
    };
    if !pushed.ignored.is_empty() {
        let names = pushed.ignored.iter().take(6).map(|name| clean_line(name, 80)).collect::<Vec<_>>().join(", ");
        said += &format!("; {} kept out by the repository's .gitignore ({names})", files(pushed.ignored.len()));
    }
    said
}
