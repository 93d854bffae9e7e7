//! The keys of the Data screen.
use super::open::Mode;
use super::seen::SeenMode;
use super::{Msg, Pane, Work, manage, open};
use crate::app::commands::{ALWAYS, Command, command};
use crate::app::overlay::{Overlay, Page, Want};
use crate::app::{Action, App, Effects};
use crate::text::{T, data as text};
use crate::view::words;
use lightbox_core::safe_text::clean_line;

const OPEN: fn(&App) -> bool = |app| app.data.open.is_some() && !app.data.covered();

fn shown(app: &App) -> bool {
    let there = |open: &super::open::Open| open.shown.is_some() && open.mode != Mode::Statistics;
    !app.data.covered() && app.data.open.as_ref().is_some_and(there)
}

fn pictures(app: &App) -> usize {
    let shown = app.data.open.as_ref().and_then(|open| open.shown.as_ref());
    shown.map_or(0, |shown| shown.images.len())
}

pub static COMMANDS: &[Command] = &[
    command(
        "data-open",
        T("open", "打开"),
        T("Opens the chosen set; goes into the sample", "打开选中的数据集；进入样本"),
        &["enter"],
        30,
        |app| match app.data.focus {
            Pane::Sets => app.data.set().is_some(),
            pane => pane == Pane::List && app.data.open.as_ref().is_some_and(|open| open.index().is_some()),
        },
        super::forward,
    ),
    command(
        "data-back",
        T("back", "返回"),
        T("One step back: detail, list, search, sets", "后退一步：详情、列表、搜索、数据集"),
        &["esc"],
        0,
        |app| app.data.open.is_some() || app.data.opening.is_some() || app.data.failed.is_some(),
        super::back,
    ),
    command(
        "data-seen",
        T("model's view", "模型视角"),
        T(
            "What the model sees: tokens, pictures, what is trained on, what is cut",
            "模型看到的内容：词元、图片、训练部分与截断部分",
        ),
        &["t"],
        28,
        shown,
        |app| toggle(app, SeenMode::Text),
    ),
    command(
        "data-tokens",
        T("tokens", "词元"),
        T("The tokens one by one, with their ids", "逐个显示词元及其编号"),
        &["T"],
        0,
        shown,
        |app| toggle(app, SeenMode::Tokens),
    ),
    command(
        "data-search",
        T("search", "搜索"),
        T("Lists only samples that fit", "只列出匹配的样本"),
        &["/"],
        27,
        OPEN,
        |app| {
            let line = app.data.open.as_ref().and_then(|open| open.filter.as_ref()).map(|f| f.query.clone());
            manage::ask_query(app, &line.unwrap_or_default(), None)
        },
    ),
    command(
        "data-filter",
        T("filter", "筛选"),
        T("Lists only bad, long, short or picture-less samples", "只列出有问题、过长、过短或无图片的样本"),
        &["f"],
        22,
        OPEN,
        manage::ask_filter,
    ),
    command(
        "data-jump",
        T("jump", "跳转"),
        T("To a sample by its number, or to 50%", "按编号跳到样本，或跳到 50%"),
        &["J"],
        24,
        OPEN,
        manage::ask_jump,
    ),
    command(
        "data-stats",
        T("statistics", "统计"),
        T("Histograms of lengths, turns and picture sizes", "长度、轮数与图片尺寸的直方图"),
        &["h"],
        26,
        OPEN,
        |app| super::statistics(app, false),
    ),
    command(
        "data-check",
        T("check", "检查"),
        T("Reads every sample and every picture, and lists what is wrong", "读取每个样本与每张图片，列出问题"),
        &["c"],
        25,
        OPEN,
        |app| super::check(app, false),
    ),
    command(
        "data-again",
        T("again", "重做"),
        T("Checks or measures once more; elsewhere reads the set anew", "重新检查或统计；其他情况下重新读取数据集"),
        &["r"],
        0,
        ALWAYS,
        again,
    ),
    command(
        "data-cancel",
        T("cancel", "取消"),
        T("Stops the search, check or measurement that is running", "停止正在进行的搜索、检查或统计"),
        &["x"],
        29,
        |app| Work::ALL.into_iter().any(|work| app.data.task(work, &app.tasks).is_some()),
        |app| Work::ALL.into_iter().flat_map(|work| super::stop(app, work)).collect(),
    ),
    command(
        "data-previous-picture",
        T("picture before", "上一张图片"),
        T("The picture before, where a sample has several", "样本有多张图片时显示上一张"),
        &[","],
        0,
        |app| pictures(app) > 1,
        |app| picture(app, -1),
    ),
    command(
        "data-next-picture",
        T("next picture", "下一张图片"),
        T("The next picture, where a sample has several", "样本有多张图片时显示下一张"),
        &["."],
        23,
        |app| pictures(app) > 1,
        |app| picture(app, 1),
    ),
    command(
        "data-focus",
        T("next pane", "下一窗格"),
        T("To the next pane", "转到下一个窗格"),
        &["tab"],
        0,
        ALWAYS,
        |app| focus(app, 1),
    ),
    command(
        "data-focus-back",
        T("pane before", "上一窗格"),
        T("To the pane before", "转到上一个窗格"),
        &["shift-tab"],
        0,
        ALWAYS,
        |app| focus(app, -1),
    ),
    command(
        "data-zoom",
        T("zoom", "放大"),
        T("Gives the pane all the room, or takes it back", "让当前窗格占满屏幕，或恢复"),
        &["z"],
        21,
        OPEN,
        |app| {
            app.data.zoom ^= true;
            Vec::new()
        },
    ),
    command(
        "data-hide-sets",
        T("hide the sets", "隐藏数据集栏"),
        T("Hides the list of sets, or shows it again", "隐藏或显示数据集列表"),
        &["["],
        0,
        OPEN,
        |app| {
            app.data.sets_hidden ^= true;
            if app.data.sets_hidden && app.data.focus == Pane::Sets {
                app.data.focus = Pane::List;
            }
            Vec::new()
        },
    ),
    command(
        "data-open-other",
        T("open other", "打开其他"),
        T("Opens a folder or file that is not in the list", "打开列表之外的文件夹或文件"),
        &["o"],
        20,
        ALWAYS,
        |app| {
            let dir = app.settings.last.dataset_dir.clone().unwrap_or_else(|| app.here.clone());
            app.pick_files(app.t(text::OPEN_TITLE), Want::Any, false, &dir, |paths| {
                paths.first().map_or(Action::All(Vec::new()), |path| super::open_path(path))
            })
        },
    ),
    command(
        "data-details",
        T("details", "详情"),
        T("Files, rows, columns and notes of the set", "数据集的文件、行数、列与说明"),
        &["i"],
        0,
        OPEN,
        details,
    ),
    command(
        "data-copy",
        T("copy text", "复制文本"),
        T("Copies the sample's text", "复制样本文本"),
        &["y"],
        0,
        shown,
        |app| copy(app, |shown| shown.text()),
    ),
    command(
        "data-copy-origin",
        T("copy origin", "复制来源"),
        T("Copies where the sample lies: file and line or row", "复制样本所在位置：文件与行号"),
        &["Y"],
        0,
        shown,
        |app| copy(app, |shown| shown.origin.clone()),
    ),
    command(
        "data-model",
        T("choose model", "选择模型"),
        T("The model folder whose tokens are shown", "选择用于显示词元的模型文件夹"),
        &["m"],
        0,
        OPEN,
        pick_model,
    ),
    command(
        "data-cutoff",
        T("cutoff_len", "cutoff_len"),
        T("Tries another cutoff_len: what would be cut off?", "试用其他 cutoff_len：会截断哪些内容？"),
        &["L"],
        0,
        OPEN,
        manage::ask_cutoff,
    ),
    command(
        "data-convert",
        T("convert", "转换"),
        T(
            "Makes a data set with pictures as files of captioned pictures in parquet",
            "将 parquet 中的图文数据转换为带图片文件的数据集",
        ),
        &["C"],
        19,
        manage::can_convert,
        manage::ask_convert,
    ),
    command(
        "data-register",
        T("register", "注册"),
        T("Gives a file a name in dataset_info.json", "在 dataset_info.json 中为文件注册名称"),
        &["R"],
        18,
        manage::can_register,
        manage::ask_register,
    ),
    command(
        "data-unregister",
        T("unregister", "取消注册"),
        T("Takes an entry out of dataset_info.json; the data stay", "从 dataset_info.json 移除条目；数据保留"),
        &["del"],
        0,
        manage::can_unregister,
        manage::ask_unregister,
    ),
    command(
        "data-undo",
        T("undo", "撤销"),
        T("Puts the entry back that was taken out last", "恢复最近移除的条目"),
        &["u"],
        17,
        |app| !app.data.manage.removed.is_empty(),
        |app| super::update(app, Msg::Manage(manage::Msg::PutBack)),
    ),
    command(
        "data-download",
        T("download", "下载"),
        T("Gets a data set from the Hugging Face Hub", "从 Hugging Face Hub 下载数据集"),
        &["D"],
        16,
        ALWAYS,
        manage::ask_repo,
    ),
];

