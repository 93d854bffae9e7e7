//! What the Models screen has done: downloads, exports, removals. Each is a [`Job`] until it has ended well; one that
//! failed stays in the list with the reason until it is tried again or put away.
use super::entry::{Disk, Entry, Origin};
use super::{App, Wanted, scan};
use crate::app;
use crate::app::action::{Action, Effects};
use crate::app::cursor::{Cursor, Move};
use crate::app::messages::Level;
use crate::app::overlay::{Filtered, Item, Overlay, Page};
use crate::app::settings::next;
use crate::app::tasks::TaskId;
use crate::app::{Screen, overlay};
use crate::text::models as text;
use crate::view::words::size;
use lightbox_core::safe_text::{clean, clean_line};
use serde::Deserialize;
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

/// What `lightbox export --verify` found.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Verified {
    pub max_abs_diff: f64,
    pub rounding: f64,
    pub max_logit: f64,
    pub tokens_equal: bool,
    pub tokens: usize,
    pub questions: usize,
}

/// What is to be exported, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    pub adapter: Option<PathBuf>,
    pub base: Option<PathBuf>,
    pub out: PathBuf,
    pub dtype: &'static str,
    pub shard: String,
    pub verify: bool,
}

/// The rows of the form, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Start,
    Out,
    Base,
    Dtype,
    Shard,
    Verify,
    Copy,
}

/// `auto` is what the base has.
const DTYPES: [&str; 4] = ["auto", "bf16", "f16", "f32"];

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

