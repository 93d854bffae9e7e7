//! `lightbox_core::hub::push` against each fault.

use crate::content;
use crate::receiver::{Fault, READER, Receiver, Request};
use crate::rig::WEIGHTS;
use crate::server::TOKEN;
use lightbox_core::hub::{self, Client, Filters, Folder, HubError, Kind, Phase, Progress, Push, Pushed, Repo};
use std::collections::BTreeMap;
use std::ops::ControlFlow::{self, Break, Continue};
use std::path::Path;
use std::time::{Duration, Instant};

const MODEL: &str = "models/me/model";

struct Rig {
    receiver: Receiver,
    folder: tempfile::TempDir,
    weights: Vec<u8>,
}

impl Rig {
    fn new() -> Self {
        Self::to(Receiver::new())
    }

    fn to(receiver: Receiver) -> Self {
        let (folder, weights) = (tempfile::tempdir().unwrap(), content(3, 3_000_000));
        let rig = Self { receiver, folder, weights: weights.clone() };
        rig.write("config.json", b"{}\n");
        rig.write("empty.safetensors", b"");
        rig.write("sub/a b.txt", b"text");
        rig.write(WEIGHTS, &weights);
        rig
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn client(&self) -> Client {
        let client = Client::new(&self.receiver.url, Path::new("unused")).unwrap();
        client.with_pause(Duration::from_millis(2)).with_token(TOKEN, "HF_TOKEN")
    }

    fn push(&self) -> Result<Pushed, HubError> {
        self.push_to(&model(), false, &self.client(), &mut |_| Continue(()))
    }

    fn push_to(
        &self,
        repo: &Repo,
        private: bool,
        client: &Client,
        notify: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Pushed, HubError> {
        let folder = Folder::read(self.folder.path(), &Filters::default())?;
        hub::push(&Push { folder: &folder, repo, private, message: "a message", client }, notify)
    }

    /// All that was pushed is there.
    #[track_caller]
    fn assert_whole(&self) {
        let expected: BTreeMap<String, Vec<u8>> = [
            ("config.json", b"{}\n".to_vec()),
            ("empty.safetensors", Vec::new()),
            ("sub/a b.txt", b"text".to_vec()),
            (WEIGHTS, self.weights.clone()),
        ]
        .map(|(path, bytes)| (path.to_owned(), bytes))
        .into();
        assert!(self.receiver.files(MODEL, "main") == expected, "the repository differs from the folder");
    }

    #[track_caller]
    fn assert_nothing_committed(&self) {
        assert_eq!(self.receiver.commits(MODEL, "main"), []);
    }

    /// Bytes of each request to the storage.
    fn sent(&self) -> Vec<usize> {
        self.receiver.asked("PUT /storage/").iter().map(|request| request.bytes).collect()
    }
}

fn model() -> Repo {
    Repo::new(Kind::Model, "me/model")
}

/// Some of the weights has gone out.
fn is_sending(progress: &Progress) -> bool {
    progress.phase == Phase::Sending && progress.file == WEIGHTS && progress.file_done > 0
}

#[test]
fn a_folder_becomes_a_repository_in_one_commit_and_the_second_time_there_is_nothing_to_do() {
    let rig = Rig::new();
    rig.write(".env", b"secret");
    rig.write("half.partial", b"half");
    let mut seen: Vec<Progress> = Vec::new();
    let pushed = rig.push_to(&model(), false, &rig.client(), &mut |progress| {
        seen.push(progress.clone());
        Continue(())
    });
    let pushed = pushed.unwrap();
    rig.assert_whole();
    let commits = rig.receiver.commits(MODEL, "main");
    assert_eq!((commits.len(), commits[0].message.as_str()), (1, "a message"));
    assert_eq!((pushed.created, pushed.files, pushed.bytes, pushed.unchanged), (true, 4, 3_000_007, 0));
    assert_eq!((&pushed.commit, pushed.url.ends_with(&commits[0].id)), (&commits[0].id, true));
    assert_eq!(rig.receiver.is_private(MODEL), Some(false));
    assert_eq!(rig.sent(), [3_000_000]);
    let sending = seen.iter().position(|progress| progress.phase == Phase::Sending).unwrap();
    for (of_phase, phase) in [(&seen[..sending], Phase::Comparing), (&seen[sending..], Phase::Sending)] {
        assert!(of_phase.iter().all(|progress| progress.phase == phase));
        assert!(of_phase.is_sorted_by_key(|progress| (progress.done_bytes, progress.files_done)), "{of_phase:?}");
        let last = of_phase.last().unwrap();
        assert_eq!((last.files_done, last.files, last.done_bytes, last.total_bytes), (4, 4, 3_000_007, 3_000_007));
    }
    assert!(seen.iter().any(|p| is_sending(p) && p.file_done < 3_000_000));

    rig.receiver.forget_log();
    let again = rig.push().unwrap();
    assert_eq!((again.created, again.files, again.unchanged, &again.commit), (false, 0, 4, &pushed.commit));
    assert!(again.url.ends_with("/me/model"), "{}", again.url);
    assert!(rig.receiver.asked("batch").is_empty() && rig.receiver.asked("/commit/").is_empty());
}

#[test]
fn only_what_changed_is_sent_and_what_only_the_hub_has_stays() {
    let rig = Rig::new();
    rig.push().unwrap();
    rig.receiver.change(MODEL, "theirs.txt");
    rig.receiver.forget_log();
    rig.write("config.json", b"{1}");
    let pushed = rig.push().unwrap();
    assert_eq!((pushed.files, pushed.bytes, pushed.unchanged), (1, 3, 3));
    assert_eq!(rig.receiver.commits(MODEL, "main").last().unwrap().named, ["config.json"]);
    assert!(rig.receiver.files(MODEL, "main").contains_key("theirs.txt"));
    assert!(rig.sent().is_empty());
}

#[test]
fn the_token_reaches_the_hub_and_never_the_storage() {
    for receiver in [Receiver::new(), Receiver::in_parts(1_000_000)] {
        let rig = Rig::to(receiver);
        rig.push().unwrap();
        let log = rig.receiver.log();
        let (storage, hub): (Vec<&Request>, Vec<&Request>) = log.iter().partition(|request| request.storage);
        assert!(!storage.is_empty() && storage.iter().all(|request| request.token.is_none()));
        assert!(hub.iter().all(|request| request.token.as_deref() == Some(TOKEN)));
    }
}

#[test]
fn what_breaks_while_it_is_sent_is_sent_again_to_a_new_address() {
    for fault in [Fault::Cut(1_000_000), Fault::Cut(0), Fault::Status(500), Fault::Status(403), Fault::Status(429)] {
        let rig = Rig::new();
        rig.receiver.fail("/storage/", fault.clone(), 2);
        rig.push().unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        rig.assert_whole();
        let addresses: Vec<String> = rig.receiver.asked("/storage/").into_iter().map(|request| request.path).collect();
        assert_eq!(addresses.len(), 3, "{fault:?}");
        assert!(addresses[0] != addresses[1] && addresses[1] != addresses[2], "{fault:?}: the signature may be old");
    }
}

#[test]
fn what_arrived_though_the_answer_was_lost_is_not_sent_again() {
    let rig = Rig::new();
    rig.receiver.fail("/storage/", Fault::Lost, 1);
    rig.push().unwrap();
    rig.assert_whole();
    assert_eq!(rig.sent(), [3_000_000]);
}

#[test]
fn a_storage_that_never_takes_anything_is_given_up_and_nothing_is_committed() {
    let rig = Rig::new();
    rig.receiver.fail("/storage/", Fault::Status(503), 100);
    let error = rig.push().unwrap_err();
    assert!(matches!(&error, HubError::GaveUp { file, tries: 6, .. } if file == WEIGHTS), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
    assert_eq!(rig.sent().len(), 6);
    rig.assert_nothing_committed();
}

#[test]
fn equal_contents_are_sent_once() {
    let rig = Rig::new();
    rig.write("copy.safetensors", &rig.weights.clone());
    rig.push().unwrap();
    assert_eq!(rig.sent(), [3_000_000]);
    assert!(rig.receiver.files(MODEL, "main")["copy.safetensors"] == rig.weights);
}

#[test]
fn a_large_file_goes_in_parts_and_a_broken_part_is_the_only_one_sent_twice() {
    for (fault, sent) in [
        (Fault::Cut(100), vec![1_300_000, 100, 1_300_000, 400_000]),
        (Fault::Status(500), vec![1_300_000, 1_300_000, 1_300_000, 400_000]),
    ] {
        let rig = Rig::to(Receiver::in_parts(1_300_000));
        rig.receiver.fail("&part=2", fault, 1);
        rig.push().unwrap();
        rig.assert_whole();
        assert_eq!(rig.sent(), sent);
        assert_eq!(rig.receiver.asked("/complete/").len(), 1);
    }
}

#[test]
fn parts_whose_signature_ran_out_are_begun_anew_and_a_lost_completion_is_none() {
    let rig = Rig::to(Receiver::in_parts(1_300_000));
    rig.receiver.fail("&part=3", Fault::Status(403), 1);
    rig.push().unwrap();
    rig.assert_whole();
    assert_eq!(rig.sent().len(), 6);
    assert_eq!(rig.receiver.asked("batch").len(), 2);

    let rig = Rig::to(Receiver::in_parts(1_300_000));
    rig.receiver.fail("/complete/", Fault::Lost, 1);
    rig.push().unwrap();
    rig.assert_whole();
    assert_eq!((rig.sent().len(), rig.receiver.asked("/complete/").len()), (3, 1));
}

#[test]
fn a_commit_whose_answer_is_lost_is_found_and_one_that_failed_is_made_again() {
    for (fault, asked) in [(Fault::Lost, 1), (Fault::Status(502), 2), (Fault::Cut(10), 2)] {
        let rig = Rig::new();
        rig.receiver.fail("/commit/", fault.clone(), 1);
        let pushed = rig.push().unwrap();
        rig.assert_whole();
        let commits = rig.receiver.commits(MODEL, "main");
        assert_eq!((commits.len(), rig.receiver.asked("/commit/").len()), (1, asked), "{fault:?}");
        assert_eq!(pushed.commit, commits[0].id);
        assert!(pushed.url.ends_with(&format!("/commit/{}", pushed.commit)), "{}", pushed.url);
    }
}

#[test]
fn a_branch_that_moves_on_meanwhile_gets_no_commit() {
    let rig = Rig::new();
    rig.receiver.make(MODEL, false);
    let mut moved = false;
    let error = rig.push_to(&model(), false, &rig.client(), &mut |progress| {
        if !moved && progress.file_done > 0 {
            rig.receiver.change(MODEL, "theirs.txt");
            moved = true;
        }
        Continue(())
    });
    let error = error.unwrap_err();
    assert!(moved && error.to_string().contains("changed by somebody else"), "{error}");
    rig.push().unwrap();
    assert_eq!(rig.receiver.files(MODEL, "main").len(), 5);
    assert_eq!(rig.sent(), [3_000_000], "what was sent counts");
}

#[test]
fn a_stop_is_heard_while_the_storage_is_dead_and_whole_files_are_not_sent_again() {
    let rig = Rig::new();
    rig.write("another.safetensors", &content(4, 100_000));
    rig.receiver.fail(&sha256(&rig.weights), Fault::Stall(500_000), 1);
    let mut since = None;
    let outcome = rig.push_to(&model(), false, &rig.client(), &mut |progress| {
        let is_sent = is_sending(progress) && progress.file_done >= 500_000;
        let since = if is_sent { *since.get_or_insert_with(Instant::now) } else { return Continue(()) };
        if since.elapsed() > Duration::from_millis(300) { Break(()) } else { Continue(()) }
    });
    assert!(matches!(outcome, Err(HubError::Cancelled)), "{outcome:?}");
    assert!(since.unwrap().elapsed() < Duration::from_secs(10), "the write's own timeout is 30 s");
    rig.assert_nothing_committed();
    let before = rig.sent().iter().filter(|bytes| **bytes == 100_000).count();
    rig.push().unwrap();
    assert_eq!(rig.receiver.files(MODEL, "main").len(), 5);
    let small = rig.sent().iter().filter(|bytes| **bytes == 100_000).count();
    assert!(small == 1 && before <= 1, "{before} and then {small}");
}

#[test]
fn a_file_that_changes_while_it_is_sent_is_noticed() {
    for same_size in [true, false] {
        let rig = Rig::new();
        let mut changed = false;
        let outcome = rig.push_to(&model(), false, &rig.client(), &mut |progress| {
            if !changed && is_sending(progress) {
                rig.write(WEIGHTS, &content(99, if same_size { 3_000_000 } else { 2_000_000 }));
                changed = true;
            }
            Continue(())
        });
        assert!(matches!(&outcome, Err(HubError::Changed { file }) if file.ends_with(WEIGHTS)), "{outcome:?}");
        rig.assert_nothing_committed();
    }
}

#[test]
fn a_private_repository_is_private_or_nothing_is_sent() {
    let rig = Rig::new();
    let push = |rig: &Rig| rig.push_to(&model(), true, &rig.client(), &mut |_| Continue(()));
    assert!(push(&rig).unwrap().created);
    assert_eq!(rig.receiver.is_private(MODEL), Some(true));
    assert!(!push(&rig).unwrap().created, "a private one is made use of");

    let rig = Rig::new();
    rig.receiver.make(MODEL, false);
    let error = push(&rig).unwrap_err().to_string();
    assert!(error.contains("is there already and is public") && error.contains("/me/model/settings"), "{error}");
    assert!(rig.sent().is_empty());
    rig.assert_nothing_committed();

    let rig = Rig::new();
    rig.receiver.make_all_public();
    let error = push(&rig).unwrap_err().to_string();
    assert!(error.contains("is public"), "a Hub that does not know what private is: {error}");
    assert!(rig.sent().is_empty() && rig.receiver.asked("preupload").is_empty());
}

#[test]
fn a_token_that_may_not_write_is_told_by_where_it_came_from() {
    let rig = Rig::new();
    let push = |client: &Client, id: &str| {
        let repo = Repo::new(Kind::Model, id);
        rig.push_to(&repo, false, client, &mut |_| Continue(())).unwrap_err()
    };
    let reader = rig.client().with_token(READER, "HF_TOKEN");
    rig.receiver.make("models/me/there", false);
    for (client, id) in [(&reader, "me/new"), (&reader, "me/there"), (&rig.client(), "others/model")] {
        let error = push(client, id);
        assert!(matches!(error, HubError::ReadOnly { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("HF_TOKEN") && text.contains("write permission") && !text.contains("hf_"), "{text}");
    }
    let error = push(&rig.client().with_token("expired", "HF_TOKEN"), "me/new");
    assert!(matches!(error, HubError::BadToken { .. }), "{error}");
    assert!(rig.sent().is_empty() && rig.receiver.is_private("models/me/new").is_none());

    let before = rig.receiver.log().len();
    let error = push(&Client::new(&rig.receiver.url, Path::new("unused")).unwrap(), "me/new").to_string();
    assert!(error.contains("needs a token with write permission"), "{error}");
    for id in ["model", "../x", "me/a b", "me/model/x"] {
        assert!(matches!(push(&rig.client(), id), HubError::Wrong(_)), "{id}");
    }
    assert_eq!(rig.receiver.log().len(), before, "nobody was asked");
}

#[test]
fn a_data_set_at_a_branch_that_is_missing() {
    let rig = Rig::new();
    rig.write("notes.ignored", b"kept out by the repository");
    let repo = Repo { revision: "v/2".into(), ..Repo::new(Kind::Dataset, "me/data") };
    let push = || rig.push_to(&repo, false, &rig.client(), &mut |_| Continue(())).unwrap();
    let pushed = push();
    assert_eq!((pushed.files, &pushed.ignored[..]), (4, &["notes.ignored".to_owned()][..]));
    assert_eq!(rig.receiver.files("datasets/me/data", "v/2").len(), 4);
    assert_eq!(rig.receiver.commits("datasets/me/data", "main"), []);
    let again = push();
    assert_eq!((again.files, again.unchanged, again.ignored.len()), (0, 4, 1));
}

#[test]
fn a_card_that_the_hub_does_not_take_is_told_in_its_words_before_anything_is_made() {
    let rig = Rig::new();
    rig.write("README.md", b"---\nbase_model: /models/x\n---\n");
    let error = rig.push().unwrap_err().to_string();
    assert!(error.contains("README.md") && error.contains(r#""base_model" with value "/models/x""#), "{error}");
    assert_eq!(rig.receiver.is_private(MODEL), None);
    // A Hub without that check is no reason not to push.
    rig.receiver.fail("/api/validate-yaml", Fault::Status(404), 1);
    rig.push().unwrap();
}

#[test]
fn errors_of_the_hub_that_pass_are_tried_again() {
    let rig = Rig::new();
    for part in ["/api/repos/create", "/api/models/me/model", "preupload", "/batch", "/verify/", "/tree/"] {
        rig.receiver.fail(part, Fault::Status(502), 1);
    }
    rig.receiver.fail("/api/repos/create", Fault::Lost, 1);
    rig.push().unwrap();
    rig.assert_whole();
}

fn sha256(bytes: &[u8]) -> String {
    crate::server::hash(bytes)
}
