//! The table of commands: everything a user can do, with its name, its keys and where it applies. Key presses, the help,
//! the palette and the hint line all come from it. Each screen has a table of its own in its module; the commands that
//! work everywhere are here. "What happens when I press x?": look for the key in a table, and read `run`.

use super::action::{Action, Effect, Effects};
use super::cursor::{Cursor, Move};
use super::overlay::{Filtered, Overlay};
use super::settings::{ImageChoice, next};
use super::{App, Screen, chat, data, models, runs, tour, train};
use crate::input::Key;
use crate::text::{T, common};
use nucleo_matcher::pattern::{CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};

pub struct Command {
    /// Stable, kebab-case, and unique.
    pub name: &'static str,
    /// Two or three words, for the hint line and the palette.
    pub title: T,
    /// A sentence.
    pub doc: T,
    /// As [`Key::parse`] reads them; the first is shown.
    pub keys: &'static [&'static str],
    /// The higher, the further to the left on the hint line; 0: not there.
    pub hint: u8,
    /// Whether it can be done now.
    pub enabled: fn(&App) -> bool,
    pub run: fn(&mut App) -> Effects,
}

/// A command in one line less of names, for the long tables.
pub const fn command(
    name: &'static str,
    title: T,
    doc: T,
    keys: &'static [&'static str],
    hint: u8,
    enabled: fn(&App) -> bool,
    run: fn(&mut App) -> Effects,
) -> Command {
    Command { name, title, doc, keys, hint, enabled, run }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

pub const ALWAYS: fn(&App) -> bool = |_| true;

static GLOBAL: &[Command] = &[
    Command {
        name: "help",
        title: T("help", "帮助"),
        doc: T("The keys that work here, from the key map itself", "列出此处可用的按键"),
        keys: &["?", "F1"],
        hint: 9,
        enabled: ALWAYS,
        run: |app| {
            let len = help(app, "").len();
            app.open(Overlay::Help(Filtered { cursor: Cursor::new(len), ..Filtered::default() }))
        },
    },
    Command {
        name: "palette",
        title: T("commands", "命令"),
        doc: T("Finds any command by a few of its letters", "输入几个字母即可找到任何命令"),
        keys: &["ctrl-p", ":"],
        hint: 8,
        enabled: ALWAYS,
        run: |app| {
            let len = palette(app, "").len();
            app.open(Overlay::Palette(Filtered { cursor: Cursor::new(len), ..Filtered::default() }))
        },
    },
    command(
        "go-data",
        T("to Data", "转到数据"),
        T("Data sets, samples, pictures", "数据集、样本与图片"),
        &["1", "F2"],
        0,
        ALWAYS,
        |app| app.go(Screen::Data),
    ),
    command(
        "go-train",
        T("to Train", "转到训练"),
        T("The profile as a form; start a run", "以表单编辑训练配置并启动训练"),
        &["2", "F3"],
        0,
        ALWAYS,
        |app| app.go(Screen::Train),
    ),
    command(
        "go-runs",
        T("to Runs", "转到运行"),
        T("Runs: loss, GPU, events, steering", "训练运行：损失、GPU、事件与控制"),
        &["3", "F4"],
        0,
        ALWAYS,
        |app| app.go(Screen::Runs),
    ),
    command(
        "go-chat",
        T("to Chat", "转到对话"),
        T("Ask a model about pictures, compare two", "就图片向模型提问，比较两个模型"),
        &["4", "F5"],
        0,
        ALWAYS,
        |app| app.go(Screen::Chat),
    ),
    command(
        "go-models",
        T("to Models", "转到模型"),
        T("Models and adapters; download, merge, export", "模型与适配器：下载、合并、导出"),
        &["5", "F6"],
        0,
        ALWAYS,
        |app| app.go(Screen::Models),
    ),
    Command {
        name: "messages",
        title: T("messages", "消息"),
        doc: T("What was said, also what has gone away again", "查看所有消息，包括已消失的"),
        keys: &["ctrl-o"],
        hint: 0,
        enabled: ALWAYS,
        run: |app| {
            let cursor = Cursor::new(app.messages.past().len());
            app.open(Overlay::Messages(cursor))
        },
    },
    Command {
        name: "tasks",
        title: T("tasks", "任务"),
        doc: T("Work in the background, and cancelling it", "查看后台任务，可取消"),
        keys: &["ctrl-t"],
        hint: 0,
        enabled: ALWAYS,
        run: |app| {
            let cursor = Cursor::new(app.tasks.all().len());
            app.open(Overlay::Tasks(cursor))
        },
    },
    Command {
        name: "settings",
        title: T("settings", "设置"),
        doc: T("Language, colours, pictures, mouse", "语言、配色、图片、鼠标"),
        keys: &["F9"],
        hint: 0,
        enabled: ALWAYS,
        run: |app| app.open(Overlay::Settings(Cursor::new(super::overlay::SETTINGS))),
    },
    Command {
        name: "tour-next",
        title: T("tour", "导览"),
        doc: T("Starts the tour through the demo, or goes on with it", "开始演示导览，或继续下一步"),
        keys: &["F8"],
        hint: 0,
        enabled: ALWAYS,
        run: tour::next,
    },
    Command {
        name: "tour-end",
        title: T("end the tour", "结束导览"),
        doc: T("Puts the tour away", "收起导览"),
        keys: &["F7"],
        hint: 0,
        enabled: |app| app.tour.at.is_some(),
        run: tour::stop,
    },
    Command {
        name: "images",
        title: T("pictures", "图片显示"),
        doc: T("Pictures as pixels, as half blocks, or not at all", "图片以像素、半块字符显示或不显示"),
        keys: &["ctrl-g"],
        hint: 0,
        enabled: ALWAYS,
        run: |app| {
            app.settings.images = next(&ImageChoice::ALL, app.settings.images);
            vec![Effect::SaveSettings]
        },
    },
    Command {
        name: "redraw",
        title: T("redraw", "重绘"),
        doc: T("Draws everything again", "重新绘制整个屏幕"),
        keys: &["ctrl-l"],
        hint: 0,
        enabled: ALWAYS,
        run: |_| vec![Effect::Redraw],
    },
    Command {
        name: "suspend",
        title: T("suspend", "挂起"),
        doc: T("Back to the shell; `fg` returns", "回到 shell；用 fg 返回"),
        keys: &["ctrl-z"],
        hint: 0,
        enabled: ALWAYS,
        run: |_| vec![Effect::Suspend],
    },
    Command {
        name: "quit",
        title: T("quit", "退出"),
        doc: T("Leaves the workbench; runs go on", "离开工作台；训练继续进行"),
        keys: &["q", "ctrl-c"],
        hint: 1,
        enabled: ALWAYS,
        run: |app| {
            let running = app.tasks.running().count();
            let text = match (running, app.train.is_changed()) {
                (0, false) => {
                    app.quit = true;
                    return Vec::new();
                }
                (0, true) => app.t(common::QUIT_CHANGED).to_owned(),
                _ => common::QUIT_RUNNING.fill(app.lang(), &[&running]),
            };
            app.confirm(app.t(common::QUIT_TITLE), text, true, Action::Quit)
        },
    },
];

/// Moving in a list, the same keys on every screen.
pub const MOVES: &[(&[&str], Move)] = &[
    (&["up", "k"], Move::By(-1)),
    (&["down", "j"], Move::By(1)),
    (&["pgup", "ctrl-b"], Move::Page(-1)),
    (&["pgdn", "ctrl-f"], Move::Page(1)),
    (&["home", "g"], Move::Home),
    (&["end", "G"], Move::End),
];

/// What a key means in a list.
pub fn move_of(key: Key) -> Option<Move> {
    MOVES.iter().find(|(keys, _)| keys.iter().any(|word| Key::parse(word) == Some(key))).map(|(_, to)| *to)
}

fn of(screen: Screen) -> &'static [Command] {
    match screen {
        Screen::Data => data::COMMANDS,
        Screen::Train => train::COMMANDS,
        Screen::Runs => runs::COMMANDS,
        Screen::Chat => chat::COMMANDS,
        Screen::Models => models::COMMANDS,
    }
}