impl Form {
    /// The arguments of `lightbox`.
    pub fn args(&self) -> Vec<String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut args = vec!["export".to_owned()];
        for (option, path) in [("--model", &self.base), ("--adapter", &self.adapter)] {
            args.extend(path.iter().flat_map(|path| [option.to_owned(), text(path)]));
        }
        args.extend(["--out".to_owned(), text(&self.out)]);
        args.extend(["--dtype", self.dtype, "--shard-size", &self.shard].map(str::to_owned));
        if self.verify {
            args.push("--verify".to_owned());
        }
        args
    }

    /// What a user would type, an option a line.
    fn lines(&self) -> String {
        self.command().replace(" --", " \\\n  --")
    }

    /// What a user would type.
    pub fn command(&self) -> String {
        let args = self.args();
        let words = std::iter::once("lightbox").chain(args.iter().map(String::as_str));
        shlex::try_join(words).unwrap_or_else(|_| format!("lightbox {}", args.join(" ")))
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
        Msg::Field(field) => enter_field(app, field),
        Msg::Out(typed) => {
            let (here, typed) = (app.here.clone(), typed.trim());
            if let Some(form) = app.models.form.as_mut().filter(|_| !typed.is_empty()) {
                form.out = here.join(crate::input::paste::expand_home(typed));
            }
            show_form(app, Field::Out)
        }
        Msg::Shard(typed) => {
            match (lightbox_core::args::parse_size(&typed), &mut app.models.form) {
                (Ok(_), Some(form)) => form.shard = typed.trim().to_owned(),
                (Err(wrong), _) => app.say(Level::Warning, format!("{}: {wrong}", clean_line(&typed, 60))),
                _ => {}
            }
            show_form(app, Field::Shard)
        }
        Msg::Base(base) => {
            if let Some(form) = &mut app.models.form {
                form.base = Some(base);
            }
            show_form(app, Field::Base)
        }
        Msg::Export => export(app),
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

fn begin(app: &mut App, work: Work, state: State) -> u64 {
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
    // the question says it
    app.models.jobs[at].task.into_iter().for_each(|task| app.tasks.told(task));
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
            let job = app.models.jobs.remove(at);
            job.task.into_iter().for_each(|task| app.tasks.told(task));
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

/// What a verification found, in a sentence.
pub fn verdict(v: &Verified, lang: crate::text::Lang) -> String {
    let words = if v.tokens_equal { text::TOKENS_EQUAL } else { text::TOKENS_DIFFER };
    let (diff, largest, rounding) =
        (format!("{:.1e}", v.max_abs_diff), format!("{:.1}", v.max_logit), format!("{:.1e}", v.rounding));
    let tokens = words.fill(lang, &[&v.tokens, &v.questions]);
    text::VERDICT.fill(lang, &[&diff, &largest, &rounding, &tokens])
}

/// The form for what the cursor is on.
pub fn open_form(app: &mut App) -> Effects {
    let Some(entry) = app.models.entry() else { return Vec::new() };
    let (adapter, base, suffix) = match entry.adapter() {
        Some(facts) => (Some(entry.path.clone()), facts.base_path.clone(), "merged"),
        None => (None, Some(entry.path.clone()), "copy"),
    };
    let name = match (&entry.origin, entry.path.file_name()) {
        (Origin::Folder, Some(name)) => name.to_string_lossy().into_owned(),
        _ => entry.name.split('@').next().unwrap_or_default().to_owned(),
    };
    let name: String = name.chars().map(|c| if c == '/' || c.is_whitespace() { '-' } else { c }).collect();
    let out = entry.beside(&app.here).join(format!("{name}-{suffix}"));
    let form = Form { adapter, base, out, dtype: DTYPES[0], shard: "5GB".to_owned(), verify: true };
    app.models.form = Some(form);
    show_form(app, Field::Start)
}

/// The form as a list: enter on a row changes it.
fn show_form(app: &mut App, at: Field) -> Effects {
    use Field::{Base, Copy, Dtype, Out, Shard, Start, Verify};
    let Some(form) = app.models.form.clone() else { return Vec::new() };
    let shown = |path: &Path| clean_line(&path.display().to_string(), 400);
    let dtype = if form.dtype == DTYPES[0] { app.t(text::AS_IS) } else { form.dtype };
    let base = form.base.as_deref().map_or_else(|| app.t(text::CHOOSE_BASE).to_owned(), shown);
    let rows = [
        (Start, text::FORM_START, app.t(text::FORM_START_DETAIL).to_owned()),
        (Out, text::FORM_OUT, shown(&form.out)),
        (Base, text::FORM_BASE, base),
        (Dtype, text::FORM_DTYPE, dtype.to_owned()),
        (Shard, text::FORM_SHARD, clean_line(&form.shard, 40)),
        (Verify, text::FORM_VERIFY, app.t(if form.verify { text::VERIFY_YES } else { text::VERIFY_NO }).to_owned()),
        (Copy, text::FORM_COPY, clean_line(&form.command(), 1000)),
    ];
    let cursor = Cursor { at: rows.iter().position(|(field, ..)| *field == at).unwrap_or_default(), len: rows.len() };
    let item = |(field, label, detail): (Field, crate::text::T, String)| Item {
        label: app.t(label).to_owned(),
        detail,
        action: Action::Models(Msg::Field(field)),
    };
    let items = rows.into_iter().map(item).collect();
    let title = app.t(if form.adapter.is_some() { text::FORM_TITLE } else { text::FORM_TITLE_BASE }).to_owned();
    let filter = Filtered { cursor, ..Filtered::default() };
    app.open(Overlay::Choose(overlay::Choose { title, items, filter }))
}

fn enter_field(app: &mut App, field: Field) -> Effects {
    let Some(form) = &mut app.models.form else { return Vec::new() };
    match field {
        Field::Dtype => form.dtype = next(&DTYPES, form.dtype),
        Field::Verify => form.verify = !form.verify,
        Field::Out => {
            let value = form.out.to_string_lossy().into_owned();
            let (title, label) = (app.t(text::FORM_OUT), app.t(text::OUT_LABEL));
            return app.ask(title, label, &value, |typed| Action::Models(Msg::Out(typed)));
        }
        Field::Shard => {
            let value = form.shard.clone();
            let (title, label) = (app.t(text::FORM_SHARD), app.t(text::SHARD_LABEL));
            return app.ask(title, label, &value, |typed| Action::Models(Msg::Shard(typed)));
        }
        Field::Base => return choose_base(app),
        Field::Copy => {
            let command = form.command();
            let mut effects = app.copy(command);
            effects.extend(show_form(app, field));
            return effects;
        }
        Field::Start => return start(app),
    }
    show_form(app, field)
}

fn choose_base(app: &mut App) -> Effects {
    let bases = app.models.entries.iter().filter(|entry| !entry.kind.is_adapter() && entry.is_whole());
    let item = |entry: &Entry| Item {
        label: entry.name.clone(),
        detail: clean_line(&entry.path.display().to_string(), 400),
        action: Action::Models(Msg::Base(entry.path.clone())),
    };
    let items: Vec<Item> = bases.map(item).collect();
    if items.is_empty() {
        app.say(Level::Warning, app.t(text::NO_BASES));
        return show_form(app, Field::Base);
    }
    let title = app.t(text::FORM_BASE);
    app.choose(title, items)
}

/// The last look: what is run, in full.
fn start(app: &mut App) -> Effects {
    let Some(form) = &app.models.form else { return Vec::new() };
    let lang = app.lang();
    if form.base.is_none() {
        let adapter = form.adapter.as_deref();
        let entry = app.models.entries.iter().find(|e| Some(e.path.as_path()) == adapter);
        let named = entry.and_then(Entry::adapter).map_or_else(String::new, |facts| facts.base.clone());
        app.say(Level::Warning, text::NO_BASE.fill(lang, &[&named]));
        return show_form(app, Field::Base);
    }
    let question = text::EXPORT_QUESTION.fill(lang, &[&clean(&form.lines())]);
    let title = app.t(text::FORM_TITLE);
    app.confirm(title, question, false, Action::Models(Msg::Export))
}

fn export(app: &mut App) -> Effects {
    let Some(form) = app.models.form.take() else { return Vec::new() };
    let work = Work::Export { out: form.out.clone() };
    if app.models.jobs.iter().any(|job| job.work == work && job.state.is_running()) {
        app.say(Level::Info, text::ALREADY.fill(app.lang(), &[&clean_line(&form.out.to_string_lossy(), 300)]));
        return Vec::new();
    }
    let job = begin(app, work, State::Running);
    let name = app.models.jobs.last().map_or_else(String::new, Job::name);
    let title = text::EXPORTING.fill(app.lang(), &[&name]);
    let args = form.args().into_iter().chain(["--json".to_owned()]).collect();
    vec![app::Effect::Models(Effect::Export { job, title, args })]
}
