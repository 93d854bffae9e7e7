use super::super::lock::RunLock;
use super::super::state::Reason;
use super::*;
use anyhow::anyhow;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A queue of its own and runs to put into it.
struct Rig {
    temp: tempfile::TempDir,
    home: Home,
}

impl Rig {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::at(temp.path().join("state"));
        Self { temp, home }
    }

    fn run(&self, name: &str) -> RunDir {
        RunDir::create(self.temp.path().join(name)).unwrap()
    }

    /// New runs in the queue of one device.
    fn with(names: &[&str]) -> Self {
        let rig = Self::new();
        for name in names {
            let run = rig.run(name);
            rig.home.change(|queue| queue.add(&run, "cpu".into())).unwrap();
        }
        rig
    }

    /// Names of the runs that a kick starts.
    fn kick(&self) -> Vec<String> {
        let mut started = Vec::new();
        self.home
            .kick(&[], &mut |item| {
                started.push(name(item));
                Ok(())
            })
            .unwrap();
        started
    }

    fn states(&self) -> Vec<(String, State)> {
        self.home.read().unwrap().items.iter().map(|item| (name(item), item.state.clone())).collect()
    }

    fn ends(&self, name: &str, status: Status, text: &str) {
        let reason = (!text.is_empty()).then(|| Reason { text: text.into(), ..Reason::default() });
        RunState::change(&self.run(name), |state| (state.state, state.reason) = (status, reason)).unwrap();
    }

    /// As if the machine had been restarted since the item was started.
    fn reboot(&self) {
        let boot = |queue: &mut Queue| {
            for item in &mut queue.items {
                if let State::Started { boot_id, .. } = &mut item.state {
                    *boot_id = "another boot".into();
                }
            }
            Ok(())
        };
        self.home.change(boot).unwrap();
    }
}

fn name(item: &Item) -> String {
    RunDir::open(&item.dir).unwrap().name()
}

fn failed(reason: &str) -> State {
    State::Failed { reason: reason.into() }
}

#[test]
fn one_run_at_a_time_and_a_failed_one_holds_up_nobody() {
    let rig = Rig::with(&["a", "b", "c"]);
    assert_eq!(RunState::read(&rig.run("b")).unwrap().state, Status::Queued);
    assert_eq!(rig.kick(), ["a"]);
    assert_eq!(rig.kick(), [""; 0], "kicking twice starts nothing twice");
    rig.ends("a", Status::Finished, "");
    assert_eq!(rig.kick(), ["b"]);
    rig.ends("b", Status::Failed, "out of memory");
    assert_eq!(rig.kick(), ["c"]);
    rig.ends("c", Status::Stopped, "");
    assert_eq!(rig.kick(), [""; 0]);
    let states: Vec<State> = rig.states().into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, [State::Done, failed("out of memory"), State::Done]);
}

#[test]
fn a_run_that_cannot_be_started_is_marked_with_the_reason_and_the_next_one_is() {
    let rig = Rig::with(&["a", "b"]);
    let mut started = Vec::new();
    let kicked = rig.home.kick(&[], &mut |item| match name(item).as_str() {
        "a" => Err(anyhow!("no such file").context("the profile")),
        other => {
            started.push(other.to_owned());
            Ok(())
        }
    });
    assert_eq!((kicked.unwrap(), started), (1, vec!["b".to_owned()]));
    assert_eq!(rig.states()[0].1, failed("the profile: no such file"));
}

#[test]
fn each_device_has_its_own_run_and_other_runs_count_too() {
    let rig = Rig::with(&["a"]);
    let (b, c) = (rig.run("b"), rig.run("c"));
    rig.home.change(|queue| queue.add(&b, "cuda:0".into())).unwrap();
    rig.home.change(|queue| queue.add(&c, "cuda:1".into())).unwrap();
    let other = rig.run("other");
    let _lock = RunLock::acquire(&other).unwrap();
    WorkerInfo { device: Some("cuda:0".into()), ..WorkerInfo::this(1) }.write(&other).unwrap();
    let mut started = Vec::new();
    let others = [other];
    rig.home
        .kick(&others, &mut |item| {
            started.push(item.slot.clone());
            Ok(())
        })
        .unwrap();
    assert_eq!(started, ["cpu", "cuda:1"]);
}

#[test]
fn items_of_another_machine_are_left_to_it() {
    let rig = Rig::with(&["a"]);
    rig.home
        .change(|queue| {
            queue.items[0].host = "elsewhere".into();
            Ok(())
        })
        .unwrap();
    assert_eq!(rig.kick(), [""; 0]);
    assert_eq!(rig.states()[0].1, State::Waiting);
}

#[test]
fn after_a_reboot_what_ran_goes_on_before_what_waited() {
    let rig = Rig::with(&["a", "b", "c"]);
    assert_eq!(rig.kick(), ["a"]);
    rig.home.change(|queue| queue.place("q3", Place::First)).unwrap();
    rig.ends("a", Status::Running, "");
    rig.reboot();
    assert_eq!(rig.kick(), ["a"]);
    let names: Vec<String> = rig.states().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "c", "b"]);
    assert_eq!(rig.home.read().unwrap().items[0].starts, 2);
}

