//! The terminal layer in real pseudo-terminals: what a terminal is asked and sent, and that it is given back.
//! `lightbox __terminal-check` is the program under test.

#[allow(dead_code, reason = "tests/workbench_terminal uses the rest")]
mod pty;

use std::process::Command;
use std::time::{Duration, Instant};

use pty::{Pty, TERMINAL_VARIABLES};
use termlens::{Graphics, Key, Screen, Terminal};

const BIN: &str = env!("CARGO_BIN_EXE_lightbox");
const KITTY: &str = "\x1b_Gi=31;OK\x1b\\\x1b[6;20;10t\x1b]11;rgb:ffff/ffff/ffff\x1b\\\x1b[?62;52;c";
/// The last of the questions.
const DA1: &str = "\x1b[m\x1b[c";

fn check(vars: &[(&str, &str)]) -> Pty {
    let mut command = Command::new(BIN);
    command.arg("__terminal-check").env("TERM", "xterm-kitty").env("LANG", "C.UTF-8");
    TERMINAL_VARIABLES.iter().for_each(|name| {
        command.env_remove(name);
    });
    command.env_remove("LIGHTBOX_GRAPHICS").env_remove("LIGHTBOX_COLOURS").envs(vars.iter().copied());
    Pty::start(command)
}

/// A check that was answered by a kitty.
fn kitty() -> Pty {
    let mut pty = check(&[]);
    pty.wait_for(DA1);
    pty.send(KITTY.as_bytes());
    pty.wait_screen("q quits");
    pty
}

fn assert_restored(pty: &Pty) {
    pty.assert_restored();
    assert!(String::from_utf8_lossy(&pty.seen).contains("\x1b_Gq=2,a=d,d=A\x1b\\"), "pictures were left behind");
}

#[test]
fn quitting_gives_the_terminal_back() {
    let mut pty = kitty();
    assert_ne!(pty.modes(), pty.modes_before);
    pty.send(b"q");
    assert_eq!(pty.wait_exit().code(), Some(0));
    assert_restored(&pty);
}

#[test]
fn a_panic_gives_the_terminal_back_before_it_speaks() {
    let mut pty = kitty();
    pty.send(b"!");
    assert_eq!(pty.wait_exit().code(), Some(101));
    assert_restored(&pty);
    assert!(pty.find("as asked") > pty.find("\x1b[?1049l"), "the message is on the screen that stays");
}

#[test]
fn a_panic_in_another_thread_leaves_the_screen_alone() {
    let mut pty = kitty();
    pty.send(b"t");
    pty.wait_screen("in a thread");
    assert_eq!(pty.find("\x1b[?1049l"), None);
    pty.send(b"q");
    assert_eq!(pty.wait_exit().code(), Some(0));
}

#[test]
fn signals_end_it_with_their_exit_code_and_give_the_terminal_back() {
    for (number, code) in [(libc::SIGTERM, 143), (libc::SIGHUP, 129), (libc::SIGINT, 130)] {
        let mut pty = kitty();
        pty.signal(number);
        assert_eq!(pty.wait_exit().code(), Some(code));
        assert_restored(&pty);
    }
}

#[test]
fn a_silent_terminal_costs_the_time_limit_and_nothing_else() {
    let mut pty = check(&[]);
    pty.wait_for(DA1);
    let asked = Instant::now();
    pty.wait_screen("True None (10, 20)");
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    // What comes late is no key: the q in it does not quit.
    pty.send(b"\x1b_Gi=31;ENOENT:q\x1b\\\x1b[?62;52;c");
    pty.send(b"x");
    pty.wait_screen("typed \"x\"");
    pty.send(b"q");
    assert_eq!(pty.wait_exit().code(), Some(0));
}

#[test]
fn answers_cut_in_pieces_are_understood_and_typed_keys_survive() {
    let mut pty = check(&[("SSH_CONNECTION", "here there")]);
    pty.wait_for(DA1);
    pty.send(b"jk");
    let (start, end) = KITTY.as_bytes().split_at(1); // only ESC
    pty.send(start);
    std::thread::sleep(Duration::from_millis(30)); // so that it is read alone
    for piece in end.chunks(7) {
        pty.send(piece);
    }
    pty.wait_screen("True Kitty (10, 20) light Some(true) typed \"jk\"");
}

#[test]
fn a_terminal_that_hangs_up_ends_the_program() {
    let mut pty = kitty();
    pty.hang_up();
    assert_eq!(pty.wait_exit().code(), Some(129));
}

#[test]
fn another_program_gets_the_terminal_as_it_was() {
    let mut pty = kitty();
    pty.send(b"e");
    let at = pty.wait_for("outside\r\n");
    let before = String::from_utf8_lossy(&pty.seen[..at]).into_owned();
    assert!(before.rfind("\x1b[?1049l") > before.rfind("\x1b[?1049h"));
    pty.seen.drain(..at);
    pty.wait_screen("q quits");
    pty.send(b"x");
    pty.wait_screen("typed \"x\"");
    pty.send(b"q");
    assert_eq!(pty.wait_exit().code(), Some(0));
    assert_restored(&pty);
}

