//! However the workbench ends, the terminal is given back.

use crate::rig::{BIN, Bench, Folder, PATIENCE, unset};
use std::time::{Duration, Instant};
use termlens::{Graphics, Key, Terminal};

/// What may be open when the end comes: nothing, an overlay, a field.
const OPEN: [(&str, &str, &str); 3] = [("data", "", "Data"), ("runs", "?", "Help"), ("chat", "i", "Question")];

fn opened((screen, keys, shows): (&str, &str, &str)) -> (Folder, Bench) {
    let folder = Folder::empty();
    let mut bench = folder.open(screen);
    bench.press(&[keys]);
    bench.wait_text(shows);
    assert_ne!(bench.pty.modes(), bench.pty.modes_before);
    (folder, bench)
}

#[test]
fn quitting_gives_the_terminal_back() {
    let (_folder, mut bench) = opened(OPEN[0]);
    bench.send("q");
    assert_eq!(bench.pty.wait_exit().code(), Some(0));
    bench.pty.assert_restored();
    for open in OPEN {
        let (_folder, mut bench) = opened(open);
        assert_eq!(bench.quit().code(), Some(0), "{open:?}");
        bench.pty.assert_restored();
    }
}

#[test]
fn signals_give_the_terminal_back_whatever_is_open() {
    for open in OPEN {
        for (number, code) in [(libc::SIGTERM, 143), (libc::SIGHUP, 129)] {
            let (_folder, mut bench) = opened(open);
            bench.pty.signal(number);
            assert_eq!(bench.pty.wait_exit().code(), Some(code), "{open:?}");
            bench.pty.assert_restored();
        }
    }
}

#[test]
fn a_line_that_is_lost_ends_it_at_once_whatever_is_open() {
    for open in OPEN {
        let (_folder, mut bench) = opened(open);
        let lost = Instant::now();
        bench.pty.hang_up();
        assert_eq!(bench.pty.wait_exit().code(), Some(129), "{open:?}");
        assert!(lost.elapsed() < Duration::from_secs(2), "{open:?}: {:?}", lost.elapsed());
    }
}

#[test]
fn a_shell_can_suspend_and_continue_it_also_with_an_overlay_open() {
    let folder = Folder::empty();
    let mut builder =
        Terminal::builder().size(100, 30).graphics(Graphics::None).timeout(PATIENCE).current_dir(folder.0.path());
    for name in unset() {
        builder = builder.env(name, "");
    }
    let mut terminal = builder.envs(folder.vars()).env("PS1", "shell> ").arg("-i").spawn("sh").unwrap();
    terminal.wait_until(|s| s.contains("shell>")).unwrap();
    terminal.send_str(&format!("{BIN} --screen chat\r")).unwrap();
    terminal.wait_until(|s| s.alternate_screen() && s.contains("no model chosen")).unwrap();
    for overlay in [false, true] {
        if overlay {
            terminal.send(Key::F(9)).unwrap();
            terminal.wait_until(|s| s.contains("Settings")).unwrap();
        }
        let before = terminal.wait_stable(Duration::from_millis(300)).unwrap();
        terminal.send(Key::Ctrl('z')).unwrap();
        terminal.wait_until(|s| !s.alternate_screen() && s.cursor_visible() && s.contains("Stopped")).unwrap();
        terminal.send_str("stty -a | grep -o ' icanon\\| echo '; echo \"round\"$(expr 1 + 1)\r").unwrap();
        terminal.wait_until(|s| s.contains("round2") && s.contains(" icanon")).unwrap();
        terminal.send_str("clear; fg\r").unwrap();
        terminal.wait_until(|s| s.alternate_screen() && s.text() == before.text()).unwrap();
    }
    terminal.send(Key::Esc).unwrap();
    terminal.wait_until(|s| !s.contains("Settings")).unwrap();
    terminal.send(Key::Ctrl('c')).unwrap(); // a q is typed: the composer has the keys
    terminal.wait_until(|s| !s.alternate_screen() && s.cursor_visible() && !s.bracketed_paste()).unwrap();
}
