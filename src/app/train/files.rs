//! Where a profile comes from and goes to: files, templates, the settings of a run, $EDITOR.

use super::draft::{Draft, NEW};
use super::templates::{TEMPLATES, about};
use super::yaml::{self, Entry};
use super::{Effect as Of, action, changed, effect};
use crate::app::messages::Level;
use crate::app::overlay::{Item, Want};
use crate::app::{Action, App, Effects};
use crate::input::paste::expand_home;
use crate::text::train as text;
use lightbox_core::safe_text::clean_line;
use std::path::{Path, PathBuf};

/// A profile on the disk, as it was when it was read or written last.
#[derive(Debug, Clone)]
pub struct File {
    pub path: PathBuf,
    pub text: String,
    pub entries: Vec<Entry>,
    /// Someone else has changed it since.
    pub changed_on_disk: bool,
}

impl File {
    pub fn new(path: PathBuf, text: String) -> Self {
        Self { entries: yaml::entries(&text), path, text, changed_on_disk: false }
    }
}

/// A profile to begin from.
#[derive(Debug, Clone)]
pub enum What {
    Empty,
    /// Of [`TEMPLATES`].
    Template(usize),
    File(PathBuf),
    /// The folder of a run.
    Run(PathBuf),
    /// Another file: the picker.
    Browse,
}

#[derive(Debug, Clone)]
pub struct Source {
    pub label: String,
    pub detail: String,
    pub what: What,
}

/// A profile that was read.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// `None`: it is not to be written back to where it came from.
    pub path: Option<PathBuf>,
    pub name: String,
    pub text: String,
}

#[derive(Debug, Clone)]
pub enum Msg {
    /// Profiles that lie about, and runs.
    Sources(Vec<Source>),
    Open(What),
    /// The same; what is not saved is given up.
    Discard(What),
    Picked(Vec<PathBuf>),
    /// Nothing is said if the profile of the last session is gone.
    Loaded(Result<Loaded, String>, bool),
    SaveAs(String),
    /// Although there is a file, or it was changed.
    Overwrite(PathBuf),
    Saved(Result<File, Failure>),
    /// The file as it is now.
    Looked(PathBuf, Option<String>),
    DraftWritten(Result<PathBuf, String>),
    EditorClosed(PathBuf),
    DraftRead(Result<String, String>),
}

/// Why a file was not written.
#[derive(Debug, Clone)]
pub enum Failure {
    Exists(PathBuf),
    ChangedOnDisk(PathBuf),
    Other(String),
}

#[derive(Debug)]
pub enum Effect {
    Load {
        path: PathBuf,
        quiet: bool,
    },
    /// The profile of a run.
    LoadRun(PathBuf),
    /// Profiles in the folder of the workbench, and runs.
    Sources(PathBuf),
    Save {
        path: PathBuf,
        text: String,
        known: Known,
    },
    Look(PathBuf),
    WriteDraft(String),
    ReadDraft(PathBuf),
}

/// What may be there before a file is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    Nothing,
    This(String),
    Anything,
}

fn of(it: Effect) -> crate::app::Effect {
    effect(Of::Files(it))
}

fn act(msg: Msg) -> Action {
    action(super::Msg::Files(msg))
}

/// Looks whether someone else has changed the file.
pub fn look(app: &App) -> Effects {
    app.train.file.iter().map(|file| of(Effect::Look(file.path.clone()))).collect()
}

pub fn open(app: &mut App) -> Effects {
    vec![of(Effect::Sources(app.here.clone()))]
}

pub fn save(app: &mut App) -> Effects {
    match &app.train.file {
        None => save_as(app),
        Some(file) => {
            let (path, known) = (file.path.clone(), Known::This(file.text.clone()));
            vec![of(Effect::Save { path, text: app.train.draft.text().to_owned(), known })]
        }
    }
}

pub fn save_as(app: &mut App) -> Effects {
    let path = match &app.train.file {
        Some(file) => super::edit::shortened(&app.here, &file.path),
        None if app.train.origin.ends_with(".yaml") => app.train.origin.clone(),
        None => "profile.yaml".to_owned(),
    };
    app.ask(app.t(text::SAVE_AS), app.t(text::SAVE_AS_LABEL), &path, |path| act(Msg::SaveAs(path)))
}

