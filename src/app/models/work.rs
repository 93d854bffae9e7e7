//! What the Models screen has done: downloads, exports, removals. Each is a [`Job`] until it has ended well; one that
//! failed stays in the list with the reason until it is tried again or put away.
use super::entry::{Disk, Entry, Origin};
use super::export::{self, Field, Verified, verdict};
use super::{App, Wanted, scan};
use crate::app;
use crate::app::Screen;
use crate::app::action::{Action, Effects};
use crate::app::cursor::Move;
use crate::app::messages::Level;
use crate::app::overlay::{Overlay, Page};
use crate::app::tasks::TaskId;
use crate::text::models as text;
use crate::view::words::size;
use lightbox_core::safe_text::{clean, clean_line};
use std::path::{Path, PathBuf};

/// What the field of a new download begins with.
pub const SUGGESTED: &str = "Qwen/Qwen2-VL-2B-Instruct";
const MAIN: &str = "main";

#[derive(Debug, Clone)]
pub enum Msg {
    /// What there is, and how the disk stands.
    Found(Vec<Entry>, Option<Disk>),
    Move(Move),
    Scroll(Move),
    Add(Vec<PathBuf>),
    /// A folder that was opened: it is one, or holds nothing for us.
    Added(Result<PathBuf, PathBuf>),
    Forget(PathBuf),
    /// A repository's name was typed, then its revision.
    Repo(String),
    Revision(String),
    /// What a repository holds.
    Listed(u64, Result<Offer, String>),
    Download(Offer),
    /// A job's work has begun, as this task.
    Began(u64, TaskId),
    Ended(u64, End),
    Field(Field),
    /// A line for a field of the form.
    Out(String),
    Shard(String),
    Base(PathBuf),
    Export,
    Remove(Box<Entry>),
    /// Something is there no longer, and so many bytes became free.
    Removed(PathBuf, u64),
    Readme(String, Result<String, String>),
}

#[derive(Debug)]
pub enum Effect {
    Scan(Places),
    /// Whether this folder holds a model or adapter.
    Add(PathBuf),
    List {
        job: u64,
        title: String,
        repo: String,
        revision: String,
    },
    Download {
        job: u64,
        title: String,
        repo: String,
        revision: String,
    },
    Export {
        job: u64,
        title: String,
        args: Vec<String>,
    },
    Remove {
        title: String,
        entry: Box<Entry>,
    },
    Read(String, PathBuf),
}

/// Where models are looked for, besides the Hub's cache and the runs of this user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    pub here: PathBuf,
    pub given: Vec<PathBuf>,
    pub exports: Vec<PathBuf>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub id: u64,
    pub work: Work,
    /// Its progress is that task's.
    pub task: Option<TaskId>,
    pub state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    Download { repo: String, revision: String },
    Export { out: PathBuf },
}

#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// The Hub is asked what the repository holds.
    Listing,
    /// It has said so, while the user was elsewhere.
    Offered,
    Running,
    Failed(String),
}

impl State {
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Listing | Self::Running)
    }
}

/// What a download would load.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer {
    pub repo: String,
    pub revision: String,
    pub files: usize,
    pub bytes: u64,
    /// Not here yet.
    pub missing: u64,
    /// Room for it, and where.
    pub free: Option<u64>,
    pub cache: PathBuf,
    /// With their sizes.
    pub largest: Vec<(String, u64)>,
}

/// How a job ended.
#[derive(Debug, Clone)]
pub enum End {
    Downloaded(PathBuf),
    Exported(PathBuf, Option<Verified>),
    Cancelled,
    Failed(String),
}

impl Job {
    pub fn is_for(&self, entry: &Entry) -> bool {
        match &self.work {
            Work::Download { repo, revision } => {
                let of = |c: &lightbox_core::hub::Cached| {
                    c.id == *repo && (c.revision == *revision || c.commit == *revision)
                };
                matches!(&entry.origin, Origin::Hub(cached) if of(cached))
            }
            Work::Export { out } => entry.path == *out,
        }
    }

    pub fn name(&self) -> String {
        match &self.work {
            Work::Download { repo, revision } if revision == MAIN => clean_line(repo, 200),
            Work::Download { repo, revision } => clean_line(&format!("{repo}@{revision}"), 200),
            Work::Export { out } => {
                clean_line(&out.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned()), 200)
            }
        }
    }
}

