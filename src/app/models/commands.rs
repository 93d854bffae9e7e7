//! What can be done on the Models screen.
use super::entry::{Entry, Kind, Lack, Origin};
use super::export;
use super::work::{self, Effect, Msg, State, Work};
use super::{App, Chosen, Pane, chat_with, scan, train_on};
use crate::app;
use crate::app::action::{Action, Effects};
use crate::app::commands::{ALWAYS, Command, command};
use crate::app::messages::Level;
use crate::app::overlay::{Item, Want};
use crate::input::Key;
use crate::text::{T, models as text};
use lightbox_core::safe_text::clean_line;
use std::path::PathBuf;

/// On a model or adapter that is whole.
const WHOLE: fn(&App) -> bool = |app| app.models.entry().is_some_and(Entry::is_whole);
const ON_ENTRY: fn(&App) -> bool = |app| app.models.entry().is_some();

pub static COMMANDS: &[Command] = &[
    command(
        "models-menu",
        T("what to do", "操作"),
        T("Lists what can be done with the chosen row", "列出可对所选项执行的操作"),
        &["enter"],
        0,
        |app| app.models.chosen().is_some(),
        menu,
    ),
    command(
        "models-download",
        T("download", "下载"),
        T("Loads a model from the Hub, with resuming and verification", "从 Hub 下载模型，可续传并校验"),
        &["D"],
        7,
        ALWAYS,
        work::ask_repo,
    ),
    command(
        "models-continue",
        T("go on", "继续下载"),
        T("Goes on with a download where it was", "从中断处继续下载"),
        &["r"],
        8,
        |app| continued(app).is_some(),
        |app| match continued(app) {
            Some((repo, revision)) => work::list(app, repo, revision),
            None => Vec::new(),
        },
    ),
    command(
        "models-cancel",
        T("stop it", "停止"),
        T(
            "Stops the download or export of this row; a download can be gone on with",
            "停止此行的下载或导出；下载可稍后继续",
        ),
        &["x"],
        8,
        |app| app.models.job().is_some_and(|job| job.state.is_running()),
        |app| {
            let task = app.models.job().and_then(|job| job.task);
            match task.filter(|task| app.tasks.stop(*task)) {
                Some(task) => vec![app::Effect::CancelTask(task)],
                None => Vec::new(),
            }
        },
    ),
    command(
        "models-export",
        T("merge and export", "合并导出"),
        T(
            "Merges the adapter into its base and writes a model folder that others load, verified",
            "将适配器合并到基础模型，导出其他工具可加载的模型文件夹并校验",
        ),
        &["E"],
        6,
        WHOLE,
        export::open,
    ),
    command(
        "models-chat",
        T("chat", "对话"),
        T("Asks this model about pictures", "用此模型就图片对话"),
        &["c"],
        5,
        WHOLE,
        chat,
    ),
    command(
        "models-train",
        T("train on it", "以此训练"),
        T("Fine-tunes this base model", "以此基础模型微调"),
        &["t"],
        4,
        |app| app.models.entry().is_some_and(|e| e.is_whole() && !e.kind.is_adapter()),
        train,
    ),
    command(
        "models-filter",
        T("filter", "筛选"),
        T("Only what has these letters in its name or path", "只显示名称或路径含这些字符的项"),
        &["/"],
        3,
        |app| !app.models.entries.is_empty(),
        |app| {
            (app.models.typing, app.models.focus) = (true, Pane::List);
            Vec::new()
        },
    ),
    command(
        "models-add",
        T("open a folder", "打开文件夹"),
        T("Adds a folder with a model or adapter to the list", "将含模型或适配器的文件夹加入列表"),
        &["o"],
        3,
        ALWAYS,
        |app| {
            let (title, here) = (app.t(text::ADD_TITLE), app.here.clone());
            app.pick_files(title, Want::Folders, false, &here, |paths| Action::Models(Msg::Add(paths)))
        },
    ),
    command(
        "models-readme",
        T("README", "说明"),
        T("Reads the README.md of the folder", "阅读文件夹中的 README.md"),
        &["v"],
        2,
        |app| app.models.entry().is_some_and(|entry| entry.readme),
        |app| match app.models.entry() {
            Some(entry) => vec![app::Effect::Models(Effect::Read(entry.name.clone(), entry.path.join("README.md")))],
            None => Vec::new(),
        },
    ),
    command(
        "models-copy",
        T("copy path", "复制路径"),
        T("Copies the folder's path to your clipboard", "将文件夹路径复制到剪贴板"),
        &["y"],
        2,
        ON_ENTRY,
        |app| match app.models.entry().map(|entry| entry.path.display().to_string()) {
            Some(path) => app.copy(path),
            None => Vec::new(),
        },
    ),
    command(
        "models-remove",
        T("remove", "删除"),
        T(
            "Removes what was downloaded or exported, after a question; takes other folders off the list",
            "删除下载或导出的模型（会先确认）；其他文件夹仅移出列表",
        ),
        &["del"],
        1,
        |app| match app.models.chosen() {
            Some(Chosen::Entry(_)) => true,
            Some(Chosen::Job(job)) => !job.state.is_running(),
            None => false,
        },
        remove,
    ),
    command(
        "models-refresh",
        T("look again", "刷新"),
        T("Looks again for models on this machine", "重新查找本机的模型"),
        &["R"],
        0,
        ALWAYS,
        scan,
    ),
    command(
        "models-focus",
        T("other pane", "切换窗格"),
        T("Between the list and the details", "在列表与详情之间切换"),
        &["tab", "shift-tab"],
        0,
        ALWAYS,
        |app| {
            app.models.focus = if app.models.focus == Pane::List { Pane::Details } else { Pane::List };
            Vec::new()
        },
    ),
];

