//! The link against real files.
use super::*;
use crate::app::data::manage::{Convert, Effect as ManageEffect, Msg as ManageMsg};
use crate::app::data::open::{Row, Unseen};
use crate::app::data::seen::{Look, Part, SeenBy};
use crate::app::tasks::{News, State};
use lightbox_core::data::questions::DEFAULT_QUESTION;
use std::process::Command;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// A link, and what it sends.
struct World {
    link: Link,
    actions: UnboundedReceiver<Action>,
    _runtime: tokio::runtime::Runtime,
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (send, actions) = unbounded_channel();
        let back = Back(send);
        let link = Link::new(back.clone(), Runner::new(back));
        Self { link, actions, _runtime: runtime }
    }

    fn run(&mut self, effect: Effect) {
        let _inside = self._runtime.enter();
        self.link.run(effect);
    }

    /// Waits for the first that `wanted` takes.
    fn wait<T>(&mut self, mut wanted: impl FnMut(Action) -> Option<T>) -> T {
        let actions = &mut self.actions;
        self._runtime.block_on(async {
            let found = async {
                loop {
                    let action = actions.recv().await.expect("the link is gone");
                    let parts = match action {
                        Action::All(parts) => parts,
                        one => vec![one],
                    };
                    if let Some(found) = parts.into_iter().find_map(&mut wanted) {
                        return found;
                    }
                }
            };
            tokio::time::timeout(Duration::from_secs(60), found).await.expect("nothing came within a minute")
        })
    }

    fn data<T>(&mut self, mut wanted: impl FnMut(Msg) -> Option<T>) -> T {
        self.wait(|action| match action {
            Action::Data(msg) => wanted(msg),
            _ => None,
        })
    }

    fn open(&mut self, id: SetId, dir: &Path, name: &str) -> Result<usize, String> {
        let source = Source { dir: dir.to_owned(), name: name.to_owned() };
        self.run(Effect::Open { id, source, title: "open".into(), fresh: false });
        self.data(|msg| match msg {
            Msg::Opened(of, result) if of == id => Some(result.map(|(len, _)| len)),
            _ => None,
        })
    }
}

/// A folder with 1,000 rows: every tenth has no answer, every other one says "even".
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let row = |i: usize| {
        let answer = if i.is_multiple_of(2) { "even \u{1b}[31m" } else { "odd" };
        let mut messages = vec![serde_json::json!({"role": "user", "content": format!("question {i}")})];
        if i % 10 != 9 {
            messages.push(serde_json::json!({"role": "assistant", "content": answer}));
        }
        serde_json::json!({"messages": messages}).to_string() + "\n"
    };
    std::fs::write(dir.path().join("rows.jsonl"), (0..1_000).map(row).collect::<String>()).unwrap();
    dir
}

fn path_in(dir: &tempfile::TempDir, name: &str) -> String {
    dir.path().join(name).display().to_string()
}

fn demo_model() -> SeenBy {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo-model");
    SeenBy { models: vec![model, "/nowhere/model".into()], demo: "/nowhere".into(), ..SeenBy::default() }
}

#[test]
fn rows_and_samples_of_an_open_file_come_clean_and_in_their_places() {
    let dir = folder();
    let mut world = World::new();
    assert_eq!(world.open(1, dir.path(), &path_in(&dir, "rows.jsonl")), Ok(1_000));
    world.run(Effect::Rows(1, vec![500, 501, 9]));
    let rows = world.data(|msg| match msg {
        Msg::Rows(1, rows) => Some(rows),
        _ => None,
    });
    assert_eq!(rows.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [500, 501, 9]);
    let Row::Good { question, answer, turns: 1, pictures: 0 } = &rows[0].1 else { panic!("{rows:?}") };
    assert_eq!((question.as_str(), answer.as_str()), ("question 500", "even \\u{1b}[31m"));
    assert!(matches!(&rows[2].1, Row::Bad(why) if why.starts_with("odd_turns")));
    for (index, good) in [(42, true), (9, false)] {
        world.run(Effect::Sample(1, index));
        let shown = world.data(|msg| match msg {
            Msg::Shown(1, shown) => Some(shown),
            _ => None,
        });
        assert_eq!((shown.index, shown.problem.is_none()), (index, good));
        assert!(shown.origin.ends_with(&format!("rows.jsonl:{}", index + 1)), "{}", shown.origin);
    }
}

#[test]
fn a_set_that_is_open_is_there_again_at_once_and_what_cannot_be_opened_says_why() {
    let dir = folder();
    let mut world = World::new();
    let name = path_in(&dir, "rows.jsonl");
    world.open(1, dir.path(), &name).unwrap();
    std::fs::remove_file(&name).unwrap();
    assert_eq!(world.open(2, dir.path(), &name), Ok(1_000), "kept, although its file is gone");
    assert!(world.link.sets.get(1).is_none() && world.link.sets.get(2).is_some());
    let why = world.open(3, dir.path(), "no-such-name").unwrap_err();
    assert!(why.contains("no-such-name"), "{why}");
}