#[test]
fn iterm_gets_a_picture_of_both_sizes_without_a_line_feed() {
    let mut pty = check(&[("TERM", "xterm-256color"), ("LC_TERMINAL", "iTerm2")]);
    pty.wait_for(DA1);
    pty.send(b"\x1b[6;20;10t\x1b[?62;4c");
    let start = pty.wait_for("\x1b]1337;File=inline=1;");
    pty.wait_for("\x07\x1b8");
    let picture = String::from_utf8_lossy(&pty.seen[start..]).into_owned();
    assert!(picture.contains("width=32;height=16:iVBORw0KGgo"), "{:?}", &picture[..picture.len().min(200)]);
    let before = String::from_utf8_lossy(&pty.seen[..start]).into_owned();
    assert!(before.ends_with("\x1b7\x1b[4;1H"), "{before:?}");
    assert!(before.rfind("\x1b[?2026l") > before.rfind("\x1b[?2026h"), "outside the synchronized update");
    pty.send(b"q");
    assert_eq!(pty.wait_exit().code(), Some(0));
    assert!(!pty.seen.contains(&b'\n'), "a line feed scrolls");
    assert_eq!(pty.find("\x1b_Gq=2"), None, "nothing of kitty's");
}

fn lens(graphics: Graphics, term: &str) -> Terminal {
    let mut builder = Terminal::builder().size(60, 20).cell_size(10, 20).graphics(graphics).timeout(pty::PATIENCE);
    for name in TERMINAL_VARIABLES {
        builder = builder.env(name, "");
    }
    builder.env("TERM", term).env("LANG", "C.UTF-8").arg("__terminal-check").spawn(BIN).unwrap()
}

fn overlay(screen: &Screen) -> bool {
    screen.contains("over the picture")
}

#[test]
fn a_kitty_sees_one_picture_hidden_by_an_overlay_and_shown_again_without_its_pixels() {
    let mut terminal = lens(Graphics::Kitty, "xterm-kitty");
    terminal
        .wait_until(|s| s.contains("Kitty (10, 20)") && s.graphics().kitty() > 0 && s.graphics().last().is_some())
        .unwrap();
    let shown = terminal.wait_stable(Duration::from_millis(300)).unwrap();
    let bytes = shown.graphics().bytes();
    terminal.send(Key::Char('?')).unwrap();
    terminal.wait_until(|s| overlay(s) && s.graphics().deletes() > shown.graphics().deletes()).unwrap();
    terminal.send(Key::Char('?')).unwrap();
    terminal.wait_until(|s| !overlay(s)).unwrap();
    let again = terminal.wait_stable(Duration::from_millis(300)).unwrap();
    assert!(again.graphics().bytes() - bytes < 200, "{} bytes", again.graphics().bytes() - bytes);
    assert_eq!(again.scrollback_rows(), 0);
    terminal.send(Key::Char('q')).unwrap();
    assert!(terminal.wait_exit().unwrap().success());
    let end = terminal.screen();
    assert!(!end.alternate_screen() && end.cursor_visible() && !end.bracketed_paste() && !end.focus_events());
}

#[test]
fn a_sixel_terminal_gets_its_cells_back_when_an_overlay_opens_and_closes() {
    let mut terminal = lens(Graphics::Sixel, "xterm");
    terminal.wait_until(|s| s.contains("Sixel (10, 20)") && s.graphics().sixel() == 1).unwrap();
    let before = terminal.screen();
    let payload = before.graphics();
    let last = payload.last().unwrap();
    assert_eq!(last.at(), (3, 0));
    terminal.send(Key::Char('?')).unwrap();
    terminal.wait_until(overlay).unwrap();
    terminal.send(Key::Char('?')).unwrap();
    terminal.wait_until(|s| !overlay(s) && s.graphics().sixel() == 2).unwrap();
    assert_eq!(terminal.screen().scrollback_rows(), 0);
    terminal.send(Key::Char('q')).unwrap();
    assert!(terminal.wait_exit().unwrap().success());
}

#[test]
fn half_blocks_are_all_a_plain_terminal_gets() {
    let mut terminal = lens(Graphics::None, "xterm-256color");
    terminal.wait_until(|s| s.contains("None (10, 20)") && s.contains("▀")).unwrap();
    assert!(terminal.screen().graphics().is_empty());
}

#[test]
fn a_shell_can_suspend_and_continue_it() {
    let mut terminal = Terminal::builder()
        .size(60, 20)
        .graphics(Graphics::Kitty)
        .timeout(pty::PATIENCE)
        .env("TERM", "xterm-kitty")
        .env("PS1", "shell> ")
        .arg("-i")
        .spawn("sh")
        .unwrap();
    terminal.wait_until(|s| s.contains("shell>")).unwrap();
    terminal.send_str(&format!("{BIN} __terminal-check\r")).unwrap();
    terminal.wait_until(|s| s.contains("q quits") && s.alternate_screen()).unwrap();
    for round in 0..2 {
        terminal.send(Key::Ctrl('z')).unwrap();
        terminal.wait_until(|s| !s.alternate_screen() && s.cursor_visible() && s.contains("Stopped")).unwrap();
        terminal.send_str("stty -a | grep -o ' icanon\\| echo '; echo \"round\"$(expr 1 + 1)\r").unwrap();
        terminal.wait_until(|s| s.contains("round2") && s.contains(" icanon")).unwrap();
        terminal.send_str("clear; fg\r").unwrap();
        terminal.wait_until(|s| s.alternate_screen() && s.contains("q quits")).unwrap();
        terminal.send(Key::Char('x')).unwrap();
        let typed = format!("typed \"{}\"", "x".repeat(round + 1));
        terminal.wait_until(|s| s.contains(&typed)).unwrap();
    }
    terminal.send(Key::Char('q')).unwrap();
    terminal.wait_until(|s| !s.alternate_screen()).unwrap();
}