fn toggle(app: &mut App, mode: SeenMode) -> Effects {
    app.data.seen = if app.data.seen == mode { SeenMode::Off } else { mode };
    if let Some(open) = &mut app.data.open {
        open.scroll = 0;
    }
    app.data.focus = Pane::Detail;
    super::want(app)
}

pub fn pick_model(app: &mut App) -> Effects {
    let dir = app.settings.last.model.as_ref().and_then(|dir| dir.parent()).unwrap_or(&app.here).to_owned();
    app.pick_files(app.t(text::MODEL_TITLE), Want::Folders, false, &dir, |paths| {
        paths.first().map_or(Action::All(Vec::new()), |dir| Action::Data(Msg::Model(dir.clone())))
    })
}

fn picture(app: &mut App, by: isize) -> Effects {
    let last = pictures(app).saturating_sub(1);
    if let Some(open) = &mut app.data.open {
        open.picture = open.picture.saturating_add_signed(by).min(last);
    }
    Vec::new()
}

fn focus(app: &mut App, by: isize) -> Effects {
    let panes = app.data.panes();
    let at = panes.iter().position(|pane| *pane == app.data.focus).unwrap_or_default() as isize;
    let next = (at + by).rem_euclid(panes.len().max(1) as isize) as usize;
    app.data.focus = panes.get(next).copied().unwrap_or_default();
    Vec::new()
}

