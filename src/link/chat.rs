//! What the Chat screen needs from outside: the worker that answers, the models there are, pictures, files.
use super::Back;
use super::answer::{Answerer, Event};
use super::tasks::Runner;
use crate::app::Action;
use crate::app::chat::{Candidate, Effect, Msg, label};
use crate::text::{Lang, chat as text};
use lightbox_core::args::base_model_of;
use lightbox_core::chat::{ModelChoice, Request};
use lightbox_core::generation::ModelDefaults;
use lightbox_core::profile::Profile;
use lightbox_core::runs::{RunDir, checkpoints, lock, registry};
use lightbox_core::safe_text::clean_line;
use std::path::{Path, PathBuf};

pub struct Link {
    back: Back,
    /// Started by the first request.
    answerer: Option<Answerer>,
    /// Messages that are made out here need the language, too.
    pub lang: Lang,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("answerer", &self.answerer.is_some()).finish_non_exhaustive()
    }
}

impl Link {
    pub fn new(back: Back, _tasks: Runner) -> Self {
        Self { back, answerer: None, lang: Lang::default() }
    }

    pub fn run(&mut self, effect: Effect) {
        let lang = self.lang;
        match effect {
            Effect::Send(request) => self.send(&request),
            // its end may take a moment
            Effect::End => drop(self.answerer.take().map(|answerer| std::thread::spawn(move || drop(answerer)))),
            Effect::FindModels { side, known } => {
                self.back.spawn(move || Action::Chat(Msg::Models { side, found: find_models(&known, lang) }));
            }
            Effect::ReadDefaults(model) => self.back.spawn(move || match ModelDefaults::of(&model) {
                Ok(defaults) => Action::Chat(Msg::Options(defaults)),
                Err(e) => Action::Chat(Msg::Saved(Err(clean_line(&format!("{e:#}"), 500)))),
            }),
            Effect::CheckPictures(paths) => self.back.spawn(move || check_pictures(paths, lang)),
            Effect::Save { path, text } => self.back.spawn(move || Action::Chat(Msg::Saved(save(&path, &text, lang)))),
            Effect::AddToDataSet { dir, name, row } => {
                self.back.spawn(move || Action::Chat(Msg::Saved(add(&dir, &name, &row, lang))));
            }
        }
    }

    fn send(&mut self, request: &Request) {
        for fresh in [false, true] {
            if self.answerer.is_none() || fresh {
                let back = self.back.clone();
                let hear = move |event| {
                    back.send(Action::Chat(match event {
                        Event::Reply(reply) => Msg::Reply(reply),
                        Event::Died(died) => Msg::Died(died.to_string()),
                    }));
                };
                match Answerer::start(None, hear) {
                    Ok(answerer) => self.answerer = Some(answerer),
                    Err(e) => return self.back.send(Action::Chat(Msg::Died(format!("{e:#}")))),
                }
            }
            match self.answerer.as_ref().map(|answerer| answerer.send(request)) {
                Some(Ok(())) => return,
                // the old one has died: nobody stops an answer that died with it
                Some(Err(_)) if matches!(request, Request::Stop { .. }) => return,
                Some(Err(e)) if fresh => return self.back.send(Action::Chat(Msg::Died(format!("{e:#}")))),
                _ => {}
            }
        }
    }
}

