//! R6: a disk that is really full: a tmpfs of a chosen size, and a limit on the size of files. Needs the right to mount; where
//! that is refused the test says so and checks the limit alone.

use crate::rig::{Engine, Rig, scaled};
use lightbox_core::runs::checkpoints;
use lightbox_core::runs::record::Event;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Bytes of one checkpoint of the fake engine here.
const ONE: u64 = 1 << 20;

/// A file system of `bytes` that goes away with the value.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(bytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let out = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "lightbox-test"])
            .arg(dir.path())
            .output()
            .ok()?;
        out.status.success().then_some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// Three checkpoints are kept, and a fourth is written before the oldest goes; then the adapter.
const EXTRA: &str = "max_steps: 20\nsave_steps: 5\nsave_total_limit: 3\nplot_loss: false";

fn rig(path: &Path) -> Rig {
    Rig::at(Engine::Fake, path, EXTRA).env("LIGHTBOX_FAKE_BYTES", ONE)
}

/// Takes all room but `left` bytes.
fn fill(disk: &Small, left: u64) {
    let mut file = std::fs::File::create(disk.filler()).unwrap();
    while lightbox_core::fs::space(disk.path()).unwrap().free_bytes > left
        && std::io::Write::write_all(&mut file, &[0; 4096]).is_ok()
    {}
}

#[test]
fn r6_a_full_disk_refuses_hopeless_runs_keeps_old_checkpoints_and_waits_at_the_end() {
    let temp = tempfile::tempdir().unwrap();
    let clean = rig(&temp.path().join("run"));
    assert_eq!(clean.finish().code(), Some(0), "{}", clean.log_text());
    let outcome = clean.outcome();

    let (mut refused, mut finished, mut waited, sizes) = (0, 0, 0, scaled(24).min(96) as u64);
    for i in 0..sizes {
        // A quarter of the disks is hopeless from the start; on the others somebody else takes the room, all but 0 to 2
        // times what the run still needs.
        let hopeless = i % 4 == 0;
        let Some(disk) = Small::mount(if hopeless { ONE * (1 + i) * 16 / sizes } else { 64 << 20 }) else {
            println!("R6: mounting a tmpfs is refused here; skipped");
            return;
        };
        let rig = rig(&disk.path().join("run")).env("LIGHTBOX_FAKE_STEP_MS", 5);
        let mut worker = rig.start();
        let left = 8 * ONE * i / sizes;
        let how = format!("{left} bytes left, one checkpoint has {ONE}");
        if !hopeless {
            rig.wait_for(&mut worker, "the first checkpoint", |e| matches!(e, Event::CheckpointSaved { .. }));
            fill(&disk, left);
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while worker.alive() {
            // The state cannot be written any more; the worker's own output has a block to say it in.
            if rig.log_text().contains("It waits") {
                waited += 1;
                assert!(checkpoints::newest_complete(&rig.dir).unwrap().0.is_some(), "{how}");
                std::fs::remove_file(disk.filler()).unwrap();
                break;
            }
            assert!(Instant::now() < deadline, "{how}: neither done nor waiting\n{}", rig.log_text());
            std::thread::sleep(Duration::from_millis(2));
        }
        let code = worker.wait().code();
        if hopeless {
            refused += 1;
            assert_eq!(code, Some(22), "{how}\n{}", rig.log_text());
            assert!(rig.log_text().contains("output_dir"), "{how}\n{}", rig.log_text());
            assert!(checkpoints::list(&rig.dir).unwrap().is_empty(), "nothing was trained");
        } else {
            finished += 1;
            assert_eq!(code, Some(0), "{how}\n{}", rig.log_text());
            assert!(rig.outcome().adapter == outcome.adapter, "{how}");
            rig.keeps_its_checkpoints(&how);
        }
    }
    assert!(waited > 0, "no run had to wait");
    println!(
        "R6, a full disk: {sizes} sizes, {refused} refused at the start, {finished} finished with the right weights, {waited} of them waited for room"
    );
}

#[test]
fn r6_a_disk_that_fills_in_mid_run_costs_checkpoints_but_not_the_run() {
    let Some(disk) = Small::mount(48 << 20) else {
        println!("R6: mounting a tmpfs is refused here; skipped");
        return;
    };
    let rig = Rig::at(Engine::Fake, &disk.path().join("run"), "max_steps: 400\nsave_steps: 50\nsave_total_limit: 3")
        .env("LIGHTBOX_FAKE_BYTES", ONE)
        .env("LIGHTBOX_FAKE_STEP_MS", 2);
    let mut worker = rig.start();
    rig.wait_for(&mut worker, "the first checkpoint", |e| matches!(e, Event::CheckpointSaved { step: 50, .. }));
    let filler = disk.filler();
    let mut file = std::fs::File::create(&filler).unwrap();
    // Until nothing more fits.
    while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    // The event cannot be written either, and the worker's own output is in a block that it had already.
    let deadline = Instant::now() + Duration::from_secs(60);
    while !rig.log_text().contains("was not written") {
        assert!(Instant::now() < deadline && worker.alive(), "no word of the full disk\n{}", rig.log_text());
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(checkpoints::newest_complete(&rig.dir).unwrap().0.is_some_and(|c| c.step >= 50));
    drop(file);
    std::fs::remove_file(&filler).unwrap();
    rig.wait_for(&mut worker, "a save after that", |e| matches!(e, Event::CheckpointSaved { step, .. } if *step > 50));
    assert_eq!(worker.wait().code(), Some(0), "{}", rig.log_text());
    assert!(
        rig.log_text().contains("Training goes on") && rig.log_text().contains("checkpoint-"),
        "{}",
        rig.log_text()
    );
    let dropped = rig.events().iter().any(|e| matches!(e, Event::Dropped { .. }));
    assert!(dropped, "the records that were lost meanwhile are counted");
}

#[test]
fn r6_a_limit_on_file_sizes_is_an_error_and_not_a_death() {
    use std::os::unix::process::CommandExt;
    let rig = Rig::new(Engine::Fake, EXTRA).env("LIGHTBOX_FAKE_BYTES", 4 * ONE);
    let mut command = rig.command();
    // SAFETY: setrlimit is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            let limit = libc::rlimit { rlim_cur: ONE, rlim_max: ONE };
            match libc::setrlimit(libc::RLIMIT_FSIZE, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let status = crate::rig::Worker(command.spawn().unwrap()).wait();
    assert_eq!(status.code(), Some(22), "{}", rig.log_text());
    assert!(checkpoints::list(&rig.dir).unwrap().is_empty());
}
