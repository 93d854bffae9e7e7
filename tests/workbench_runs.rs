//! The Runs screen's followers and steering over real processes: the built program, its supervisor, and the fake engine.

use lightbox::app::messages::Level;
use lightbox::app::runs::run::News;
use lightbox::app::runs::series::Series;
use lightbox::app::runs::{Effect, Msg};
use lightbox::app::{Action, tasks};
use lightbox::link::Back;
use lightbox::link::runs::Link;
use lightbox::link::tasks::Runner;
use lightbox::text::Lang;
use lightbox_core::runs::commands::{CheckpointNow, Command as Told, SampleNow, Stop};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const DEADLINE: Duration = Duration::from_secs(60);

/// A run of the fake engine, and what the screen would hear of it.
struct Rig {
    temp: tempfile::TempDir,
    program: PathBuf,
    received: UnboundedReceiver<Action>,
    link: Link,
    run: PathBuf,
    series: Series,
    news: News,
    said: Vec<(Level, String)>,
}

impl Rig {
    fn start(step_ms: u32) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let run = temp.path().canonicalize().unwrap().join("run");
        let profile = format!(
            "stage: sft\ndo_train: true\ntemplate: qwen2_vl\nmodel_name_or_path: {golden}/models/tiny-tied\n\
             dataset_dir: {golden}/llamafactory/data\ndataset: demo\nlearning_rate: 1.0e-3\nmax_steps: 4000\n\
             per_device_train_batch_size: 2\nlogging_steps: 5\nsave_steps: 1000\ndevice: cpu\noutput_dir: {}\n",
            run.display(),
            golden = golden.display()
        );
        std::fs::write(temp.path().join("profile.yaml"), profile).unwrap();
        // the link starts the program with this process's variables: a script sets those of the test
        let lightbox = Path::new(env!("CARGO_BIN_EXE_lightbox"));
        let engine = lightbox.with_file_name("lightbox-fake-engine");
        assert!(engine.exists(), "{} is missing: run `cargo build` first", engine.display());
        let program = temp.path().join("lightbox.sh");
        let script = format!(
            "#!/bin/sh\nexport LIGHTBOX_ENGINE='{}' LIGHTBOX_STATE='{}' LIGHTBOX_FAKE_STEP_MS={step_ms}\nexec '{}' \"$@\"\n",
            engine.display(),
            temp.path().join("state").display(),
            lightbox.display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let (send, received) = unbounded_channel();
        let back = Back(send);
        let mut link = Link::new(back.clone(), Runner::new(back));
        link.program = program.clone();
        let (series, news) = (Series::new(0.9), News::default());
        let rig = Self { temp, program, received, link, run, series, news, said: Vec::new() };
        rig.lightbox(&["train", "profile.yaml", "--detach"]);
        rig
    }

    fn lightbox(&self, args: &[&str]) -> String {
        let output = Command::new(&self.program).args(args).current_dir(self.temp.path()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn follow(&mut self) {
        self.link.run(Effect::Seen(true));
        self.link.run(Effect::Follow { curves: vec![(self.run.clone(), 1)], run: Some((self.run.clone(), 1)) });
    }

    fn tell(&mut self, command: Told) {
        self.link.run(Effect::Tell { run: self.run.clone(), command, lang: Lang::En });
    }

    /// Listens until something has happened.
    #[track_caller]
    fn until(&mut self, what: &str, happened: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !happened(self) {
            assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}; said: {:?}", self.said);
            match self.received.try_recv() {
                Ok(action) => self.hear(action),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn hear(&mut self, action: Action) {
        match action {
            Action::Runs(Msg::Curve { token: 1, entries, .. }) => self.series.push(entries),
            Action::Runs(Msg::News(1, news)) => {
                self.news.events.extend(news.events);
                self.news.checkpoints = news.checkpoints.or(self.news.checkpoints.take());
                self.news.system.extend(news.system);
            }
            Action::Say(level, text) => self.said.push((level, text)),
            Action::Task(tasks::News::Ended(_, tasks::State::Failed(why))) => self.said.push((Level::Error, why)),
            Action::All(all) => all.into_iter().for_each(|action| self.hear(action)),
            _ => {}
        }
    }

    fn has_said(&self, words: &str) -> bool {
        self.said.iter().any(|(_, text)| text.contains(words))
    }
}

/// Nothing that was started outlives its test.
impl Drop for Rig {
    fn drop(&mut self) {
        let args = ["runs", "stop", "--kill", "--wait", "5"];
        let _ = Command::new(&self.program).args(args).arg(&self.run).output();
    }
}

#[tokio::test]
async fn a_run_is_followed_and_steered_until_it_stops_and_goes_on() {
    let mut rig = Rig::start(10);
    rig.follow();
    rig.until("updates", |rig| rig.series.len() > 5);
    rig.tell(Told::Pause);
    rig.until("paused", |rig| rig.has_said("pause: done at step"));
    rig.tell(Told::CheckpointNow(CheckpointNow { pin: true, label: Some("keep me".into()) }));
    rig.until("a pinned checkpoint", |rig| {
        let all = rig.news.checkpoints.iter().flatten();
        all.into_iter().any(|c| c.pinned && c.label.as_deref() == Some("keep me"))
    });
    rig.tell(Told::SampleNow(SampleNow { prompt: Some("what is it?".into()), ..SampleNow::default() }));
    rig.until("an answer", |rig| {
        rig.news.events.iter().any(|(_, event)| {
            matches!(event, lightbox_core::runs::record::Event::Sample { prompt, .. } if prompt == "what is it?")
        })
    });
    rig.tell(Told::Resume);
    rig.until("awake", |rig| rig.has_said("resume: done at step"));
    rig.tell(Told::Stop(Stop::default()));
    rig.until("stopped", |rig| rig.has_said("stop (now): done"));
    let steps = rig.series.len();
    let args = ["runs", "resume", &rig.run.display().to_string(), "--json"].map(str::to_owned).into();
    rig.link.run(Effect::Program { args, lang: Lang::En });
    rig.until("resumed", |rig| rig.has_said("The run goes on (pid "));
    rig.until("more updates", |rig| rig.series.len() > steps + 5);
    assert!(rig.said.iter().all(|(level, _)| *level == Level::Good), "{:?}", rig.said);
}

#[tokio::test]
async fn a_run_without_a_worker_says_so_and_can_be_removed() {
    let mut rig = Rig::start(10);
    rig.lightbox(&["runs", "stop", &rig.run.display().to_string()]);
    rig.tell(Told::Pause);
    rig.until("refused", |rig| rig.has_said("there is no worker that could do it"));
    rig.link.run(Effect::Measure(rig.run.clone()));
    let removal = loop {
        match rig.received.recv().await {
            Some(Action::Runs(Msg::Removal(removal))) => break removal,
            Some(other) => rig.hear(other),
            None => panic!("the link is gone"),
        }
    };
    assert!(removal.bytes > 0 && removal.name == "run" && removal.foreign.is_empty(), "{removal:?}");
    rig.link.run(Effect::Remove { run: rig.run.clone(), force: false, lang: Lang::En });
    rig.until("removed", |rig| rig.has_said("Deleted "));
    assert!(!rig.run.exists());
}
