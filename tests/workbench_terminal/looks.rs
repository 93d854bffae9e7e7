//! What reaches the eye: colours that the terminal has, pictures in their place, both languages, wide characters.

use crate::rig::{Bench, Folder, PATIENCE, unset};
use std::time::Duration;
use termlens::{Graphics, GraphicsAction, Key, Screen, Terminal};

/// The numbers of all `CSI … m`, each with its subparameters as they were sent.
fn colours(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let params = text.split("\x1b[").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && !matches!(c, ';' | ':'))?;
        rest[end..].starts_with('m').then(|| rest[..end].to_owned())
    });
    params.collect()
}

/// Sets a colour of letters or background.
fn is_colour(params: &str) -> bool {
    let first = params.split([';', ':']).next().and_then(|n| n.parse().ok()).unwrap_or(0);
    matches!(first, 30..=38 | 40..=48 | 58 | 90..=97 | 100..=107)
}

/// Opens the set and its first sample, with a picture, and then each other screen.
fn walk(bench: &mut Bench) {
    bench.wait_text("demo");
    bench.send("\r");
    bench.wait_text("What colour is the square?");
    bench.settle();
    for keys in ["t", "2", "3", "4", "5", "\x1b[20~"] {
        bench.send(keys);
        bench.pause(Duration::from_millis(250));
    }
}