fn again(app: &mut App) -> Effects {
    let (mode, source) = match &app.data.open {
        Some(open) if app.data.focus != Pane::Sets => (open.mode, Some(open.source.clone())),
        _ => (Mode::Samples, None),
    };
    match (mode, source) {
        (Mode::Problems, _) => super::check(app, true),
        (Mode::Statistics, _) => super::statistics(app, true),
        (Mode::Samples, Some(source)) => open(app, source, true),
        (Mode::Samples, None) => vec![super::discover(app)],
    }
}

fn copy(app: &mut App, text: fn(&super::open::Shown) -> String) -> Effects {
    let text = app.data.open.as_ref().and_then(|open| open.shown.as_ref()).map(|shown| text(shown));
    text.map_or_else(Vec::new, |text| app.copy(text))
}

/// Everything that is known about the set.
fn details(app: &mut App) -> Effects {
    let Some(open) = &app.data.open else { return Vec::new() };
    let t = |text: T| app.t(text);
    let mut page = String::new();
    let mut line = |label: T, value: &str| {
        page += &format!("{}{}\n", words::pad(t(label), 12), clean_line(value, 2_000));
    };
    line(text::DIR, &open.source.dir.display().to_string());
    line(text::SAMPLES, &words::count(open.len as u64));
    for part in &open.parts {
        line(text::NAME, &part.name);
        line(text::FORMAT, &format!("{} ({})", part.format, part.file_type));
        line(text::ROWS, &words::count(part.rows as u64));
        if let Some(column) = &part.image_column {
            line(text::PICTURE_COLUMN, column);
        }
        for file in part.files.iter().take(200) {
            line(text::FILE, &format!("{}  ({})", file.path.display(), words::count(file.rows as u64)));
        }
        if part.files.len() > 200 {
            line(text::FILE, &format!("… {}", part.files.len()));
        }
        part.notes.iter().for_each(|note| line(text::NOTE, note));
    }
    let title = open.source.title();
    app.open(Overlay::Page(Page { title, text: page, top: 0 }))
}