/// Adapters of runs first (the newest first), then the base models.
fn find_models(known: &[PathBuf], lang: Lang) -> Vec<Candidate> {
    let choice = |model: &Path, adapters: Vec<PathBuf>| ModelChoice {
        model: model.to_owned(),
        adapters,
        dtype: Default::default(),
        device: "auto".into(),
    };
    let (mut found, mut bases): (Vec<Candidate>, Vec<PathBuf>) = (Vec::new(), Vec::new());
    for run in registry::and_here(registry::all().unwrap_or_default()) {
        let no_overrides: &[&str] = &[];
        let Ok(profile) = Profile::load(&run.join(RunDir::PROFILE), no_overrides) else { continue };
        let Some(model) = profile.model_folder().ok().filter(|dir| is_model(dir)) else { continue };
        let base = model.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let mut add = |adapter: PathBuf, detail: crate::text::T| {
            let choice = choice(&model, vec![adapter]);
            let (label, detail) = (label(&choice), clean_line(&detail.fill(lang, &[&base]), 200));
            found.push(Candidate { label, detail, choice });
        };
        if is_adapter(run.path()) {
            add(run.path().to_owned(), text::ADAPTER_OF);
        }
        // the newest few: a run may keep a hundred
        let saved = checkpoints::list(&run).unwrap_or_default();
        let mut saved: Vec<PathBuf> =
            saved.into_iter().map(|checkpoint| run.join(&checkpoint.name())).filter(|dir| is_adapter(dir)).collect();
        saved.sort_by_key(|dir| std::cmp::Reverse(number(dir)));
        saved.into_iter().take(8).for_each(|dir| add(dir, text::CHECKPOINT_OF));
        bases.push(model);
    }
    bases.extend(known.iter().filter(|dir| is_model(dir)).cloned());
    for dir in known.iter().filter(|dir| is_adapter(dir)) {
        if found.iter().any(|candidate| candidate.choice.adapters.contains(dir)) {
            continue;
        }
        if let Some(model) = base_model_of(dir).filter(|model| is_model(model)) {
            let choice = choice(&model, vec![dir.clone()]);
            found.push(Candidate {
                label: label(&choice),
                detail: clean_line(&dir.display().to_string(), 300),
                choice,
            });
        }
    }
    let mut seen = Vec::new();
    for model in bases {
        let real = std::fs::canonicalize(&model).unwrap_or_else(|_| model.clone());
        if !seen.contains(&real) {
            let choice = choice(&model, Vec::new());
            let detail = format!("{} · {}", text::BASE_MODEL.get(lang), clean_line(&model.display().to_string(), 300));
            found.push(Candidate { label: label(&choice), detail, choice });
            seen.push(real);
        }
    }
    found
}

fn number(checkpoint: &Path) -> u64 {
    let name = checkpoint.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.strip_prefix(checkpoints::PREFIX).and_then(|n| n.parse().ok()).unwrap_or_default()
}

fn is_model(dir: &Path) -> bool {
    dir.join("config.json").is_file() && !is_adapter(dir)
}

fn is_adapter(dir: &Path) -> bool {
    dir.join("adapter_config.json").is_file() && dir.join("adapter_model.safetensors").is_file()
}

fn check_pictures(paths: Vec<PathBuf>, lang: Lang) -> Action {
    let (mut pictures, mut refused) = (Vec::new(), Vec::new());
    for path in paths {
        let shown = clean_line(&path.display().to_string(), 300);
        if !path.exists() {
            refused.push(text::NOT_HERE.fill(lang, &[&shown, &clean_line(&lock::host(), 100)]));
            continue;
        }
        match lightbox_core::data::ImageRef::File(path.clone()).read() {
            Err(e) => refused.push(clean_line(&e, 300)),
            Ok(bytes) => match lightbox_core::vision::inspect(&bytes) {
                Ok(_) => pictures.push(std::path::absolute(&path).unwrap_or(path)),
                Err(e) => refused.push(text::NO_PICTURE.fill(lang, &[&shown, &e])),
            },
        }
    }
    Action::Chat(Msg::Attach { pictures, refused })
}

fn save(path: &Path, content: &str, lang: Lang) -> Result<String, String> {
    let shown = clean_line(&path.display().to_string(), 300);
    if path.exists() {
        return Err(text::EXISTS.fill(lang, &[&shown]));
    }
    lightbox_core::fs::write_atomic(path, content.as_bytes()).map_err(|e| format!("{shown}: {e}"))?;
    Ok(text::SAVED.fill(lang, &[&shown]))
}

/// Appends the row to `dir/NAME.jsonl` and registers the file, if it is new.
fn add(dir: &Path, name: &str, row: &str, lang: Lang) -> Result<String, String> {
    let told = |e: anyhow::Error| clean_line(&format!("{e:#}"), 500);
    let file = crate::link::chat_rows::append(dir, name, row).map_err(told)?;
    match file {
        Some(file) => {
            Ok(text::ADDED.fill(lang, &[&clean_line(name, 100), &clean_line(&file.display().to_string(), 300)]))
        }
        None => Err(text::NOT_OURS.fill(lang, &[&clean_line(name, 100), &clean_line(&dir.display().to_string(), 300)])),
    }
}
