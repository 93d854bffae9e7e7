//! Data sets for the Data screen: finds and opens them, keeps a few of them open, fetches what is shown. What takes long
//! (opening, searching, checking, measuring) are tasks; rows, samples and what the model sees come from threads that
//! always serve the newest wish ([`newest`]).

mod fetch;
mod manage;
mod model;
mod newest;
#[cfg(test)]
mod tests;
mod work;

pub(in crate::link) use manage::loaded;

use super::Back;
use super::tasks::Runner;
use crate::app::Action;
use crate::app::data::{Effect, Msg, SetId, Source, Work};
use crate::app::messages::Level;
use crate::app::tasks::TaskId;
use lightbox_core::data::{Dataset, Discovery, Found, FoundKind, dataset_info, discover};
use model::Models;
use newest::Newest;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A JSON index has 16 bytes a row: sets that were open stay so, because going back and forth between them is common.
const KEPT_OPEN: usize = 4;

#[derive(Debug)]
pub struct Link {
    back: Back,
    tasks: Runner,
    sets: Sets,
    models: Models,
    /// The newest task of each kind: starting another ends it.
    running: HashMap<Work, TaskId>,
    rows: Newest<fetch::Rows>,
    samples: Newest<fetch::One>,
    seen: Newest<fetch::Seen>,
}

/// The sets that are open, the one used last at the end.
#[derive(Debug, Clone, Default)]
struct Sets(Arc<Mutex<Vec<OpenSet>>>);

type OpenSet = (SetId, Source, Arc<Dataset>);

impl Sets {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<OpenSet>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, id: SetId) -> Option<Arc<Dataset>> {
        let mut sets = self.lock();
        let at = sets.iter().position(|(known, ..)| *known == id)?;
        sets[at..].rotate_left(1);
        sets.last().map(|(.., set)| set.clone())
    }

    /// If it is open already: under its new id from now on.
    fn again(&self, id: SetId, source: &Source) -> Option<Arc<Dataset>> {
        let mut sets = self.lock();
        let at = sets.iter().position(|(_, known, _)| known == source)?;
        let (_, source, set) = sets.remove(at);
        sets.push((id, source, set.clone()));
        Some(set)
    }

    fn add(&self, id: SetId, source: Source, set: Arc<Dataset>) {
        let mut sets = self.lock();
        sets.retain(|(_, known, _)| *known != source);
        sets.push((id, source, set));
        let excess = sets.len().saturating_sub(KEPT_OPEN);
        sets.drain(..excess);
    }
}

impl Link {
    pub fn new(back: Back, tasks: Runner) -> Self {
        let models = Models::default();
        Self {
            rows: fetch::rows(back.clone()),
            samples: fetch::samples(back.clone()),
            seen: fetch::seen(back.clone(), models.clone()),
            sets: Sets::default(),
            running: HashMap::new(),
            models,
            back,
            tasks,
        }
    }

    pub fn run(&mut self, effect: Effect) {
        match effect {
            Effect::Discover(dirs) => self.back.spawn(move || found(&dirs)),
            Effect::LookAt(path, others) => self.back.spawn(move || look_at(&path, &others)),
            Effect::Open { id, source, title, fresh } => self.open(id, source, title, fresh),
            Effect::Rows(id, indices) => {
                if let Some(set) = self.sets.get(id) {
                    self.rows.wish(fetch::Rows { id, set, indices });
                }
            }
            Effect::Sample(id, index) => {
                if let Some(set) = self.sets.get(id) {
                    self.samples.wish(fetch::One { id, set, index });
                }
            }
            Effect::Seen(id, index, by) => {
                if let Some(set) = self.sets.get(id) {
                    self.seen.wish(fetch::Seen { id, set, index, by });
                }
            }
            Effect::Search { id, number, query, title } => {
                self.work(Work::Search, id, title, move |set, ctx| work::search(set, id, number, query, ctx));
            }
            Effect::Check { id, by, title } => {
                let models = self.models.clone();
                self.work(Work::Check, id, title, move |set, ctx| work::check(set, id, &models, &by, ctx));
            }
            Effect::Stats { id, by, title } => {
                let models = self.models.clone();
                self.work(Work::Stats, id, title, move |set, ctx| work::stats(set, id, &models, &by, ctx));
            }
            Effect::Manage(effect) => manage::run(&self.tasks, effect),
        }
    }