pub fn update(app: &mut App, msg: Msg) -> Effects {
    match msg {
        Msg::Sources(sources) => choose(app, sources),
        Msg::Open(What::Browse) => {
            let near = app.train.file.as_ref().and_then(|file| file.path.parent()).unwrap_or(&app.here).to_owned();
            app.pick_files(app.t(text::OPEN), Want::Profiles, false, &near, |paths| act(Msg::Picked(paths)))
        }
        Msg::Open(what) if app.train.is_changed() => {
            app.confirm(app.t(text::OPEN), app.t(text::DISCARD), true, act(Msg::Discard(what)))
        }
        Msg::Open(what) | Msg::Discard(what) => begin(app, what),
        Msg::Picked(paths) => match paths.into_iter().next() {
            Some(path) => update(app, Msg::Open(What::File(path))),
            None => Vec::new(),
        },
        Msg::Loaded(Ok(loaded), _) => take(app, loaded),
        Msg::Loaded(Err(_), true) => Vec::new(),
        Msg::Loaded(Err(why), false) => {
            app.say(Level::Error, why);
            Vec::new()
        }
        Msg::SaveAs(name) => {
            let name = name.trim();
            if name.is_empty() {
                return Vec::new();
            }
            let mut path = app.here.join(expand_home(name));
            if path.extension().is_none() {
                path.set_extension("yaml");
            }
            let known = match &app.train.file {
                Some(file) if file.path == path => Known::This(file.text.clone()),
                _ => Known::Nothing,
            };
            vec![of(Effect::Save { path, text: app.train.draft.text().to_owned(), known })]
        }
        Msg::Overwrite(path) => {
            let text = app.train.draft.text().to_owned();
            vec![of(Effect::Save { path, text, known: Known::Anything })]
        }
        Msg::Saved(saved) => self::saved(app, saved),
        Msg::Looked(path, now) => {
            if let Some(file) = app.train.file.as_mut().filter(|file| file.path == path) {
                let differs = now.is_none_or(|now| now != file.text);
                if differs && !std::mem::replace(&mut file.changed_on_disk, differs) {
                    let text = text::CHANGED_ON_DISK.fill(app.lang(), &[&clean_line(&path.display().to_string(), 200)]);
                    app.say(Level::Warning, text);
                } else {
                    file.changed_on_disk = differs;
                }
            }
            Vec::new()
        }
        Msg::DraftWritten(Ok(path)) => {
            let after = act(Msg::EditorClosed(path.clone()));
            vec![crate::app::Effect::Edit(path, Box::new(after))]
        }
        Msg::EditorClosed(path) => vec![of(Effect::ReadDraft(path))],
        Msg::DraftRead(Ok(text)) => {
            app.train.draft.replace(text);
            changed(app)
        }
        Msg::DraftWritten(Err(why)) | Msg::DraftRead(Err(why)) => {
            app.say(Level::Error, why);
            Vec::new()
        }
    }
}

fn choose(app: &mut App, mut sources: Vec<Source>) -> Effects {
    sources.push(Source {
        label: app.t(text::BROWSE).to_owned(),
        detail: app.t(text::BROWSE_DETAIL).to_owned(),
        what: What::Browse,
    });
    sources.push(Source {
        label: app.t(text::EMPTY).to_owned(),
        detail: app.t(text::EMPTY_DETAIL).to_owned(),
        what: What::Empty,
    });
    for (i, (name, template)) in TEMPLATES.iter().enumerate() {
        let label = text::TEMPLATE.fill(app.lang(), &[name]);
        sources.push(Source { label, detail: about(template).to_owned(), what: What::Template(i) });
    }
    // runs last: there may be hundreds
    sources.sort_by_key(|source| matches!(source.what, What::Run(_)));
    let items = sources
        .into_iter()
        .map(|s| Item {
            label: match s.what {
                What::Run(_) => text::RUN_SETTINGS.fill(app.lang(), &[&clean_line(&s.label, 80)]),
                _ => clean_line(&s.label, 100),
            },
            detail: clean_line(&s.detail, 200),
            action: act(Msg::Open(s.what)),
        })
        .collect();
    app.choose(app.t(text::OPEN_TITLE), items)
}

fn begin(app: &mut App, what: What) -> Effects {
    match what {
        What::Browse => Vec::new(),
        What::File(path) => vec![of(Effect::Load { path, quiet: false })],
        What::Run(dir) => vec![of(Effect::LoadRun(dir))],
        What::Empty => take(app, Loaded { path: None, name: String::new(), text: NEW.to_owned() }),
        What::Template(i) => match TEMPLATES.get(i) {
            Some((name, text)) => take(app, Loaded { path: None, name: (*name).to_owned(), text: (*text).to_owned() }),
            None => Vec::new(),
        },
    }
}

/// Shows a profile that was read.
fn take(app: &mut App, loaded: Loaded) -> Effects {
    let Loaded { mut path, name, text: read } = loaded;
    let read = read.strip_prefix('\u{feff}').unwrap_or(&read).to_owned();
    let mut draft = Draft::new(read.clone());
    // JSON, and YAML in braces, cannot be changed line by line: from here on it is YAML, under another name
    if !yaml::is_lines(&read)
        && draft.entries().is_empty()
        && let Some(profile) = draft.profile()
    {
        draft = Draft::new(profile.to_yaml());
        path = None;
        let text = text::WAS_JSON.fill(app.lang(), &[&clean_line(&name, 100)]);
        app.say(Level::Info, text);
    }
    let train = &mut app.train;
    (train.draft, train.origin, train.field, train.yaml) = (draft, name, None, None);
    train.file = path.clone().map(|path| File::new(path, read));
    (train.groups.at, train.keys.at) = (0, 0);
    (train.search, train.only_set) = (tui_input::Input::default(), false);
    app.settings.last.profile = path;
    let mut effects = changed(app);
    effects.push(crate::app::Effect::SaveSettings);
    effects
}

fn saved(app: &mut App, saved: Result<File, Failure>) -> Effects {
    let lang = app.lang();
    let shown = |path: &Path| clean_line(&path.display().to_string(), 200);
    match saved {
        Ok(file) => {
            let text = text::SAVED.fill(lang, &[&shown(&file.path)]);
            app.say(Level::Good, text);
            app.settings.last.profile = Some(file.path.clone());
            app.train.origin = String::new();
            app.train.file = Some(file);
            app.train.count();
            vec![crate::app::Effect::SaveSettings]
        }
        Err(Failure::Exists(path)) => {
            let text = text::EXISTS.fill(lang, &[&shown(&path)]);
            app.confirm(app.t(text::SAVE_AS), text, true, act(Msg::Overwrite(path)))
        }
        Err(Failure::ChangedOnDisk(path)) => {
            let text = text::CHANGED_OVERWRITE.fill(lang, &[&shown(&path)]);
            app.confirm(app.t(text::SAVE_AS), text, true, act(Msg::Overwrite(path)))
        }
        Err(Failure::Other(why)) => {
            app.say(Level::Error, why);
            Vec::new()
        }
    }
}
