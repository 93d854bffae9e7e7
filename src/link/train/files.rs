//! Profiles on the disk.

use crate::app::Action;
use crate::app::train::Msg as Of;
use crate::app::train::files::{Effect, Failure, File, Known, Loaded, Msg, Source, What};
use anyhow::{Context, Result, bail};
use lightbox_core::runs::info::RunInfo;
use lightbox_core::runs::{RunDir, registry};
use std::path::{Path, PathBuf};

/// As in `lightbox_core::profile`: a larger file is no profile.
const MAX_BYTES: u64 = 128 << 10;
/// More nobody looks through; the picker finds the rest.
const MAX_SOURCES: usize = 100;

pub fn run(effect: Effect) -> Action {
    let msg = match effect {
        Effect::Load { path, quiet } => {
            let loaded = read(&path).map(|text| Loaded { name: name_of(&path), path: Some(path), text });
            Msg::Loaded(loaded.map_err(said), quiet)
        }
        Effect::LoadRun(dir) => Msg::Loaded(load_run(&dir).map_err(said), false),
        Effect::Sources(here) => Msg::Sources(sources(&here)),
        Effect::Save { path, text, known } => Msg::Saved(save(path, text, &known)),
        Effect::Look(path) => {
            let now = read(&path).ok();
            Msg::Looked(path, now)
        }
        Effect::WriteDraft(text) => Msg::DraftWritten(write_draft(&text).map_err(said)),
        Effect::ReadDraft(path) => {
            let text = read(&path).map_err(said);
            // it may hold a token
            let _ = lightbox_core::fs::remove_file(&path);
            Msg::DraftRead(text)
        }
    };
    Action::Train(Of::Files(msg))
}

fn said(e: anyhow::Error) -> String {
    format!("{e:#}")
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn read(path: &Path) -> Result<String> {
    let named = || path.display().to_string();
    let metadata = std::fs::metadata(path).with_context(named)?;
    if !metadata.is_file() {
        bail!("{} is not a regular file", path.display());
    }
    if metadata.len() > MAX_BYTES {
        bail!("{} is {} bytes long; a profile has at most {MAX_BYTES}", path.display(), metadata.len());
    }
    String::from_utf8(std::fs::read(path).with_context(named)?)
        .map_err(|_| anyhow::anyhow!("{} is not UTF-8 text; save it as UTF-8", path.display()))
}

fn load_run(dir: &Path) -> Result<Loaded> {
    let run = RunDir::open(dir)?;
    let name = RunInfo::read(&run).map_or_else(|_| run.name(), |info| info.name);
    Ok(Loaded { path: None, name, text: read(&run.join(RunDir::PROFILE))? })
}

/// Profiles in the folder and in `profiles/` below it, and runs, the newest first.
fn sources(here: &Path) -> Vec<Source> {
    let mut all = Vec::new();
    for folder in [here.to_owned(), here.join("profiles")] {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let is_profile = |path: &PathBuf| path.extension().is_some_and(|end| end == "yaml" || end == "yml");
        let mut files: Vec<PathBuf> =
            entries.map(|entry| entry.path()).filter(|path| is_profile(path) && path.is_file()).collect();
        files.sort();
        for path in files.into_iter().take(MAX_SOURCES) {
            let label = crate::app::train::edit::shortened(here, &path);
            let head = read(&path).unwrap_or_default();
            let detail = crate::app::train::templates::about(&head).to_owned();
            all.push(Source { label, detail, what: What::File(path) });
        }
    }
    for run in registry::all().unwrap_or_default().into_iter().take(MAX_SOURCES) {
        if run.join(RunDir::PROFILE).is_file() {
            let label = RunInfo::read(&run).map_or_else(|_| run.name(), |info| info.name);
            let dir = run.path().to_owned();
            all.push(Source { label, detail: dir.display().to_string(), what: What::Run(dir) });
        }
    }
    all
}

fn save(path: PathBuf, text: String, known: &Known) -> Result<File, Failure> {
    let other = |e: std::io::Error| Failure::Other(e.to_string());
    let there = match std::fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(Failure::Other(format!("{}: {e}", path.display()))),
    };
    match (there, known) {
        (Some(_), Known::Nothing) => return Err(Failure::Exists(path)),
        (Some(now), Known::This(was)) if now != was.as_bytes() && now != text.as_bytes() => {
            return Err(Failure::ChangedOnDisk(path));
        }
        _ => {}
    }
    if let Some(folder) = path.parent() {
        lightbox_core::fs::create_dir_all(folder).map_err(other)?;
    }
    lightbox_core::fs::write_atomic(&path, text.as_bytes()).map_err(other)?;
    Ok(File::new(path, text))
}

/// A copy for $EDITOR, in the user's own state folder: what is open twice is not written twice.
fn write_draft(text: &str) -> Result<PathBuf> {
    let folder = registry::state_dir().context("no folder for the text: set HOME or LIGHTBOX_STATE")?;
    lightbox_core::fs::create_dir_all(&folder)?;
    let path = folder.join(format!("draft-{}.yaml", std::process::id()));
    lightbox_core::fs::write_atomic(&path, text.as_bytes())?;
    Ok(path)
}
