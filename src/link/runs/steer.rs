//! Does what a run is told, and says what came of it.
use super::list::Order;
use super::{Back, Runner};
use crate::app::Action;
use crate::app::messages::Level;
use crate::app::runs::{Effect, Label, Msg, QueueItem, QueueOrder, Removal};
use crate::cli::runs::control::{self, Ended, Waiting};
use crate::cli::runs::{facts, remove};
use crate::text::{Lang, runs as text};
use anyhow::{Context, Result, bail};
use lightbox_core::runs::commands::Command as Told;
use lightbox_core::runs::info::RunInfo;
use lightbox_core::runs::queue::{Home, Place, State};
use lightbox_core::runs::record::Ack;
use lightbox_core::runs::series::Series;
use lightbox_core::runs::state::{RunState, Status};
use lightbox_core::runs::view::RunView;
use lightbox_core::runs::{RunDir, checkpoints};
use lightbox_core::safe_text::clean_line;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::Sender;

/// How long an answer is waited for. A run looks into its drop-box between two micro-batches.
const PATIENCE: u64 = 30;

pub fn run(back: &Back, tasks: &Runner, program: &Path, list: &Sender<Order>, effect: Effect) {
    let list = list.clone();
    match effect {
        Effect::Tell { run, command, lang } => aside(back, list, move || tell(&run, command, lang)),
        Effect::Label { run, label, lang } => aside(back, list, move || change(&run, label, lang)),
        Effect::Pin { run, step, pinned, lang } => aside(back, list, move || pin(&run, step, pinned, lang)),
        Effect::Measure(run) => aside(back, list, move || measure(run)),
        Effect::ReadQueue => aside(back, list, || Ok(Action::Runs(Msg::Queue(queue()?)))),
        Effect::Queue { id, order, lang } => aside(back, list, move || reorder(&id, order, lang)),
        Effect::Remove { run, force, lang } => {
            let mut args = vec!["runs".into(), "rm".into(), run.display().to_string(), "--yes".into(), "--json".into()];
            args.extend(force.then(|| "--force".to_owned()));
            let said = text::REMOVED.fill(lang, &[&clean_line(&run.display().to_string(), 200)]);
            start(tasks, program, list, args, move |_| Action::Say(Level::Good, said.clone()));
        }
        Effect::Program { args, lang } => start(tasks, program, list, args, move |answer| told(answer, lang)),
        Effect::Export { png, run, file, lang } => {
            let title = text::EXPORT_TITLE.get(lang);
            tasks.start(title, move |ctx| {
                let mut series = Series::open(&RunDir::open(&run)?);
                while series.poll()? {
                    if ctx.progress(0, 0).is_break() {
                        bail!("cancelled");
                    }
                }
                if png {
                    series.export_png(&file)?
                } else {
                    series.export_csv(&file)?
                }
                let said = text::EXPORTED.fill(lang, &[&file.display()]);
                Ok(Some(Action::Say(Level::Good, said)))
            });
        }
        Effect::Seen(_) | Effect::Look | Effect::Follow { .. } | Effect::Monitor(_) => {}
    }
}

/// On a thread of its own: an answer may take half a minute. Afterwards the list is looked at.
fn aside(back: &Back, list: Sender<Order>, work: impl FnOnce() -> Result<Action> + Send + 'static) {
    let sender = back.clone();
    let spawned = std::thread::Builder::new().name("runs-ask".into()).spawn(move || {
        sender.send(work().unwrap_or_else(|e| Action::Say(Level::Error, format!("{e:#}"))));
        let _ = list.send(Order::Look);
    });
    if let Err(e) = spawned {
        back.send(Action::Say(Level::Error, format!("no thread for it: {e}")));
    }
}

fn tell(run: &Path, command: Told, lang: Lang) -> Result<Action> {
    let dir = RunDir::open(run)?;
    let words = text::command(&command, lang);
    let waiting = Waiting::seconds(PATIENCE);
    let good = |text| Ok(Action::Say(Level::Good, text));
    if RunView::open_lenient(&dir).state == Status::Queued && matches!(command, Told::Stop(_)) {
        control::leave_the_queue(&dir)?;
        return good(text::OUT_OF_QUEUE.get(lang).into());
    }
    let answer = match command {
        // one that hangs does not answer: that is what it is killed for
        Told::Kill => match control::end(&dir, &Waiting::seconds(5))? {
            Ended::Killed(pid) => return good(text::KILLED.fill(lang, &[&pid])),
            Ended::Itself(answer) => answer,
        },
        command => control::ask(&dir, command, &waiting)?,
    };
    match answer.status {
        Some(Ack::Applied) => good(text::APPLIED.fill(lang, &[&words, &answer.step.unwrap_or_default()])),
        _ => Ok(Action::Say(Level::Info, text::ACCEPTED.fill(lang, &[&words]))),
    }
}

