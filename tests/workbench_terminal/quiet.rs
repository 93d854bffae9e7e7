//! A screen on which nothing happens sends nothing: what a slow line and a battery need.

use crate::rig::{Folder, SCREENS};
use std::time::{Duration, Instant};

const SILENCE: Duration = Duration::from_secs(3);

/// All five at once, because they are waited for together.
fn assert_silent(folder: &Folder) {
    let mut benches: Vec<_> = SCREENS.map(|screen| (screen, folder.open(screen))).into();
    for (_, bench) in &mut benches {
        bench.settle();
    }
    let until = Instant::now() + SILENCE;
    for (screen, bench) in &mut benches {
        let before = bench.pty.seen.len();
        bench.pty.more(until.saturating_duration_since(Instant::now()));
        bench.pty.more(Duration::ZERO);
        let sent = String::from_utf8_lossy(&bench.pty.seen[before..]);
        assert!(sent.is_empty(), "{screen} sent {sent:?} on\n{}", bench.text());
    }
    for (screen, bench) in &mut benches {
        assert!(bench.quit().success(), "{screen}");
    }
}

#[test]
fn screens_of_an_empty_folder_are_silent() {
    assert_silent(&Folder::empty());
}

#[test]
fn screens_with_a_data_set_and_a_finished_run_are_silent() {
    let folder = Folder::filled();
    let mut bench = folder.open("runs");
    bench.wait_text("night");
    drop(bench);
    let mut bench = folder.open("data");
    bench.wait_text("demo");
    drop(bench);
    assert_silent(&folder);
}
