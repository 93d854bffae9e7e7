//! Whether a run can be started, and its start: detached, as `lightbox train --detach` does it, or into the queue, as
//! `lightbox runs queue add` does.

use super::load;
use crate::app::messages::Level;
use crate::app::train::Msg as Of;
use crate::app::train::start::{Effect, Fate, Msg, Obstacle, Plan, Request, Way};
use crate::app::{Action, runs};
use crate::cli::train::{Ready, make_ready};
use crate::launch;
use crate::link::Back;
use crate::link::tasks::Runner;
use crate::text::{Lang, train as text};
use anyhow::{Context, Result};
use lightbox_core::data;
use lightbox_core::data::dataset_info::DatasetInfo;
use lightbox_core::hub::{NotHere, What};
use lightbox_core::profile::{Origin, Profile};
use lightbox_core::runs::queue::{self, Home};
use lightbox_core::runs::state::Status;
use lightbox_core::runs::view::RunView;
use lightbox_core::runs::{RunDir, checkpoints};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub fn run(back: &Back, tasks: &Runner, effect: Effect) {
    match effect {
        Effect::Check(request) => back.spawn(move || {
            let lacks = |plan| Ok((plan, load::lacks(&profile_of(&request)?)?));
            Action::Train(match check(&request).and_then(lacks) {
                Ok((_, Some(lacks))) => Of::Load(crate::app::train::load::Msg::Lacks(lacks)),
                Ok((plan, None)) => Of::Start(Msg::Checked(request.way, Ok(plan))),
                Err(obstacles) => Of::Start(Msg::Checked(request.way, Err(obstacles))),
            })
        }),
        Effect::Go(request) => {
            tasks.start(request.title.clone(), move |_| match request.way {
                Way::Now => start(&request).map(Some),
                Way::Queue => enqueue(&request).map(Some),
            });
        }
    }
}

/// The profile as it will be written. It trains: that is what was asked for, unless it says no.
fn profile_of(request: &Request) -> Result<Profile, Vec<Obstacle>> {
    let no_overrides: &[&str] = &[];
    let problems = |e: lightbox_core::profile::ProfileError| -> Vec<Obstacle> {
        e.problems.into_iter().map(|p| Obstacle { key: p.key.unwrap_or_default(), message: p.message }).collect()
    };
    let profile = Profile::parse("", &request.text, no_overrides).map_err(problems)?;
    let mut profile = match profile.origin("do_train") {
        // what a training needs is checked only if the profile says that it trains
        Origin::Default => Profile::parse("", &request.text, &["do_train=true"]).map_err(problems)?,
        _ => profile,
    };
    if request.fresh {
        profile.overwrite_output_dir = true;
    }
    Ok(profile)
}

/// Everything that would end the run at once, before it is one; but what can be loaded from a Hub ([`load::lacks`]).
pub fn check(request: &Request) -> Result<Plan, Vec<Obstacle>> {
    let profile = profile_of(request)?;
    let lang = request.lang;
    let mut obstacles = Vec::new();
    let mut refuse = |key: &str, message: String| obstacles.push(Obstacle { key: key.to_owned(), message });
    if !profile.do_train {
        refuse("do_train", text::DO_TRAIN_FALSE.get(lang).to_owned());
    }
    if let Some(model) = &profile.model_name_or_path {
        match profile.model_folder() {
            Ok(dir) if dir.join("config.json").is_file() => {}
            Ok(_) => refuse("model_name_or_path", text::NO_MODEL_CONFIG.fill(lang, &[model])),
            Err(NotHere::Missing(_)) => {}
            Err(NotHere::NoFolder { .. }) => refuse("model_name_or_path", text::NO_MODEL_FOLDER.fill(lang, &[model])),
            Err(NotHere::Hub(e)) => refuse("model_name_or_path", e.to_string()),
        }
    }
    for adapter in &profile.adapter_name_or_path {
        match profile.find(Path::new(adapter), What::Adapter) {
            Ok(dir) if dir.join("adapter_config.json").is_file() => {}
            Err(NotHere::Missing(_)) => {}
            _ => refuse("adapter_name_or_path", text::NO_ADAPTER.fill(lang, &[adapter])),
        }
    }
    let info = DatasetInfo::load(&profile.dataset_dir);
    let named = [("dataset", &profile.dataset), ("eval_dataset", &profile.eval_dataset)];
    for (key, name) in named.iter().flat_map(|(key, names)| names.iter().map(move |name| (*key, name))) {
        let Err(wrong) = data::find(&profile.dataset_dir, name) else { continue };
        match &info {
            Ok(info) if info.contains(name) => refuse(key, format!("{wrong:#}")),
            Ok(_) => refuse(key, text::NO_SUCH_DATASET.fill(lang, &[name, &profile.dataset_dir.display()])),
            Err(e) => refuse("dataset_dir", text::NO_DATASET_INFO.fill(lang, &[&format!("{e:#}")])),
        }
    }
    if let Some(checkpoint) = profile.resume_from_checkpoint.as_ref().filter(|path| !path.is_dir()) {
        refuse("resume_from_checkpoint", text::NO_CHECKPOINT.fill(lang, &[&checkpoint.display()]));
    }
    let fate = match fate(&profile, lang) {
        Ok(fate) => fate,
        Err(why) => {
            refuse("output_dir", why);
            Fate::New
        }
    };
    if !obstacles.is_empty() {
        return Err(obstacles);
    }
    let output_dir = std::path::absolute(&profile.output_dir).unwrap_or_else(|_| profile.output_dir.clone());
    Ok(Plan { free: free_name(&output_dir), output_dir, fate, notes: profile.notes() })
}