fn change(run: &Path, label: Label, lang: Lang) -> Result<Action> {
    let dir = RunDir::open(run)?;
    let archived = label == Label::Archived(true);
    // a folder of another program (or an older version) gets its file first
    RunInfo::ensure(&dir, None)?;
    let info = RunInfo::change(&dir, |info| match label {
        Label::Name(name) => info.name = name,
        Label::Tags(tags) => info.tags = tags,
        Label::Note(note) => info.notes = note,
        Label::Archived(archived) => info.archived = archived,
    })?;
    let said = if archived { text::WAS_ARCHIVED } else { text::LABELLED };
    Ok(Action::Say(Level::Good, said.fill(lang, &[&info.name])))
}

fn pin(run: &Path, step: u64, pinned: bool, lang: Lang) -> Result<Action> {
    checkpoints::pin(&RunDir::open(run)?, step, None, pinned)?;
    let said = if pinned { text::PIN_SET } else { text::PIN_GONE };
    Ok(Action::Say(Level::Good, said.fill(lang, &[&step])))
}

fn measure(run: PathBuf) -> Result<Action> {
    let dir = RunDir::open(&run)?;
    let removal = Removal {
        name: RunView::open_lenient(&dir).info.name,
        bytes: facts::bytes(&run),
        checkpoints: checkpoints::list(&dir)?.len(),
        foreign: remove::foreign(&run)?,
        run,
    };
    Ok(Action::Runs(Msg::Removal(Box::new(removal))))
}

fn queue() -> Result<Vec<QueueItem>> {
    let items = Home::find()?.read()?.items.into_iter().filter(|item| !matches!(item.state, State::Done));
    let name = |dir: &Path| {
        let info = RunDir::open(dir).and_then(|run| RunInfo::read(&run));
        info.map_or_else(|_| dir.display().to_string(), |info| info.name)
    };
    Ok(items
        .map(|item| QueueItem { name: name(&item.dir), id: item.id, slot: item.slot, state: item.state, dir: item.dir })
        .collect())
}

fn reorder(id: &str, order: QueueOrder, lang: Lang) -> Result<Action> {
    let home = Home::find()?;
    let place = match order {
        QueueOrder::Up => Place::Up,
        QueueOrder::Down => Place::Down,
        QueueOrder::First => Place::First,
        QueueOrder::Last => Place::Last,
        QueueOrder::Remove => {
            let item = home.change(|queue| queue.remove(id))?;
            if item.state == State::Waiting
                && let Ok(run) = RunDir::open(&item.dir)
            {
                RunState::change(&run, |state| state.state = Status::Created)?;
            }
            return Ok(Action::Say(Level::Good, text::OUT_OF_QUEUE.get(lang).into()));
        }
    };
    home.change(|queue| queue.place(id, place))?;
    Ok(Action::All(vec![
        Action::Say(Level::Good, text::QUEUE_CHANGED.get(lang).into()),
        Action::Runs(Msg::Queue(queue()?)),
    ]))
}

/// Has this program do something in a process of its own: to start a run, it goes into the folder that the run was started
/// in, and a process has only one.
fn start(
    tasks: &Runner,
    program: &Path,
    list: Sender<Order>,
    args: Vec<String>,
    then: impl Fn(&serde_json::Value) -> Action + Send + 'static,
) {
    let program = program.to_owned();
    let title = format!("lightbox {}", args.iter().take(2).cloned().collect::<Vec<_>>().join(" "));
    tasks.start(title, move |_| {
        let mut command = Command::new(&program);
        command.args(&args).stdin(Stdio::null());
        let output = command.output().with_context(|| format!("starting {}", program.display()))?;
        let _ = list.send(Order::Look);
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("{}", clean_line(said.trim().trim_start_matches("error: "), 1_000));
        }
        let answer = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Ok(Some(then(&answer)))
    });
}

/// What `resume` and `fork` answer.
fn told(answer: &serde_json::Value, lang: Lang) -> Action {
    let word = |key: &str| answer[key].as_str().map(|word| clean_line(word, 200)).unwrap_or_default();
    if answer.get("checkpoint").is_some() {
        let said = text::FORKED.fill(lang, &[&word("name"), &word("checkpoint")]);
        let dir = PathBuf::from(answer["dir"].as_str().unwrap_or_default());
        return Action::All(vec![Action::Say(Level::Good, said), Action::Runs(Msg::Chosen(dir))]);
    }
    let pid = answer["pid"].as_u64().unwrap_or_default();
    Action::Say(Level::Good, text::RESUMED.fill(lang, &[&pid]))
}