/// The repository and revision of a download that is half or failed.
fn continued(app: &App) -> Option<(String, String)> {
    if app.models.job().is_some_and(|job| job.state.is_running()) {
        return None;
    }
    let owned = |(repo, revision): (&str, &str)| (repo.to_owned(), revision.to_owned());
    match app.models.chosen()? {
        Chosen::Entry(entry) if matches!(entry.lack, Some(Lack::Half { .. })) => entry.hub().map(owned),
        Chosen::Job(job) => match (&job.work, &job.state) {
            (Work::Download { repo, revision }, State::Failed(_) | State::Offered) => Some(owned((repo, revision))),
            _ => None,
        },
        Chosen::Entry(_) => None,
    }
}

fn menu(app: &mut App) -> Effects {
    let possible = COMMANDS.iter().filter(|c| c.hint > 0 && (c.enabled)(app));
    let item = |command: &Command| Item {
        label: format!(
            "{:<4} {}",
            command.keys.first().and_then(|word| Key::parse(word)).map_or_else(String::new, |key| key.to_string()),
            app.t(command.title)
        ),
        detail: app.t(command.doc).to_owned(),
        action: Action::Run(command.name),
    };
    let mut items: Vec<(u8, Item)> = possible.map(|command| (command.hint, item(command))).collect();
    items.sort_by_key(|(hint, _)| std::cmp::Reverse(*hint));
    let title = match app.models.chosen() {
        Some(Chosen::Entry(entry)) => entry.name.clone(),
        Some(Chosen::Job(job)) => job.name(),
        None => return Vec::new(),
    };
    app.choose(title, items.into_iter().map(|(_, item)| item).collect())
}

/// The model and adapters that are asked when this entry is; an adapter whose base is not here says so.
fn parts(app: &mut App) -> Option<(PathBuf, Vec<PathBuf>)> {
    let entry = app.models.entry()?;
    let Some(adapter) = entry.adapter() else { return Some((entry.path.clone(), Vec::new())) };
    match &adapter.base_path {
        Some(base) => Some((base.clone(), vec![entry.path.clone()])),
        None => {
            let text = text::NO_BASE.fill(app.lang(), &[&adapter.base]);
            app.say(Level::Warning, text);
            None
        }
    }
}

fn chat(app: &mut App) -> Effects {
    let Some((model, adapters)) = parts(app) else { return Vec::new() };
    (app.settings.last.model, app.settings.last.adapter) = (Some(model.clone()), adapters.first().cloned());
    let mut effects = vec![app::Effect::SaveSettings];
    effects.extend(app::update(app, chat_with(model, adapters)));
    effects
}

fn train(app: &mut App) -> Effects {
    let Some((model, _)) = parts(app) else { return Vec::new() };
    app.settings.last.model = Some(model.clone());
    let mut effects = vec![app::Effect::SaveSettings];
    effects.extend(app::update(app, train_on(model)));
    effects
}

fn remove(app: &mut App) -> Effects {
    match app.models.job().map(|job| (job.id, job.state.is_running())) {
        Some((_, true)) => {
            app.say(Level::Warning, app.t(text::REMOVE_BUSY));
            return Vec::new();
        }
        // a failure is put away before anything on the disk is
        Some((id, false)) => {
            let keep = app.models.entry().map(|entry| entry.path.clone());
            app.models.jobs.retain(|job| job.id != id);
            app.models.settle(keep.as_deref());
            return Vec::new();
        }
        None => {}
    }
    let Some(entry) = app.models.entry().cloned() else { return Vec::new() };
    let (lang, title) = (app.lang(), app.t(text::REMOVE_TITLE));
    let path = clean_line(&entry.path.display().to_string(), 500);
    let size = crate::view::words::size(entry.bytes);
    match (&entry.origin, entry.kind) {
        (Origin::Run { .. }, _) => app.say(Level::Info, app.t(text::REMOVE_RUN)),
        (Origin::Hub(_), _) | (Origin::Folder, Kind::Export) => {
            let question = if entry.kind == Kind::Export { text::REMOVE_EXPORT } else { text::REMOVE_HUB };
            let question = question.fill(lang, &[&entry.name, &size, &path]);
            return app.confirm(title, question, true, Action::Models(Msg::Remove(Box::new(entry))));
        }
        (Origin::Folder, _) if app.settings.models.contains(&entry.path) => {
            let question = text::FORGET.fill(lang, &[&path]);
            return app.confirm(title, question, false, Action::Models(Msg::Forget(entry.path)));
        }
        (Origin::Folder, _) => app.say(Level::Info, text::REMOVE_NOT_OURS.fill(lang, &[&path])),
    }
    Vec::new()
}
