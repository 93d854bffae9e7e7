//! Changes to sets: converting, registering, downloading.
use crate::app::Action;
use crate::app::data::manage::{Convert, Effect, Msg, Removed};
use crate::app::data::{Msg as DataMsg, Source};
use crate::app::messages::Level;
use crate::app::tasks::Progress;
use crate::link::tasks::{Ctx, Runner};
use anyhow::{Context, bail};
use lightbox_core::data::convert::Format;
use lightbox_core::data::table::parquet_files;
use lightbox_core::data::{
    CaptionChoice, ConvertError, ConvertOptions, OnBad, RegisterError, convert, describe, register, unregister,
};
use serde::Deserialize;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

fn manage(msg: Msg) -> Action {
    Action::Data(DataMsg::Manage(msg))
}

pub fn run(tasks: &Runner, effect: Effect) {
    match effect {
        Effect::Convert { form, title } => drop(tasks.start(title, move |ctx| converted(&form, ctx))),
        Effect::Register { file, dir, name, replace } => {
            tasks.back().spawn(move || registered(&file, &dir, &name, replace));
        }
        Effect::Unregister(source) => tasks.back().spawn(move || match unregister(&source.dir, &source.name) {
            Ok(entry) => manage(Msg::Removed(Removed { source, entry })),
            Err(e) => Action::Say(Level::Error, e.to_string()),
        }),
        Effect::PutBack(Removed { source, entry }) => {
            tasks.back().spawn(move || match register(&source.dir, &source.name, entry, false) {
                Ok(()) => manage(Msg::IsBack(source)),
                Err(e) => Action::Say(Level::Error, e.to_string()),
            });
        }
        Effect::Download { repo, title } => {
            tasks.start(title, move |ctx| download(command(&repo)?, ctx));
        }
    }
}

fn converted(form: &Convert, ctx: &mut Ctx) -> anyhow::Result<Option<Action>> {
    let sources: Vec<String> = form.sources.iter().map(|path| path.display().to_string()).collect();
    let options = ConvertOptions {
        sources: parquet_files(&sources)?,
        out: form.out.clone(),
        name: form.name.clone(),
        folder: form.folder.clone(),
        format: Format::Json,
        columns: CaptionChoice { questions: form.questions.clone(), ..CaptionChoice::default() },
        media_dir: None,
        on_bad: OnBad::Skip,
        decode: false,
        max_rows: None,
        overwrite: false,
    };
    match convert(&options, &mut |step| ctx.progress(step.done as u64, step.total as u64)) {
        Ok(report) => {
            let dir = form.out.canonicalize().unwrap_or_else(|_| form.out.clone());
            Ok(Some(manage(Msg::Converted {
                source: Source { dir, name: report.name },
                written: report.written,
                skipped: report.skipped,
                json: report.json,
            })))
        }
        // The task list says that it was cancelled; what is done is kept.
        Err(e @ ConvertError::Stopped { .. }) => {
            ctx.back().send(Action::Say(Level::Info, e.to_string()));
            Ok(None)
        }
        Err(e) => Err(e.into()),
    }
}

fn registered(file: &Path, dir: &Path, name: &str, replace: bool) -> Action {
    let outcome =
        describe(file, dir).map_err(RegisterError::from).and_then(|entry| register(dir, name, entry, replace));
    match outcome {
        Ok(()) => manage(Msg::Made(Source { dir: dir.to_owned(), name: name.to_owned() })),
        Err(e @ RegisterError::Taken { .. }) => {
            let (file, dir, name) = (file.to_owned(), dir.to_owned(), name.to_owned());
            manage(Msg::Taken { file, dir, name, why: e.to_string() })
        }
        Err(e) => Action::Say(Level::Error, format!("{:#}", anyhow::Error::from(e))),
    }
}

/// The command that a user would type.
fn command(repo: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this program's own file")?);
    command.args(["download", "dataset", repo, "--json", "--yes"]);
    Ok(command)
}

/// A line of `lightbox download --json`.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line {
    Progress {
        done_bytes: u64,
        total_bytes: u64,
        #[serde(default)]
        file: String,
        note: Option<String>,
    },
    Done {
        folder: PathBuf,
    },
}

/// Loads, and opens the folder.
pub(super) fn download(command: Command, ctx: &mut Ctx) -> anyhow::Result<Option<Action>> {
    loaded(command, ctx).map(|folder| Some(Action::Data(DataMsg::OpenPath(folder))))
}

/// Runs the command, tells how far it is, and gives the folder that it ends with. A connection can be silent for long, so
/// its lines are read by a thread and this one looks whether it was cancelled.
pub(in crate::link) fn loaded(mut command: Command, ctx: &mut Ctx) -> anyhow::Result<PathBuf> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot start the download")?;
    let (send, lines) = channel();
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| send.send(line))
        });
    }
    let said = child.stderr.take().map(|mut stderr| {
        std::thread::spawn(move || {
            let mut said = Vec::new();
            // whatever it says, its end is what matters
            let _ = stderr.read_to_end(&mut said);
            String::from_utf8_lossy(&said).into_owned()
        })
    });
    let mut folder = None;
    loop {
        match lines.recv_timeout(Duration::from_millis(100)) {
            Ok(line) => match serde_json::from_str(&line) {
                Ok(Line::Progress { done_bytes, total_bytes, file, note }) => {
                    let note = note.unwrap_or(file);
                    let _ = ctx.report(|| Progress { done: done_bytes, total: total_bytes, bytes: true, note });
                }
                Ok(Line::Done { folder: there }) => folder = Some(there),
                // A newer version may say more.
                Err(_) => {}
            },
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if ctx.is_cancelled() {
            // What is loaded is kept, and gone on with the next time, however it ends.
            child.kill()?;
            child.wait()?;
            bail!("cancelled");
        }
    }
    let status = child.wait()?;
    let said = said.and_then(|thread| thread.join().ok()).unwrap_or_default();
    match folder.filter(|_| status.success()) {
        Some(folder) => Ok(folder),
        None => {
            let mut lines = said.lines().filter(|line| !line.trim().is_empty()).rev();
            let error = lines.clone().find(|line| line.starts_with("error"));
            bail!("{}", error.or(lines.next()).unwrap_or("the download ended without a folder"))
        }
    }
}
