//! Against a Hub on this machine, and programs that speak as `lightbox export --json` does.
use super::*;
use crate::link::Back;
use crate::link::tasks::Runner;
use std::path::Path;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

#[path = "../../../tests/hub/http.rs"]
#[allow(dead_code)]
mod http;
#[path = "../../../tests/hub/server.rs"]
#[allow(dead_code)]
mod server;
use server::{Fault, Server};

struct Rig {
    runner: Runner,
    news: UnboundedReceiver<Action>,
}

impl Rig {
    fn new() -> Self {
        let (send, news) = unbounded_channel();
        Self { runner: Runner::new(Back(send)), news }
    }

    /// The next of our own messages; the tasks' news are passed over, but seen by `look`.
    async fn next(&mut self, mut look: impl FnMut(&Runner, &Action)) -> Msg {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(60), self.news.recv());
            let action = next.await.expect("nothing came in time").expect("the tasks are gone");
            look(&self.runner, &action);
            if let Action::Models(msg) = action {
                return msg;
            }
        }
    }
}

fn weights() -> Vec<u8> {
    (0..400_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

type Make = fn(&[(&str, &[u8])]) -> Server;

fn hub_with(server: Make) -> (Server, tempfile::TempDir) {
    let files: [(&str, &[u8]); 2] = [("config.json", b"{}\n"), ("model.safetensors", &weights())];
    (server(&files), tempfile::tempdir().unwrap())
}

fn client(server: &Server, cache: &Path) -> Result<Client, HubError> {
    Ok(Client::new(&server.url, cache)?.with_pause(Duration::from_millis(2)))
}

#[tokio::test]
async fn a_repository_is_listed_loaded_cancelled_and_gone_on_with() {
    let (server, cache) = hub_with(Server::new);
    let mut rig = Rig::new();
    let ask = client(&server, cache.path());
    rig.runner.start("list", move |ctx| list(ctx, 1, ask, "org/model", "main"));
    let Msg::Listed(1, Ok(offer)) = rig.next(|_, _| {}).await else { panic!() };
    assert_eq!((offer.files, offer.bytes, offer.missing), (2, 400_003, 400_003));
    assert_eq!(offer.largest[0], ("model.safetensors".to_owned(), 400_000));
    assert!(offer.free.is_some_and(|free| free > 0));

    server.fail("model.safetensors", Fault::Stall(100_000), 1);
    let ask = client(&server, cache.path());
    let task = rig.runner.start("load", move |ctx| download(ctx, 2, ask, "org/model", "main"));
    // cancelled as soon as a part is here
    let end = rig
        .next(|runner, action| match action {
            Action::Task(crate::app::tasks::News::Progress(_, p)) if p.done > 10_000 => runner.cancel(task),
            _ => {}
        })
        .await;
    assert!(matches!(end, Msg::Ended(2, End::Cancelled)), "{end:?}");
    let half = hub::cached_in(cache.path()).remove(0);
    assert!(!half.complete && half.half_bytes > 0 && half.asked_bytes == Some(400_003), "{half:?}");
    assert_eq!(half.revision, "main", "as it was asked for");

    let ask = client(&server, cache.path());
    rig.runner.start("load", move |ctx| download(ctx, 3, ask, "org/model", "main"));
    let Msg::Ended(3, End::Downloaded(path)) = rig.next(|_, _| {}).await else { panic!() };
    assert!(std::fs::read(path.join("model.safetensors")).unwrap() == weights());
    assert!(server.loads("model.safetensors").last().is_some_and(|from| *from > 0), "it went on where it was");
}

#[tokio::test]
async fn a_gated_repository_and_a_hub_that_is_not_there_say_what_to_do() {
    let (server, cache) = hub_with(Server::gated);
    let mut rig = Rig::new();
    let ask = client(&server, cache.path());
    rig.runner.start("load", move |ctx| download(ctx, 1, ask, "org/model", "main"));
    let Msg::Ended(1, End::Failed(why)) = rig.next(|_, _| {}).await else { panic!() };
    assert!(why.contains("gated") && why.contains("HF_TOKEN"), "{why}");

    let ask = Client::new("http://127.0.0.1:9", cache.path()).map(|client| client.with_pause(Duration::from_millis(1)));
    rig.runner.start("list", move |ctx| list(ctx, 2, ask, "org/model", "main"));
    let Msg::Listed(2, Err(why)) = rig.next(|_, _| {}).await else { panic!() };
    assert!(why.contains("HF_ENDPOINT"), "{why}");
}

/// A program that does as `lightbox export` does.
fn program(dir: &Path, script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join("program");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn an_export_tells_its_progress_and_what_its_verification_found() {
    let temp = tempfile::tempdir().unwrap();
    let script = r#"echo '{"event": "progress", "done": 10, "total": 20, "what": "model.safetensors"}'
echo "$@" > "$0.args"
echo '{"event": "done", "dir": "/out", "bytes": 20, "tensors": 2, "merged": 1, "verify": {"max_abs_diff": 1e-5, "rounding": 1e-6, "max_logit": 3.5, "tokens_equal": true, "tokens": 64, "questions": 4}}'"#;
    let program = program(temp.path(), script);
    let mut rig = Rig::new();
    let (run, args) = (program.clone(), vec!["export".to_owned(), "--json".to_owned()]);
    rig.runner.start("export", move |ctx| export(ctx, 1, Ok(run), &args));
    let mut told = Vec::new();
    let end = rig
        .next(|_, action| {
            if let Action::Task(crate::app::tasks::News::Progress(_, p)) = action {
                told.push((p.done, p.total, p.note.clone()));
            }
        })
        .await;
    let Msg::Ended(1, End::Exported(dir, Some(found))) = end else { panic!("{end:?}") };
    assert_eq!((dir, found.tokens_equal, found.tokens), (PathBuf::from("/out"), true, 64));
    assert_eq!(told, [(10, 20, "model.safetensors".to_owned())]);
    assert_eq!(std::fs::read_to_string(program.with_extension("args")).unwrap(), "export --json\n");
}

#[tokio::test]
async fn an_export_that_fails_says_its_last_line_and_a_cancelled_one_is_told_to_stop() {
    let temp = tempfile::tempdir().unwrap();
    let failing = program(temp.path(), "echo warning >&2; echo 'error: /out is there already' >&2; exit 2");
    let mut rig = Rig::new();
    rig.runner.start("export", move |ctx| export(ctx, 1, Ok(failing), &[]));
    let Msg::Ended(1, End::Failed(why)) = rig.next(|_, _| {}).await else { panic!() };
    assert_eq!(why, "/out is there already");

    let dir = tempfile::tempdir().unwrap();
    let script = "trap 'echo told > \"$0.told\"; exit 1' TERM\n\
                  echo '{\"event\": \"progress\", \"done\": 1, \"total\": 2, \"what\": \"x\"}'\nwhile :; do sleep 0.05; done";
    let waiting = program(dir.path(), script);
    let told = waiting.with_extension("told");
    let task = rig.runner.start("export", move |ctx| export(ctx, 2, Ok(waiting), &[]));
    let end = rig
        .next(|runner, action| {
            if matches!(action, Action::Task(crate::app::tasks::News::Progress(..))) {
                runner.cancel(task);
            }
        })
        .await;
    assert!(matches!(end, Msg::Ended(2, End::Cancelled)), "{end:?}");
    assert!(told.exists(), "it was told to stop, and could clean up");
}

#[test]
fn only_what_an_export_has_written_is_removed() {
    let temp = tempfile::tempdir().unwrap();
    let entry = |kind, origin| {
        let path = temp.path().join("out");
        Entry { kind, path, ..crate::app::models::samples::base("out", origin) }
    };
    std::fs::create_dir(temp.path().join("out")).unwrap();
    let export = entry(Kind::Export, Origin::Folder);
    assert!(remove(&export).is_err(), "it is no model");
    std::fs::write(export.path.join("config.json"), "{}").unwrap();
    assert!(remove(&entry(Kind::Base, Origin::Folder)).is_err());
    let run = Origin::Run { name: "x".into(), dir: temp.path().to_owned() };
    assert!(remove(&entry(Kind::Adapter, run)).is_err());
    std::fs::write(export.path.join("run.json"), "{}").unwrap();
    assert!(remove(&export).is_err(), "a run took its place");
    std::fs::remove_file(export.path.join("run.json")).unwrap();
    assert!(matches!(remove(&export), Ok(Some(Action::Models(Msg::Removed(..))))));
    assert!(!export.path.exists());
}