    fn open(&mut self, id: SetId, source: Source, title: String, fresh: bool) {
        if let Some(set) = self.sets.again(id, &source).filter(|_| !fresh) {
            return self.back.send(Action::Data(Msg::Opened(id, Ok((set.len(), set.parts())))));
        }
        self.end(Work::Open);
        let sets = self.sets.clone();
        let task = self.tasks.start(title, move |ctx| {
            let opened = work::open(&source, ctx).map(Arc::new);
            if let Ok(set) = &opened {
                sets.add(id, source, set.clone());
            }
            let said = opened.as_ref().map(|set| (set.len(), set.parts()));
            let said = said.map_err(|e| lightbox_core::safe_text::clean(&format!("{e:#}")));
            // The screen says why in full, so the task need not say it once more.
            Ok(Some(Action::Data(Msg::Opened(id, said))))
        });
        self.started(Work::Open, task);
    }

    /// Does `work` with an open set as a task, instead of the same work for another.
    fn work(
        &mut self,
        kind: Work,
        id: SetId,
        title: String,
        work: impl FnOnce(Arc<Dataset>, &mut super::tasks::Ctx) -> anyhow::Result<Option<Action>> + Send + 'static,
    ) {
        self.end(kind);
        let Some(set) = self.sets.get(id) else { return };
        let task = self.tasks.start(title, move |ctx| work(set, ctx));
        self.started(kind, task);
    }

    fn end(&mut self, kind: Work) {
        if let Some(task) = self.running.remove(&kind) {
            self.tasks.cancel(task);
        }
    }

    fn started(&mut self, kind: Work, task: TaskId) {
        self.running.insert(kind, task);
        self.back.send(Action::Data(Msg::Working(kind, task)));
    }
}

/// The sets of several folders, each once; what has a name is not listed as a bare file, too.
fn found(dirs: &[PathBuf]) -> Action {
    let mut all = Discovery { complete: true, ..Discovery::default() };
    for dir in dirs.iter().filter(|dir| dir.is_dir()) {
        let Discovery { found, notes, complete } = discover(dir);
        all.complete &= complete;
        all.found.extend(found);
        all.notes.extend(notes);
    }
    all.found.sort_by_key(|found| found.kind != FoundKind::Named);
    let data = |found: &Found| found.path.canonicalize().unwrap_or_else(|_| found.path.clone());
    let (mut seen, mut named) = (HashSet::new(), HashSet::new());
    all.found.retain(|found| {
        let data = data(found);
        if found.kind == FoundKind::Named {
            named.insert(data.clone());
            return seen.insert((data, found.name.clone()));
        }
        !named.contains(&data) && seen.insert((data, String::new()))
    });
    all.notes.dedup();
    Action::Data(Msg::Found { found: all.found, notes: all.notes, complete: all.complete })
}

/// What lies at a path, and opens it if it is one set.
fn look_at(path: &Path, others: &[PathBuf]) -> Action {
    let path = match path.canonicalize() {
        Ok(path) => path,
        Err(e) => {
            let why = format!("{}: {e}; nothing was opened", path.display());
            return Action::Say(Level::Error, why);
        }
    };
    let source = |dir: &Path, name: &Path| Source { dir: dir.to_owned(), name: name.display().to_string() };
    let beside = path.parent().unwrap_or(&path);
    if path.file_name().is_some_and(|name| name == dataset_info::FILE_NAME) {
        return look_at(beside, others);
    }
    let with_others = |dir: &Path| found(&[&[dir.to_owned()], others].concat());
    if path.is_file() {
        return Action::All(vec![with_others(beside), Action::Data(Msg::Open(source(beside, &path)))]);
    }
    let sets = with_others(&path);
    let first = discover(&path).found.iter().find(|found| found.problem.is_none()).map(Source::of);
    match first {
        Some(first) => Action::All(vec![sets, Action::Data(Msg::Open(first))]),
        None => {
            let why = format!(
                "{}: no dataset_info.json, no JSON, JSONL or parquet file of samples in it; nothing was opened",
                path.display()
            );
            Action::All(vec![sets, Action::Say(Level::Warning, why)])
        }
    }
}