#[test]
fn no_color_sends_no_colour() {
    let folder = Folder::filled();
    let mut command = folder.workbench("data");
    command.env("NO_COLOR", "1").env("COLORTERM", "truecolor");
    let mut bench = Bench::start(command, 100, 30);
    walk(&mut bench);
    let sent = colours(bench.written());
    let wrong: Vec<_> = sent.iter().filter(|params| is_colour(params)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_plain_xterm_gets_its_own_colours_only() {
    let folder = Folder::filled();
    for (term, colorterm, few) in [("xterm", "", true), ("xterm", "truecolor", false)] {
        let mut command = folder.workbench("data");
        command.env("TERM", term).env("COLORTERM", colorterm);
        let mut bench = Bench::start(command, 100, 30);
        walk(&mut bench);
        let sent = colours(bench.written());
        let long = sent.iter().find(|p| ["38;2", "48;2", "38:2", "48:2"].iter().any(|true_| p.contains(true_)));
        assert_eq!(long.is_none(), few, "{long:?}");
        assert!(sent.iter().any(|params| is_colour(params)));
    }
}

fn lens(folder: &Folder, graphics: Graphics, name: &str) -> Terminal {
    let mut builder = Terminal::builder()
        .size(120, 40)
        .cell_size(10, 20)
        .graphics(graphics)
        .timeout(PATIENCE)
        .current_dir(folder.0.path());
    for name in unset() {
        builder = builder.env(name, "");
    }
    builder
        .envs(folder.vars())
        .env("LIGHTBOX_GRAPHICS", name)
        .args(["--screen", "data"])
        .spawn(crate::rig::BIN)
        .unwrap()
}

/// Opens the first sample, which has a picture, and waits for its pixels.
fn open_picture(terminal: &mut Terminal, shown: impl Fn(&Screen) -> bool) -> Screen {
    terminal.wait_until(|s| s.contains("demo")).unwrap();
    terminal.send(Key::Enter).unwrap();
    terminal.wait_until(|s| s.contains("What colour is the square?") && shown(s)).unwrap();
    terminal.wait_stable(Duration::from_millis(400)).unwrap()
}

fn is_placed(screen: &Screen) -> bool {
    let graphics = screen.graphics();
    let action = graphics.last().map(|payload| payload.action());
    matches!(action, Some(GraphicsAction::Place | GraphicsAction::TransmitAndPlace))
}

/// Inside the frame of the sample, left of its text and above its lower border.
fn assert_in_the_pane(screen: &Screen) {
    let graphics = screen.graphics();
    let payload = graphics.last().unwrap();
    let (row, column) = payload.at();
    let (top, left) = screen.find("╭ Sample 0").unwrap();
    assert!(row > top && column > left, "{:?} in {:?}\n{}", (row, column), (top, left), screen.text());
    if let Some((columns, rows)) = payload.cells() {
        let (last_row, last_column) = (row + rows - 1, column + columns - 1);
        assert!(last_row < screen.rows() - 2 && last_column < screen.cols() - 1, "{payload:?}");
        let question = screen.find_all("Question").into_iter().find(|at| at.0 > top).unwrap();
        assert!(last_column < question.1 || last_row < question.0, "{payload:?} over the text at {question:?}");
    }
}

#[test]
fn a_kitty_shows_the_picture_in_its_pane_and_an_overlay_hides_it_for_a_few_bytes() {
    let folder = Folder::filled();
    let mut terminal = lens(&folder, Graphics::Kitty, "kitty");
    let shown = open_picture(&mut terminal, is_placed);
    assert_in_the_pane(&shown);
    let (bytes, deletes) = (shown.graphics().bytes(), shown.graphics().deletes());
    terminal.send(Key::F(9)).unwrap();
    terminal.wait_until(|s| s.contains("Settings") && s.graphics().deletes() > deletes).unwrap();
    terminal.send(Key::Esc).unwrap();
    terminal.wait_until(|s| !s.contains("Settings") && is_placed(s)).unwrap();
    let again = terminal.wait_stable(Duration::from_millis(400)).unwrap();
    assert!(again.graphics().bytes() - bytes < 300, "{} bytes", again.graphics().bytes() - bytes);
    assert_in_the_pane(&again);
    terminal.send(Key::Char('q')).unwrap();
    assert!(terminal.wait_exit().unwrap().success());
}

#[test]
fn a_sixel_terminal_gets_the_picture_again_when_an_overlay_closes() {
    let folder = Folder::filled();
    let mut terminal = lens(&folder, Graphics::Sixel, "sixel");
    let shown = open_picture(&mut terminal, |s| s.graphics().sixel() > 0);
    assert_in_the_pane(&shown);
    let sixels = shown.graphics().sixel();
    terminal.send(Key::F(9)).unwrap();
    terminal.wait_until(|s| s.contains("Settings")).unwrap();
    terminal.send(Key::Esc).unwrap();
    terminal.wait_until(|s| !s.contains("Settings") && s.graphics().sixel() > sixels).unwrap();
    let again = terminal.wait_stable(Duration::from_millis(400)).unwrap();
    assert_eq!(again.scrollback_rows(), 0);
    assert_in_the_pane(&again);
    terminal.send(Key::Char('q')).unwrap();
    assert!(terminal.wait_exit().unwrap().success());
}

#[test]
fn the_locale_chooses_the_language_and_the_command_line_overrules_it() {
    let folder = Folder::empty();
    for (lang, arguments, tabs) in [
        ("zh_CN.UTF-8", &[] as &[&str], ["1 数据", "2 训练", "3 运行", "4 对话", "5 模型"]),
        ("zh_CN.UTF-8", &["--lang", "en"], ["1 Data", "2 Train", "3 Runs", "4 Chat", "5 Models"]),
        ("C.UTF-8", &["--lang", "zh"], ["1 数据", "2 训练", "3 运行", "4 对话", "5 模型"]),
    ] {
        let mut command = folder.workbench("data");
        command.env("LANG", lang).args(arguments);
        let bench = Bench::start(command, 100, 30);
        assert!(tabs.iter().all(|tab| bench.row(0).contains(tab)), "{lang} {arguments:?}: {}", bench.row(0));
    }
}

/// Every row between two corners of a frame on the right edge ends with the frame.
fn assert_right_border(bench: &Bench) {
    let screen = bench.screen.screen();
    let (rows, columns) = screen.size();
    let edge = |row: u16| screen.cell(row, columns.get() - 1).map_or("", |cell| cell.contents());
    let mut inside = false;
    let mut frames = 0;
    for row in 0..rows.get() {
        match edge(row) {
            "╮" => (inside, frames) = (true, frames + 1),
            "╯" => inside = false,
            other => assert!(
                !inside || matches!(other, "│" | "┃" | "█" | "║" | "┤"),
                "row {row}: {other:?}\n{}",
                bench.text()
            ),
        }
    }
    assert!(frames > 0 && !inside, "{}", bench.text());
}

const WIDE: &str = "图片中的诊断结果是什么？宽字符不应破坏边框👩‍🔬é";

#[test]
fn chinese_typed_into_the_composer_is_shown_within_its_frame() {
    let folder = Folder::empty();
    let mut bench = folder.open("chat");
    bench.press(&["i"]);
    bench.send(WIDE);
    bench.wait_text("图片中的诊断结果是什么？");
    // past the end of the line, by halves of a wide character
    for text in ["a", WIDE, "b", WIDE, WIDE] {
        bench.send(text);
        bench.settle();
        assert_right_border(&bench);
    }
    assert!(bench.quit().success());
}

#[test]
fn chinese_typed_into_a_search_finds_its_sample_within_the_frame() {
    let folder = Folder::filled();
    let mut bench = folder.open("data");
    bench.wait_text("demo");
    bench.send("\r");
    bench.wait_text("What colour is the square?");
    bench.press(&["/"]);
    bench.send("请描述");
    bench.wait("the search", |bench| bench.text().matches("请描述").count() > 1);
    bench.settle();
    assert_right_border(&bench);
    bench.send(WIDE);
    bench.wait_text("请描述图片");
    bench.settle();
    assert_right_border(&bench);
    assert!(bench.quit().success());
}