/// Every command there is.
pub fn all() -> impl Iterator<Item = &'static Command> {
    Screen::ALL.into_iter().flat_map(of).chain(GLOBAL)
}

pub fn find(name: &str) -> Option<&'static Command> {
    all().find(|command| command.name == name)
}

/// The command of a key, on this screen and now. A screen's own come before the global ones.
pub fn of_key(app: &App, key: Key) -> Option<&'static Command> {
    let has =
        |command: &&Command| command.keys.iter().any(|word| Key::parse(word) == Some(key)) && (command.enabled)(app);
    of(app.screen).iter().find(has).or_else(|| GLOBAL.iter().find(has))
}

/// What the hint line shows, the most important first.
pub fn hints(app: &App) -> Vec<&'static Command> {
    let mut hints: Vec<_> = of(app.screen).iter().chain(GLOBAL).filter(|c| c.hint > 0 && (c.enabled)(app)).collect();
    hints.sort_by_key(|command| std::cmp::Reverse(command.hint));
    hints
}

/// This screen's commands, then the global ones, that fit `query`.
pub fn help(app: &App, query: &str) -> Vec<&'static Command> {
    matching(app, query, of(app.screen).iter().chain(GLOBAL).collect())
}

/// All commands that can be run now and fit `query`; those of other screens go there first.
pub fn palette(app: &App, query: &str) -> Vec<&'static Command> {
    let here = of(app.screen).iter().chain(GLOBAL).filter(|c| (c.enabled)(app));
    matching(app, query, here.collect())
}