/// What the worker will do with what lies in `output_dir` (`runs::drive::resume`).
fn fate(profile: &Profile, lang: Lang) -> Result<Fate, String> {
    const FINISHED: [&str; 3] = ["adapter_model.safetensors", "model.safetensors", "model.safetensors.index.json"];
    let Ok(run) = RunDir::open(&profile.output_dir) else {
        return match profile.output_dir.exists() {
            true => Err(format!("{} is not a folder", profile.output_dir.display())),
            false => Ok(Fate::New),
        };
    };
    let view = RunView::open_lenient(&run);
    if view.is_alive() {
        return Err(text::IS_RUNNING.fill(lang, &[&run.path().display()]));
    }
    let all = checkpoints::list(&run).map_err(|e| e.to_string())?;
    let finished = FINISHED.iter().any(|file| run.join(file).exists());
    if profile.overwrite_output_dir {
        return Ok(if all.is_empty() && !finished { Fate::New } else { Fate::Overwrites(all.len()) });
    }
    if profile.resume_from_checkpoint.is_some() {
        return Ok(Fate::New);
    }
    let newest =
        all.iter().filter(|checkpoint| checkpoint.check_quick().is_ok()).map(|checkpoint| checkpoint.step).max();
    Ok(match newest {
        Some(step) => Fate::GoesOn { step, ended: view.state == Status::Finished },
        None if finished => Fate::Finished,
        None if run.join(RunDir::PROFILE).exists() => Fate::Again,
        None => Fate::New,
    })
}

/// `saves/x-2` beside `saves/x`.
fn free_name(dir: &Path) -> PathBuf {
    let name = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (stem, from) = match name.rsplit_once('-').map(|(stem, n)| (stem.to_owned(), n.parse::<u32>())) {
        Some((stem, Ok(n))) => (stem, n.saturating_add(1)),
        _ => (name, 2),
    };
    let named = |n: u32| dir.with_file_name(format!("{stem}-{n}"));
    (from..).map(named).find(|path| !path.exists()).unwrap_or_else(|| named(from))
}

fn ready(request: &Request) -> Result<Ready> {
    let profile = profile_of(request).map_err(|obstacles| {
        let all: Vec<String> = obstacles.into_iter().map(|o| format!("{}: {}", o.key, o.message)).collect();
        anyhow::anyhow!("{}", all.join("; "))
    })?;
    let set: Vec<&str> = request.set.iter().map(String::as_str).collect();
    make_ready(&profile, Some(request.text.as_bytes()), &set)
}

fn start(request: &Request) -> Result<Action> {
    let ready = ready(request)?;
    let (mut supervisor, warning) = launch::spawn_quietly(&ready.run)?;
    let up = launch::until_up(&ready.run, &mut supervisor);
    // whoever starts a process has to ask for its end, or it stays in the table of processes
    std::thread::spawn(move || supervisor.wait());
    let up = up?;
    let said = text::STARTED.fill(request.lang, &[&ready.info.name, &up.dir]);
    Ok(started(PathBuf::from(up.dir), said, ready.note.into_iter().chain(warning.map(str::to_owned))))
}

/// What follows when a run is up.
fn started(dir: PathBuf, said: String, notes: impl Iterator<Item = String>) -> Action {
    let notes = notes.map(|note| Action::Say(Level::Warning, note));
    Action::All(notes.chain([Action::Say(Level::Good, said), Action::Runs(runs::Msg::Chosen(dir))]).collect())
}

fn enqueue(request: &Request) -> Result<Action> {
    let ready = ready(request)?;
    let run = RunDir::open(std::path::absolute(ready.run.path())?)?;
    let profile = profile_of(request).map_err(|_| anyhow::anyhow!("the profile has changed"))?;
    let item = Home::find()?.change(|queue| queue.add(&run, queue::slot_of(&profile)))?;
    let kicked = kick();
    let said = text::QUEUED.fill(request.lang, &[&ready.info.name, &item.id]);
    let note = kicked.err().map(|e| format!("{e:#}"));
    Ok(started(run.path().to_owned(), said, ready.note.into_iter().chain(note)))
}

/// Starts what can be started now. By a process of its own: queued runs start in the folders where they were queued, and a
/// process has one current folder for all its threads.
fn kick() -> Result<()> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = Command::new(program);
    command.args(["runs", "queue", "start", "--json"]);
    let output = command.stdin(Stdio::null()).output().context("starting the queue")?;
    if !output.status.success() {
        anyhow::bail!("the queue: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod free_names {
    use super::*;

    #[test]
    fn a_free_name_counts_on_and_is_never_taken() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        assert_eq!(free_name(&at("x")), at("x-2"));
        std::fs::create_dir(at("x-2")).unwrap();
        assert_eq!(free_name(&at("x")), at("x-3"));
        assert_eq!(free_name(&at("x-2")), at("x-3"));
        assert_eq!(free_name(&at("qwen2-vl")), at("qwen2-vl-2"));
    }
}