#[test]
fn only_the_newest_wish_is_served_and_a_fault_does_not_end_the_thread() {
    let (send, served) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let newest = Newest::new("test", move |wish: u32, _: &newest::Old| {
        send.send(wish).unwrap();
        wait.recv().unwrap();
        assert!(wish != 100, "a fault");
    });
    let next = || served.recv_timeout(Duration::from_secs(60)).unwrap();
    newest.wish(1);
    assert_eq!(next(), 1);
    (2..=100).for_each(|wish| newest.wish(wish));
    go.send(()).unwrap();
    assert_eq!(next(), 100, "those between are not wanted any more");
    newest.wish(101);
    go.send(()).unwrap();
    assert_eq!(next(), 101, "after a fault");
    go.send(()).unwrap();
}

#[test]
fn a_search_sends_all_matches_and_its_end() {
    let dir = folder();
    let mut world = World::new();
    world.open(1, dir.path(), &path_in(&dir, "rows.jsonl")).unwrap();
    let query = "even".parse().unwrap();
    world.run(Effect::Search { id: 1, number: 7, query, title: "search".into() });
    let (mut all, mut looked) = (Vec::new(), 0);
    world.data(|msg| match msg {
        Msg::Matches(1, 7, found, done) => {
            all.extend(found);
            looked = done;
            None
        }
        Msg::Searched(1, 7, result) => result.ok(),
        _ => None,
    });
    assert_eq!(looked, 1_000);
    assert_eq!(all, (0..1_000).filter(|i| i % 2 == 0).collect::<Vec<u32>>());
}

#[test]
fn a_check_finds_every_bad_row_and_statistics_count_the_rest() {
    let dir = folder();
    let mut world = World::new();
    world.open(1, dir.path(), &path_in(&dir, "rows.jsonl")).unwrap();
    world.run(Effect::Check { id: 1, by: SeenBy::default(), title: "check".into() });
    let mut bad = Vec::new();
    let complete = world.data(|msg| match msg {
        Msg::Problems(1, problems, _) => {
            bad.extend(problems.into_iter().map(|problem| problem.index));
            None
        }
        Msg::Checked(1, complete) => Some(complete),
        _ => None,
    });
    assert!(complete);
    assert_eq!(bad, (0..1_000).filter(|i| i % 10 == 9).collect::<Vec<_>>());
    world.run(Effect::Stats { id: 1, by: demo_model(), title: "stats".into() });
    let measured = world.data(|msg| match msg {
        Msg::Measured(1, result) => Some(result.unwrap()),
        _ => None,
    });
    assert_eq!((measured.stats.samples, measured.stats.good, measured.of), (1_000, 900, 1_000));
    assert!(measured.stats.tokens.is_some() && measured.cutoff_len == Some(2048));
}

#[test]
fn a_search_that_is_cancelled_ends_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let row =
        serde_json::json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]});
    std::fs::write(dir.path().join("many.jsonl"), format!("{row}\n").repeat(200_000)).unwrap();
    let mut world = World::new();
    world.open(1, dir.path(), &path_in(&dir, "many.jsonl")).unwrap();
    world.run(Effect::Search { id: 1, number: 1, query: "nowhere".parse().unwrap(), title: "search".into() });
    let task = world.data(|msg| match msg {
        Msg::Working(Work::Search, task) => Some(task),
        _ => None,
    });
    world.link.tasks.cancel(task);
    let state = world.wait(|action| match action {
        Action::Task(News::Ended(id, state)) if id == task => Some(state),
        _ => None,
    });
    assert_eq!(state, State::Cancelled);
}

#[test]
fn what_the_model_sees_is_the_whole_sample_and_a_missing_model_is_told() {
    let dir = folder();
    let mut world = World::new();
    world.open(1, dir.path(), &path_in(&dir, "rows.jsonl")).unwrap();
    let seen = |world: &mut World, by: SeenBy| {
        world.run(Effect::Seen(1, 1, by));
        world.data(|msg| match msg {
            Msg::Seen(1, 1, seen) => Some(seen),
            _ => None,
        })
    };
    let view = seen(&mut world, demo_model()).unwrap();
    assert_eq!((view.n_tokens, view.cut, view.cutoff_len), (view.tokens.len(), 0, 2048));
    let trained: String = view
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Text(text, Look::Trained) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert!(trained.starts_with("odd"), "{trained}");
    let short = seen(&mut world, SeenBy { cutoff_len: Some(8), ..demo_model() }).unwrap();
    assert!(short.cut > 0 && short.n_tokens == 8, "{short:?}");
    let none = SeenBy { models: vec!["/nowhere/model".into()], ..SeenBy::default() };
    assert_eq!(seen(&mut world, none), Err(Unseen::NoModel));
}