pub fn update(app: &mut App, msg: Msg) -> Effects {
    match msg {
        Msg::Add(paths) => add(paths),
        Msg::Added(Ok(path)) => {
            if !app.settings.models.contains(&path) {
                app.settings.models.push(path.clone());
            }
            app.models.wanted = Some(Wanted::Path(path));
            rescan(app, vec![app::Effect::SaveSettings])
        }
        Msg::Added(Err(path)) => {
            let text = text::NOT_A_MODEL.fill(app.lang(), &[&clean_line(&path.to_string_lossy(), 300)]);
            app.say(Level::Warning, text);
            Vec::new()
        }
        Msg::Forget(path) => {
            app.settings.models.retain(|known| *known != path);
            rescan(app, vec![app::Effect::SaveSettings])
        }
        Msg::Repo(typed) => repo_typed(app, &typed),
        Msg::Revision(typed) => {
            let revision = if typed.trim().is_empty() { MAIN } else { typed.trim() }.to_owned();
            let repo = std::mem::take(&mut app.models.repo);
            list(app, repo, revision)
        }
        Msg::Listed(id, outcome) => listed(app, id, outcome),
        Msg::Download(offer) => {
            let work = Work::Download { repo: offer.repo.clone(), revision: offer.revision.clone() };
            let job = begin(app, work, State::Running);
            let title = text::DOWNLOADING.fill(app.lang(), &[&clean_line(&offer.repo, 200)]);
            let (repo, revision) = (offer.repo, offer.revision);
            vec![app::Effect::Models(Effect::Download { job, title, repo, revision })]
        }
        Msg::Began(id, task) => {
            if let Some(job) = app.models.jobs.iter_mut().find(|job| job.id == id) {
                job.task = Some(task);
            }
            Vec::new()
        }
        Msg::Ended(id, end) => ended(app, id, end),
        Msg::Field(field) => export::enter(app, field),
        Msg::Out(typed) => export::out_typed(app, &typed),
        Msg::Shard(typed) => export::shard_typed(app, &typed),
        Msg::Base(base) => export::base_chosen(app, base),
        Msg::Export => export::start(app),
        Msg::Remove(entry) => {
            let title = text::REMOVING.fill(app.lang(), &[&entry.name]);
            vec![app::Effect::Models(Effect::Remove { title, entry })]
        }
        Msg::Removed(path, bytes) => {
            let text = text::REMOVED.fill(app.lang(), &[&clean_line(&path.to_string_lossy(), 300), &size(bytes)]);
            app.say(Level::Good, text);
            app.settings.exports.retain(|export| *export != path);
            app.models.verified.remove(&path);
            rescan(app, vec![app::Effect::SaveSettings])
        }
        Msg::Readme(title, Ok(text)) => app.open(Overlay::Page(Page { title, text: clean(&text), top: 0 })),
        Msg::Readme(_, Err(why)) => {
            app.say(Level::Error, why);
            Vec::new()
        }
        // of the list itself
        Msg::Found(..) | Msg::Move(_) | Msg::Scroll(_) => Vec::new(),
    }
}

/// The list is out of date; a search that runs already may have missed the change.
fn rescan(app: &mut App, mut effects: Effects) -> Effects {
    app.models.scanning = false;
    effects.extend(scan(app));
    effects
}

pub fn begin(app: &mut App, work: Work, state: State) -> u64 {
    let models = &mut app.models;
    models.next_job += 1;
    models.jobs.retain(|job| job.work != work);
    models.jobs.push(Job { id: models.next_job, work, task: None, state });
    let keep = models.entry().map(|entry| entry.path.clone());
    models.settle(keep.as_deref());
    // the new row, if it has one of its own
    let last = models.jobs.len() - 1;
    if let Some(at) = models.rows().iter().position(|row| *row == super::Row::Job(last)) {
        (models.cursor.at, models.top) = (at, 0);
    }
    models.next_job
}

fn add(paths: Vec<PathBuf>) -> Effects {
    let Some(path) = paths.into_iter().next() else { return Vec::new() };
    // a file of the folder means the folder
    let is_file = path.extension().is_some_and(|end| end == "json" || end == "safetensors");
    let path = path.parent().filter(|_| is_file).map_or(path.clone(), Path::to_owned);
    vec![app::Effect::Models(Effect::Add(path))]
}

pub fn ask_repo(app: &mut App) -> Effects {
    let value =
        app.models.entry().filter(|entry| !entry.is_whole()).and_then(Entry::hub).map(|(repo, _)| repo.to_owned());
    let (title, label) = (app.t(text::REPO_TITLE), app.t(text::REPO_LABEL));
    app.ask(title, label, value.as_deref().unwrap_or(SUGGESTED), |typed| Action::Models(Msg::Repo(typed)))
}

/// `NAME`, `NAME@REVISION`, or the address of its page.
fn repo_typed(app: &mut App, typed: &str) -> Effects {
    let name = typed.trim().trim_start_matches("https://huggingface.co/").trim_end_matches('/');
    if name.is_empty() {
        return Vec::new();
    }
    if let Some((name, revision)) = name.split_once('@') {
        return list(app, name.to_owned(), revision.to_owned());
    }
    app.models.repo = name.to_owned();
    let (title, label) = (clean_line(name, 200), app.t(text::REVISION_LABEL));
    app.ask(title, label, MAIN, |typed| Action::Models(Msg::Revision(typed)))
}