fn matching(app: &App, query: &str, commands: Vec<&'static Command>) -> Vec<&'static Command> {
    // Both languages and the name are searched: who reads Chinese may type `merge` all the same.
    let text = |c: &&'static Command| {
        format!("{} {} {} {} {}", app.t(c.title), c.name, c.title.0, app.t(c.doc), c.keys.join(" "))
    };
    let fits = fuzzy(query, commands.iter().map(text));
    fits.into_iter().map(|i| commands[i]).collect()
}

/// The indices of the texts that fit `query`, the best first; all of them in order if it is empty.
pub fn fuzzy(query: &str, texts: impl Iterator<Item = impl AsRef<str>>) -> Vec<usize> {
    if query.trim().is_empty() {
        return (0..texts.count()).collect();
    }
    let mut matcher = Matcher::new(Config::DEFAULT);
    let pattern = Pattern::parse(query, CaseMatching::Ignore, Normalization::Smart);
    let mut buffer = Vec::new();
    let mut found: Vec<(u32, usize)> = texts
        .enumerate()
        .filter_map(|(i, text)| Some((pattern.score(Utf32Str::new(text.as_ref(), &mut buffer), &mut matcher)?, i)))
        .collect();
    found.sort_by_key(|(score, i)| (std::cmp::Reverse(*score), *i));
    found.into_iter().map(|(_, i)| i).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_command_has_a_name_of_its_own_and_keys_that_exist() {
        let mut names = HashSet::new();
        for command in all() {
            assert!(names.insert(command.name), "{} is there twice", command.name);
            for word in command.keys {
                assert!(Key::parse(word).is_some(), "{}: {word}", command.name);
            }
        }
    }

    /// Two commands may share a key only where `enabled` keeps them apart; here at least an empty workbench must be clear.
    #[test]
    fn no_key_means_two_things_on_one_screen() {
        for screen in Screen::ALL {
            let app = App { screen, ..App::default() };
            let mut seen = HashSet::new();
            for command in of(screen).iter().filter(|c| (c.enabled)(&app)) {
                for word in command.keys {
                    assert!(seen.insert(*word), "{screen:?}: {word} is there twice ({})", command.name);
                }
            }
        }
    }

    #[test]
    fn titles_fit_the_hint_line() {
        for command in all().filter(|c| c.hint > 0) {
            for title in [command.title.0, command.title.1] {
                assert!(unicode_width::UnicodeWidthStr::width(title) <= 16, "{title}");
            }
        }
    }

    #[test]
    fn a_few_letters_find_a_command_in_either_language() {
        let mut app = App::default();
        assert_eq!(palette(&app, "sett")[0].name, "settings");
        app.settings.language = Some(crate::text::Lang::Zh);
        assert_eq!(palette(&app, "设置")[0].name, "settings");
        assert_eq!(palette(&app, "settings")[0].name, "settings");
        assert!(palette(&app, "zzzzqqq").is_empty());
    }
}
