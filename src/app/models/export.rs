//! The form of an export: what, whereto, how; and the command line that it becomes.
use super::App;
use super::entry::{Entry, Origin};
use super::work::{Effect, Job, Msg, State, Work, begin};
use crate::app;
use crate::app::action::{Action, Effects};
use crate::app::cursor::Cursor;
use crate::app::messages::Level;
use crate::app::overlay::{self, Filtered, Item, Overlay};
use crate::app::settings::next;
use crate::text::models as text;
use lightbox_core::safe_text::{clean, clean_line};
use serde::Deserialize;
use std::path::{Path, PathBuf};

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

pub fn out_typed(app: &mut App, typed: &str) -> Effects {
    let (here, typed) = (app.here.clone(), typed.trim());
    if let Some(form) = app.models.form.as_mut().filter(|_| !typed.is_empty()) {
        form.out = here.join(crate::input::paste::expand_home(typed));
    }
    show(app, Field::Out)
}

pub fn shard_typed(app: &mut App, typed: &str) -> Effects {
    match (lightbox_core::args::parse_size(typed), &mut app.models.form) {
        (Ok(_), Some(form)) => form.shard = typed.trim().to_owned(),
        (Err(wrong), _) => app.say(Level::Warning, format!("{}: {wrong}", clean_line(typed, 60))),
        _ => {}
    }
    show(app, Field::Shard)
}

pub fn base_chosen(app: &mut App, base: PathBuf) -> Effects {
    if let Some(form) = &mut app.models.form {
        form.base = Some(base);
    }
    show(app, Field::Base)
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
pub fn open(app: &mut App) -> Effects {
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
    show(app, Field::Start)
}

/// The form as a list: enter on a row changes it.
fn show(app: &mut App, at: Field) -> Effects {
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

pub fn enter(app: &mut App, field: Field) -> Effects {
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
            effects.extend(show(app, field));
            return effects;
        }
        Field::Start => return confirm(app),
    }
    show(app, field)
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
        return show(app, Field::Base);
    }
    let title = app.t(text::FORM_BASE);
    app.choose(title, items)
}

/// The last look: what is run, in full.
fn confirm(app: &mut App) -> Effects {
    let Some(form) = &app.models.form else { return Vec::new() };
    let lang = app.lang();
    if form.base.is_none() {
        let adapter = form.adapter.as_deref();
        let entry = app.models.entries.iter().find(|e| Some(e.path.as_path()) == adapter);
        let named = entry.and_then(Entry::adapter).map_or_else(String::new, |facts| facts.base.clone());
        app.say(Level::Warning, text::NO_BASE.fill(lang, &[&named]));
        return show(app, Field::Base);
    }
    let question = text::EXPORT_QUESTION.fill(lang, &[&clean(&form.lines())]);
    let title = app.t(text::FORM_TITLE);
    app.confirm(title, question, false, Action::Models(Msg::Export))
}

/// Yes: the export begins.
pub fn start(app: &mut App) -> Effects {
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