#[test]
fn a_file_is_registered_found_taken_out_and_put_back() {
    let dir = folder();
    let mut world = World::new();
    let file = dir.path().join("rows.jsonl");
    let register = |replace| {
        let (file, dir, name) = (file.clone(), dir.path().to_owned(), "rows".to_owned());
        Effect::Manage(ManageEffect::Register { file, dir, name, replace })
    };
    let made = |world: &mut World| {
        world.data(|msg| match msg {
            Msg::Manage(ManageMsg::Made(source) | ManageMsg::IsBack(source)) => Some(source),
            _ => None,
        })
    };
    let names = |world: &mut World| {
        world.run(Effect::Discover(vec![dir.path().to_owned(), dir.path().join("gone")]));
        world.data(|msg| match msg {
            Msg::Found { found, .. } => Some(found.into_iter().map(|found| found.name).collect::<Vec<_>>()),
            _ => None,
        })
    };
    assert_eq!(names(&mut world), [path_in(&dir, "rows.jsonl")]);
    world.run(register(false));
    let source = made(&mut world);
    assert_eq!(names(&mut world), ["rows"], "not once more as a bare file");
    world.run(Effect::Manage(ManageEffect::Unregister(source)));
    let removed = world.data(|msg| match msg {
        Msg::Manage(ManageMsg::Removed(removed)) => Some(removed),
        _ => None,
    });
    assert_eq!(names(&mut world), [path_in(&dir, "rows.jsonl")]);
    world.run(Effect::Manage(ManageEffect::PutBack(removed)));
    made(&mut world);
    assert_eq!(names(&mut world), ["rows"]);
}

#[test]
fn captioned_pictures_are_converted_and_can_be_opened() {
    use lightbox_core::demo::{dataset::PhantomSet, words::Lang};
    let dir = tempfile::tempdir().unwrap();
    let few = PhantomSet { name: "few", rows: 6, shards: 1, languages: &[Lang::En], seed: 1 };
    few.write_parquet(&dir.path().join("source"), &mut |_, _| {}).unwrap();
    let mut world = World::new();
    let form = Convert {
        sources: vec![dir.path().join("source")],
        out: dir.path().join("out"),
        name: "few".into(),
        folder: "few".into(),
        questions: vec![DEFAULT_QUESTION.into()],
    };
    world.run(Effect::Manage(ManageEffect::Convert { form, title: "convert".into() }));
    let (source, written) = world.data(|msg| match msg {
        Msg::Manage(ManageMsg::Converted { source, written, skipped: 0, .. }) => Some((source, written)),
        _ => None,
    });
    assert_eq!(world.open(1, &source.dir, &source.name), Ok(written));
    world.run(Effect::Sample(1, 0));
    let shown = world.data(|msg| match msg {
        Msg::Shown(1, shown) => Some(shown),
        _ => None,
    });
    assert_eq!(shown.images.len(), 1);
    assert!(shown.turns[0].1.contains(DEFAULT_QUESTION));
}

#[test]
fn a_path_is_looked_at_and_opened_by_what_it_is() {
    let dir = folder();
    let mut world = World::new();
    let wanted = |world: &mut World, path: PathBuf| {
        world.run(Effect::LookAt(path, Vec::new()));
        world.wait(|action| match action {
            Action::Data(Msg::Open(source)) => Some(Ok(source.name)),
            Action::Say(_, why) => Some(Err(why)),
            _ => None,
        })
    };
    let file = dir.path().canonicalize().unwrap().join("rows.jsonl");
    for path in [dir.path().to_owned(), dir.path().join("rows.jsonl")] {
        assert_eq!(wanted(&mut world, path), Ok(file.display().to_string()));
    }
    std::fs::write(dir.path().join(dataset_info::FILE_NAME), r#"{"named": {"file_name": "rows.jsonl"}}"#).unwrap();
    assert_eq!(wanted(&mut world, dir.path().join(dataset_info::FILE_NAME)), Ok("named".to_owned()));
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    assert!(wanted(&mut world, dir.path().join("empty")).unwrap_err().contains("nothing was opened"));
    assert!(wanted(&mut world, dir.path().join("gone")).unwrap_err().contains("gone"));
}

#[test]
fn a_download_tells_its_progress_opens_its_folder_and_says_why_it_failed() {
    let mut world = World::new();
    let mut end = |script: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let _inside = world._runtime.enter();
        let task = world.link.tasks.start("download", move |ctx| manage::download(command, ctx));
        drop(_inside);
        let (mut opened, mut bytes) = (None, 0);
        let state = world.wait(|action| match action {
            Action::Data(Msg::OpenPath(path)) => {
                opened = Some(path);
                None
            }
            Action::Task(News::Progress(_, progress)) => {
                bytes = progress.done;
                None
            }
            Action::Task(News::Ended(id, state)) if id == task => Some(state),
            _ => None,
        });
        (state, opened, bytes)
    };
    let good = r#"echo '{"event":"progress","done_bytes":5,"total_bytes":9,"file":"a.parquet","note":null}'
        echo '{"event":"news"}'; echo '{"event":"done","folder":"/cache/x","commit":"c","files":1,"bytes":9}'"#;
    assert_eq!(end(good), (State::Done, Some("/cache/x".into()), 5));
    let (state, opened, _) = end("echo 'first'; echo 'error: no such repository' >&2; exit 2");
    assert_eq!((state, opened), (State::Failed("error: no such repository".into()), None));
}