/// Asks the Hub what there is; what it would load is shown before anything is loaded.
pub fn list(app: &mut App, repo: String, revision: String) -> Effects {
    let work = Work::Download { repo: repo.clone(), revision: revision.clone() };
    if app.models.jobs.iter().any(|job| job.work == work && job.state.is_running()) {
        app.say(Level::Info, text::ALREADY.fill(app.lang(), &[&clean_line(&repo, 200)]));
        return Vec::new();
    }
    let job = begin(app, work, State::Listing);
    let title = text::LISTING.fill(app.lang(), &[&clean_line(&repo, 200)]);
    vec![app::Effect::Models(Effect::List { job, title, repo, revision })]
}

fn listed(app: &mut App, id: u64, outcome: Result<Offer, String>) -> Effects {
    let at_hand = app.screen == Screen::Models && app.overlays.is_empty() && !app.models.typing;
    let Some(at) = app.models.jobs.iter().position(|job| job.id == id) else { return Vec::new() };
    let offer = match outcome {
        Ok(offer) => offer,
        Err(why) => {
            app.models.jobs[at].state = State::Failed(why);
            return Vec::new();
        }
    };
    if !at_hand {
        // a question that pops up elsewhere would take keys that were meant for something else
        app.say(Level::Info, text::OFFERED.fill(app.lang(), &[&clean_line(&offer.repo, 200)]));
        app.models.jobs[at].state = State::Offered;
        return Vec::new();
    }
    app.models.jobs.remove(at);
    app.models.settle(None);
    offered(app, offer)
}

/// What it would load; nothing is loaded before the answer.
fn offered(app: &mut App, offer: Offer) -> Effects {
    let lang = app.lang();
    let name = clean_line(&offer.repo, 200);
    if offer.missing == 0 {
        app.say(Level::Good, text::ALL_HERE.fill(lang, &[&name, &offer.files, &size(offer.bytes)]));
        // the note of what was asked for may be missing, and links with it: loading makes both, and takes nothing
        return update(app, Msg::Download(offer));
    }
    let mut lines = vec![text::OFFER.fill(lang, &[&offer.files, &size(offer.bytes)])];
    if offer.missing < offer.bytes {
        lines.push(text::OFFER_REST.fill(lang, &[&size(offer.missing)]));
    }
    let cache = clean_line(&offer.cache.display().to_string(), 300);
    lines.extend(offer.free.map(|free| text::OFFER_FREE.fill(lang, &[&size(free), &cache])));
    if offer.free.is_some_and(|free| free < offer.missing) {
        lines.push(app.t(text::OFFER_NO_ROOM).to_owned());
    }
    lines.push(String::new());
    lines.extend(offer.largest.iter().map(|(file, bytes)| format!("{:>9}  {}", size(*bytes), clean_line(file, 300))));
    if offer.files > offer.largest.len() {
        lines.push(text::AND_MORE.fill(lang, &[&(offer.files - offer.largest.len())]));
    }
    let at = if offer.revision == MAIN { String::new() } else { format!("@{}", clean_line(&offer.revision, 60)) };
    let title = text::OFFER_TITLE.fill(lang, &[&format!("{name}{at}")]);
    app.confirm(title, lines.join("\n"), false, Action::Models(Msg::Download(offer)))
}

fn ended(app: &mut App, id: u64, end: End) -> Effects {
    let Some(at) = app.models.jobs.iter().position(|job| job.id == id) else { return Vec::new() };
    let lang = app.lang();
    let mut effects = Vec::new();
    match end {
        End::Downloaded(path) => {
            app.models.jobs.remove(at);
            app.models.wanted = Some(Wanted::Path(path));
        }
        End::Exported(path, verified) => {
            app.models.jobs.remove(at);
            let shown = clean_line(&path.display().to_string(), 300);
            let found = verified.as_ref().map_or(String::new(), |v| format!(" · {}", verdict(v, lang)));
            app.say(Level::Good, text::EXPORTED.fill(lang, &[&shown]) + &found);
            if let Some(verified) = verified {
                app.models.verified.insert(path.clone(), verified);
            }
            app.settings.exports.retain(|known| *known != path);
            app.settings.exports.push(path.clone());
            effects.push(app::Effect::SaveSettings);
            app.models.wanted = Some(Wanted::Path(path));
        }
        End::Cancelled => {
            if let Work::Download { repo, revision } = app.models.jobs.remove(at).work {
                app.models.wanted = Some(Wanted::Repo(repo, revision));
            }
        }
        End::Failed(why) => {
            let job = &mut app.models.jobs[at];
            job.state = State::Failed(why);
            // what it has left gets a row of its own, which takes this one's place
            if let Work::Download { repo, revision } = &job.work {
                app.models.wanted = Some(Wanted::Repo(repo.clone(), revision.clone()));
            }
        }
    }
    let keep = app.models.entry().map(|entry| entry.path.clone());
    app.models.settle(keep.as_deref());
    rescan(app, effects)
}
