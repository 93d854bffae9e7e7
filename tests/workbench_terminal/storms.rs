//! Too much of everything: sizes, pasted text, random bytes.

use crate::rig::{Dice, Folder, SCREENS};
use std::time::Duration;

const KEYS: [&str; 8] = ["j", "k", "\t", "?", "\x1b[B", "\x1b[A", "\x1b", "\x1b[6~"];

fn storm(screen: &'static str) {
    let mut dice = Dice::new(screen);
    let folder = Folder::filled();
    let mut bench = folder.open(screen);
    for i in 0..200 {
        bench.resize(1 + dice.below(300) as u16, 1 + dice.below(100) as u16);
        if i % 3 == 0 {
            bench.send(KEYS[dice.below(KEYS.len() as u64) as usize]);
        }
    }
    bench.resize(101, 31);
    bench.wait("the tabs", |bench| bench.row(0).contains(" 1 Data") && bench.row(0).contains("5 Models"));
    bench.settle();
    let last = bench.text();
    // what was sent for the last size is all of it: drawn again, nothing is different
    let seen = bench.pty.seen.len();
    bench.send("\x0c");
    bench.wait("a redraw", |bench| String::from_utf8_lossy(&bench.pty.seen[seen..]).contains("\x1b[2J"));
    bench.settle();
    assert_eq!(ageless(&last), ageless(&bench.text()), "{screen}");
    assert!(bench.quit().success());
    bench.pty.assert_restored();
}

/// What stands between the frames, in no order, without what changes meanwhile: ages, bars of readings, and the processor's
/// load, whose row comes when it has been measured twice and moves the others.
fn ageless(text: &str) -> Vec<String> {
    let changes = |c: char| c.is_ascii_digit() || c == ' ' || ('▁'..='█').contains(&c);
    let letters = |part: &str| part.chars().filter(|c| !changes(*c)).collect::<String>();
    let mut parts: Vec<String> =
        text.split(['│', '\n']).filter(|part| !(part.contains("CPU") && part.contains("%"))).map(letters).collect();
    parts.retain(|part| !part.is_empty());
    parts.sort();
    parts
}

#[test]
fn a_window_of_ever_changing_size_does_no_harm() {
    std::thread::scope(|scope| {
        let all = SCREENS.map(|screen| scope.spawn(move || storm(screen)));
        for one in all {
            one.join().unwrap();
        }
    });
}

#[test]
fn megabytes_of_pasted_text_are_taken_and_the_keys_behind_them_too() {
    let folder = Folder::empty();
    let mut bench = folder.open("chat");
    bench.press(&["i"]);
    let line = "图 words of a long text that somebody pasted by mistake, with \t tabs\r";
    bench.send("\x1b[200~");
    bench.send(&line.repeat((3 << 20) / line.len()));
    bench.send("\x1b[201~");
    bench.send("the end");
    bench.wait_text("the end");
    assert!(bench.quit().success());
    bench.pty.assert_restored();
}

/// What ends the program, stops it, or names a path: `q`, ctrl-c, ctrl-z, `/`, `~`.
const LEFT_OUT: [u8; 5] = [b'q', 3, 26, b'/', b'~'];

fn flood(escapes: bool) {
    let mut dice = Dice::new(if escapes { "with escapes" } else { "without escapes" });
    let folder = Folder::empty();
    let mut ends = 0;
    for screen in SCREENS {
        let mut bench = folder.open(screen);
        for _ in 0..40 {
            let bytes: Vec<u8> = (0..50)
                .map(|_| dice.below(if escapes { 128 } else { 256 }) as u8)
                .map(|byte| if escapes && byte % 16 == 0 { 0x1b } else { byte })
                .filter(|byte| !LEFT_OUT.contains(byte) && (escapes || *byte != 0x1b))
                .collect();
            bench.pty.send(&bytes);
            bench.pause(Duration::from_millis(5));
            if !bench.screen.screen().alternate_screen() {
                // the palette offers the quit command too; no other end is allowed
                assert_eq!(bench.pty.wait_exit().code(), Some(0), "{screen}: {}", bench.text());
                bench.pty.assert_restored();
                (bench, ends) = (folder.open(screen), ends + 1);
            }
        }
        if escapes {
            // Half a sequence (`ESC [ ?`) makes the reader of keys wait for its rest, and no key is one then; a signal is.
            bench.pty.signal(libc::SIGTERM);
            assert_eq!(bench.pty.wait_exit().code(), Some(143), "{screen}");
        } else {
            assert!(bench.quit().success(), "{screen}");
        }
        bench.pty.assert_restored();
    }
    assert!(ends < 40, "it ended {ends} times");
}

#[test]
fn random_keys_end_it_by_its_quit_command_only() {
    flood(false);
}

#[test]
fn random_escape_sequences_neither_end_it_nor_keep_it_from_ending() {
    flood(true);
}
