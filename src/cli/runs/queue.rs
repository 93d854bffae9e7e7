//! `lightbox runs queue`

use super::resume::in_folder;
use super::{find, words};
use crate::cli::table::table;
use crate::cli::train;
use crate::launch;
use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::profile::Profile;
use lightbox_core::runs::RunDir;
use lightbox_core::runs::info::RunInfo;
use lightbox_core::runs::queue::{self, Home, Item, Place, State};
use lightbox_core::runs::state::{RunState, Status};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

pub const HELP: &str = "One run at a time on each device; `auto` is the first GPU, or the CPU where there is none. No daemon: the next run is started by \
    the supervisor of the one that ends, and by every `lightbox train` and `lightbox runs`. To go on by itself after a restart of the \
    machine, put `@reboot lightbox runs queue start` into your crontab (`crontab -e`, with the full path of lightbox).";

#[derive(Args)]
pub struct QueueArgs {
    #[command(subcommand)]
    command: QueueCommand,
}

#[derive(Subcommand)]
enum QueueCommand {
    /// Put a run, or a new one from a profile, at the end
    Add(AddArgs),
    /// What waits, runs, and has ended
    List(Plain),
    /// Take an item out; a run that has begun goes on
    Rm(ItemArgs),
    /// Change the order
    Move(MoveArgs),
    /// Start what can be started now
    Start(Plain),
    /// Start nothing more; what runs goes on
    Pause(Plain),
    /// Start runs again
    Unpause(Plain),
}

#[derive(Args)]
struct Plain {
    /// The queue as a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct AddArgs {
    /// A run (folder, id, name), or a profile for a new one
    #[arg(value_name = "RUN|PROFILE.yaml")]
    what: String,
    /// Keys over those of its profile
    #[arg(value_name = "key=value")]
    overrides: Vec<String>,
    /// Before all that wait
    #[arg(long)]
    first: bool,
    /// The item as a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct ItemArgs {
    /// As in `queue list`: q1, q2, …
    #[arg(value_name = "ITEM")]
    id: String,
    /// The item as a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct MoveArgs {
    /// As in `queue list`: q1, q2, …
    #[arg(value_name = "ITEM")]
    id: String,
    #[arg(value_enum)]
    to: To,
    /// The queue as a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum To {
    Up,
    Down,
    First,
    Last,
}

pub fn run(args: &QueueArgs) -> Result<Exit> {
    let home = Home::find().because(Exit::Config)?;
    match &args.command {
        QueueCommand::Add(args) => return add(&home, args),
        QueueCommand::Rm(args) => return remove(&home, args),
        QueueCommand::Move(args) => {
            let place = match args.to {
                To::Up => Place::Up,
                To::Down => Place::Down,
                To::First => Place::First,
                To::Last => Place::Last,
            };
            home.change(|queue| queue.place(&args.id, place)).because(Exit::Config)?;
            list(&home, args.json)?;
        }
        QueueCommand::List(args) => list(&home, args.json)?,
        QueueCommand::Start(args) => {
            // `lightbox runs` has kicked already, but kept what went wrong to a warning.
            queue::kick(&mut start)?;
            list(&home, args.json)?;
        }
        QueueCommand::Pause(args) => pause(&home, true, args.json)?,
        QueueCommand::Unpause(args) => pause(&home, false, args.json)?,
    }
    Ok(Exit::Finished)
}

/// Starts a queued run, where it was put into the queue. Returns when its supervisor is on its way: that kicks the queue
/// again when the run ends, however soon.
pub fn start(item: &Item) -> Result<()> {
    in_folder(Some(&item.cwd), || launch::spawn(&RunDir::open(&item.dir)?).map(drop))
}

fn add(home: &Home, args: &AddArgs) -> Result<Exit> {
    let file = Path::new(&args.what);
    let run = if file.is_file() {
        let (run, _) = train::prepare(Some(file), None, &args.overrides, false)?;
        run
    } else {
        let run = find(&args.what)?;
        train::prepare(None, Some(run.path()), &args.overrides, false)?;
        run
    };
    let run = RunDir::open(std::path::absolute(run.path())?)?;
    let no_overrides: &[&str] = &[];
    let profile = Profile::load(&run.join(RunDir::PROFILE), no_overrides).because(Exit::Config)?;
    let added = home.change(|queue| {
        let item = queue.add(&run, queue::slot_of(&profile))?;
        if args.first {
            queue.place(&item.id, Place::First)?;
        }
        Ok(item)
    });
    let item = added.because(Exit::Config)?;
    super::kick();
    let now = home.read()?.items.into_iter().find(|i| i.id == item.id).unwrap_or(item);
    let text = format!("{} is in the queue as {}, {}", name(&now), now.id, state(&now));
    super::answer(args.json, &now, &text)?;
    Ok(Exit::Finished)
}

fn remove(home: &Home, args: &ItemArgs) -> Result<Exit> {
    let item = home.change(|queue| queue.remove(&args.id)).because(Exit::Config)?;
    if item.state == State::Waiting
        && let Ok(run) = RunDir::open(&item.dir)
    {
        RunState::change(&run, |state| state.state = Status::Created).because(Exit::Disk)?;
    }
    super::answer(args.json, &item, &format!("{} is not in the queue any more", name(&item)))?;
    Ok(Exit::Finished)
}

fn pause(home: &Home, paused: bool, json: bool) -> Result<()> {
    home.change(|queue| {
        queue.paused = paused;
        Ok(())
    })?;
    super::kick();
    list(home, json)
}

fn list(home: &Home, json: bool) -> Result<()> {
    let queue = home.read().because(Exit::Disk)?;
    let mut text = String::new();
    if queue.items.is_empty() {
        text += "The queue is empty. `lightbox runs queue add PROFILE.yaml` puts a run there.\n";
    } else {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        let row = |item: &Item| {
            vec![item.id.clone(), name(item), state(item), item.slot.clone(), words::age(now_ms, item.added_ms)]
        };
        text += &table(&["item", "run", "state", "device", "age#"], &queue.items.iter().map(row).collect::<Vec<_>>());
    }
    for item in &queue.items {
        if let State::Failed { reason } = &item.state {
            text += &format!("\n{}: {reason}", item.id);
        }
    }
    if queue.paused {
        text += "\nThe queue is paused; `lightbox runs queue unpause` goes on.";
    }
    super::answer(json, &queue, &text)
}

fn state(item: &Item) -> String {
    match item.state {
        State::Waiting => "waiting",
        State::Started { .. } => "started",
        State::Done => "done",
        State::Failed { .. } => "failed",
    }
    .into()
}

/// The run's name, or its folder's.
fn name(item: &Item) -> String {
    let info = RunDir::open(PathBuf::from(&item.dir)).and_then(|run| RunInfo::read(&run));
    info.map_or_else(|_| item.dir.display().to_string(), |info| info.name)
}