#[test]
fn a_worker_that_lives_is_never_started_again_even_after_a_new_boot_id() {
    let rig = Rig::with(&["a", "b"]);
    rig.kick();
    let lock = RunLock::acquire(&rig.run("a")).unwrap();
    rig.reboot();
    assert_eq!(rig.kick(), [""; 0]);
    drop(lock);
    rig.ends("a", Status::Finished, "");
    assert_eq!(rig.kick(), ["b"]);
}

#[test]
fn a_run_whose_starter_died_waits_again_but_not_for_ever() {
    let rig = Rig::with(&["a"]);
    let long_ago = |queue: &mut Queue| {
        if let State::Started { at_ms, .. } = &mut queue.items[0].state {
            *at_ms -= PATIENCE_MS;
        }
        Ok(())
    };
    for _ in 0..3 {
        assert_eq!(rig.kick(), ["a"]);
        assert_eq!(rig.kick(), [""; 0], "it is given time");
        rig.home.change(long_ago).unwrap();
    }
    assert_eq!(rig.kick(), [""; 0]);
    assert!(matches!(&rig.states()[0].1, State::Failed { reason } if reason.contains("vanished")));
}

#[test]
fn a_run_whose_folder_is_gone_fails_in_words() {
    let rig = Rig::with(&["a", "b"]);
    std::fs::remove_dir_all(rig.temp.path().join("a")).unwrap();
    assert_eq!(rig.kick(), ["b"]);
    let queue = rig.home.read().unwrap();
    assert!(matches!(&queue.items[0].state, State::Failed { reason } if reason.contains("its folder cannot be used")));
}

#[test]
fn a_paused_queue_starts_nothing_but_notes_what_ends() {
    let rig = Rig::with(&["a", "b"]);
    rig.kick();
    rig.home
        .change(|queue| {
            queue.paused = true;
            Ok(())
        })
        .unwrap();
    rig.ends("a", Status::Finished, "");
    assert_eq!(rig.kick(), [""; 0]);
    assert_eq!(rig.states()[0].1, State::Done);
    rig.home
        .change(|queue| {
            queue.paused = false;
            Ok(())
        })
        .unwrap();
    assert_eq!(rig.kick(), ["b"]);
}

#[test]
fn the_order_of_those_that_wait_can_be_changed() {
    let rig = Rig::with(&["a", "b", "c", "d"]);
    rig.kick();
    let order = |id: &str, place| {
        rig.home.change(|queue| queue.place(id, place)).unwrap();
        rig.states().into_iter().map(|(name, _)| name).collect::<String>()
    };
    assert_eq!(order("q4", Place::First), "adbc");
    assert_eq!(order("q4", Place::Up), "adbc");
    assert_eq!(order("q4", Place::Down), "abdc");
    assert_eq!(order("q2", Place::Last), "adcb");
    assert!(rig.home.change(|queue| queue.place("q1", Place::Last)).unwrap_err().to_string().contains("does not wait"));
    assert!(rig.home.change(|queue| queue.remove("q9")).unwrap_err().to_string().contains("no q9"));
}

#[test]
fn a_run_is_in_the_queue_once() {
    let rig = Rig::with(&["a"]);
    let again = || rig.home.change(|queue| queue.add(&rig.run("a"), "cpu".into()));
    assert!(again().unwrap_err().to_string().contains("in the queue already, as q1"));
    rig.kick();
    rig.ends("a", Status::Stopped, "");
    rig.kick();
    assert_eq!(again().unwrap().id, "q2");
    assert_eq!(rig.states().len(), 1);
}

#[test]
fn a_damaged_queue_is_an_error_that_names_it() {
    let rig = Rig::with(&["a"]);
    let path = rig.temp.path().join("state/queue.json");
    std::fs::write(&path, "{").unwrap();
    assert!(format!("{:#}", rig.home.read().unwrap_err()).contains("queue.json is damaged"));
    std::fs::write(&path, r#"{"v": 99}"#).unwrap();
    assert!(rig.home.read().unwrap_err().to_string().contains("newer version"));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(rig.kick(), [""; 0]);
}

#[test]
fn two_kicks_at_once_start_every_run_once() {
    for _ in 0..50 {
        let rig = Rig::with(&["a"]);
        let b = rig.run("b");
        rig.home.change(|queue| queue.add(&b, "cuda:0".into())).unwrap();
        let (started, barrier) = (AtomicUsize::new(0), Barrier::new(2));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    barrier.wait();
                    let count = &mut |_: &Item| {
                        started.fetch_add(1, Ordering::Relaxed);
                        Ok(())
                    };
                    rig.home.kick(&[], count).unwrap()
                });
            }
        });
        assert_eq!(started.into_inner(), 2);
    }
}

#[test]
fn old_items_are_forgotten() {
    let rig = Rig::new();
    let many = |queue: &mut Queue| {
        queue.items = (0..80).map(|i| Item { id: format!("q{i}"), state: State::Done, ..Item::default() }).collect();
        Ok(())
    };
    rig.home.change(many).unwrap();
    let items = rig.home.read().unwrap().items;
    assert_eq!((items.len(), items[0].id.as_str()), (KEPT, "q30"));
}
