//! `lightbox_core::hub` against each fault.

use crate::rig::{Rig, WEIGHTS, load};
use crate::server::{COMMIT, Fault, Server, TOKEN, hash};
use lightbox_core::hub::{self, Client, Filters, HubError, Kind, Listing, Progress, Repo, Source};
use std::ops::ControlFlow::{Break, Continue};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

impl Rig {
    fn client(&self) -> Client {
        self.client_of(Source::HuggingFace)
    }

    fn listing(&self) -> Listing {
        hub::list(&Repo::new(Kind::Model, "org/model"), &self.client().with_token(TOKEN, "HF_TOKEN")).unwrap()
    }

    fn load(&self) -> Result<PathBuf, HubError> {
        load(&self.listing())
    }

    fn repo(&self, path: &str) -> PathBuf {
        self.cache().join("models--org--model").join(path)
    }

    fn blob(&self) -> PathBuf {
        self.repo("blobs").join(hash(&self.weights))
    }

    fn half(&self) -> PathBuf {
        self.blob().with_extension("incomplete")
    }

    #[track_caller]
    fn assert_whole(&self, folder: &Path) {
        assert!(std::fs::read(folder.join(WEIGHTS)).unwrap() == self.weights, "the weights differ");
        assert_eq!(std::fs::read(folder.join("sub/a b.txt")).unwrap(), b"text");
        let names: Vec<_> = std::fs::read_dir(self.repo("blobs")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 4, "one blob a file, and nothing half: {names:?}");
    }

    /// Nothing under a name that a reader would take for the file.
    #[track_caller]
    fn assert_not_stored(&self) {
        assert!(!self.blob().exists() && !self.repo(&format!("snapshots/{COMMIT}/{WEIGHTS}")).exists());
        assert!(hub::cached_in(&self.cache()).iter().all(|cached| !cached.complete));
    }
}

#[test]
fn a_model_comes_whole_in_pythons_layout_and_only_once() {
    let rig = Rig::model(Server::new);
    let listing = rig.listing();
    assert_eq!(listing.files.len(), 4, "all pages of the listing");
    assert_eq!(listing.total_bytes(), 3_000_007);
    let mut seen: Vec<Progress> = Vec::new();
    let folder = hub::download(&listing, &Filters::default(), &mut |progress| {
        seen.push(progress.clone());
        Continue(())
    })
    .unwrap();
    rig.assert_whole(&folder);
    assert_eq!(folder, rig.repo(&format!("snapshots/{COMMIT}")));
    assert_eq!(std::fs::read_to_string(rig.repo("refs/main")).unwrap(), COMMIT);
    let link = std::fs::read_link(folder.join("sub/a b.txt")).unwrap();
    assert_eq!(link, PathBuf::from(format!("../../../blobs/{}", hash(b"text"))));
    assert!(seen.windows(2).all(|pair| pair[0].done_bytes <= pair[1].done_bytes));
    let last = seen.last().unwrap();
    assert_eq!((last.files_done, last.files, last.done_bytes, last.total_bytes), (4, 4, 3_000_007, 3_000_007));

    let cached = hub::cached_in(&rig.cache());
    assert_eq!(cached.len(), 1);
    let one = &cached[0];
    assert_eq!((one.kind, one.id.as_str(), one.revision.as_str()), (Kind::Model, "org/model", "main"));
    assert!(one.complete && one.bytes == 3_000_007 && one.path == folder, "{one:?}");

    let requests = rig.server.log().len();
    assert_eq!(hub::missing_bytes(&listing, &Filters::default()).unwrap(), 0);
    assert_eq!(load(&listing).unwrap(), folder);
    assert_eq!(rig.server.log().len(), requests, "nothing is loaded twice");
}

#[test]
fn the_token_reaches_the_hub_and_nobody_else() {
    let rig = Rig::model(Server::gated);
    rig.assert_whole(&rig.load().unwrap());
    let log = rig.server.log();
    let (cdn, hub): (Vec<_>, Vec<_>) = log.iter().partition(|request| request.cdn);
    assert!(!cdn.is_empty() && cdn.iter().all(|request| request.token.is_none()), "{cdn:?}");
    assert!(hub.iter().all(|request| request.token.as_deref() == Some(TOKEN)), "{hub:?}");
}

#[test]
fn a_broken_connection_goes_on_where_it_broke() {
    let rig = Rig::model(Server::new);
    rig.server.fail(WEIGHTS, Fault::Cut(1_000_000), 2);
    rig.assert_whole(&rig.load().unwrap());
    assert_eq!(rig.server.loads(WEIGHTS), [0, 1_000_000, 2_000_000]);
}

#[test]
fn a_connection_that_never_brings_anything_is_given_up_and_what_came_is_kept() {
    let rig = Rig::model(Server::new);
    rig.server.fail(WEIGHTS, Fault::Cut(500_000), 1);
    rig.server.fail(WEIGHTS, Fault::Cut(0), 100);
    let error = rig.load().unwrap_err();
    assert!(matches!(&error, HubError::GaveUp { file, .. } if file == WEIGHTS), "{error}");
    assert_eq!(rig.half().metadata().unwrap().len(), 500_000);
    assert_eq!(rig.server.loads(WEIGHTS).len(), 6);
    rig.assert_not_stored();
}

#[test]
fn a_stopped_download_goes_on_in_the_next_call() {
    let rig = Rig::model(Server::new);
    let stop = |progress: &Progress| if progress.file_done > 1_000_000 { Break(()) } else { Continue(()) };
    let error = hub::download(&rig.listing(), &Filters::default(), &mut { stop }).unwrap_err();
    assert!(matches!(error, HubError::Cancelled), "{error}");
    rig.assert_not_stored();
    let half = rig.half().metadata().unwrap().len();
    assert!(half > 1_000_000 && half < 3_000_000, "{half}");
    let rest = 3_000_000 - half + b"text".len() as u64;
    assert_eq!(hub::missing_bytes(&rig.listing(), &Filters::default()).unwrap(), rest);
    rig.assert_whole(&rig.load().unwrap());
    assert_eq!(rig.server.loads(WEIGHTS), [0, half]);
    assert!(hub::cached_in(&rig.cache())[0].complete);
}

#[test]
fn a_stop_is_heard_while_the_connection_is_dead() {
    let rig = Rig::model(Server::new);
    rig.server.fail(WEIGHTS, Fault::Stall(1000), 1);
    let mut stalled = None;
    let error = hub::download(&rig.listing(), &Filters::default(), &mut |progress| match progress.file_done {
        1000 => {
            // Only looks that come by themselves get here more than once.
            let since = *stalled.get_or_insert_with(Instant::now);
            if since.elapsed() > Duration::from_millis(300) { Break(()) } else { Continue(()) }
        }
        _ => Continue(()),
    });
    assert!(matches!(error, Err(HubError::Cancelled)), "{error:?}");
    assert!(stalled.unwrap().elapsed() < Duration::from_secs(10), "the read's own timeout is 30 s");
}

#[test]
fn a_flipped_byte_is_found_and_the_file_loaded_again() {
    let rig = Rig::model(Server::new);
    rig.server.fail(WEIGHTS, Fault::Flip, 1);
    rig.assert_whole(&rig.load().unwrap());
    assert_eq!(rig.server.loads(WEIGHTS), [0, 0]);
}

#[test]
fn a_file_that_stays_wrong_is_never_stored() {
    for (path, fault) in
        [(WEIGHTS, Fault::Flip), (WEIGHTS, Fault::TooLong), (WEIGHTS, Fault::Page), ("config.json", Fault::Flip)]
    {
        let rig = Rig::model(Server::new);
        rig.server.fail(path, fault.clone(), 100);
        let error = rig.load().unwrap_err();
        assert!(matches!(&error, HubError::Content { file, .. } if file == path), "{fault:?}: {error}");
        let text = error.to_string();
        assert!(!text.contains('\x1b') && !text.contains("secret"), "{text}");
        assert_eq!(rig.server.loads(path).len(), 2, "{fault:?}");
        rig.assert_not_stored();
        let name = std::fs::read_dir(rig.repo("blobs")).unwrap().map(|e| e.unwrap());
        let left: u64 = name.filter(|e| e.path().extension().is_some()).map(|e| e.metadata().unwrap().len()).sum();
        assert_eq!(left, 0, "{fault:?}: nothing wrong is gone on with");
    }
}

#[test]
fn a_page_in_place_of_the_file_is_told_by_how_it_begins() {
    let rig = Rig::model(Server::new);
    rig.server.fail(WEIGHTS, Fault::Page, 2);
    let text = rig.load().unwrap_err().to_string();
    assert!(text.contains("text/html") && text.contains("Log in to the") && text.contains("localhost"), "{text}");
}

#[test]
fn a_half_file_that_was_damaged_on_the_disk_costs_a_second_load_and_nothing_else() {
    for garbage in [vec![1; 1_000_000], vec![1; 3_000_000], vec![1; 4_000_000]] {
        let rig = Rig::model(Server::new);
        std::fs::create_dir_all(rig.repo("blobs")).unwrap();
        std::fs::write(rig.half(), &garbage).unwrap();
        rig.assert_whole(&rig.load().unwrap());
    }
}

#[test]
fn a_blob_of_another_size_is_loaded_again() {
    let rig = Rig::model(Server::new);
    rig.load().unwrap();
    std::fs::write(rig.blob(), b"cut").unwrap();
    assert!(!hub::cached_in(&rig.cache())[0].complete);
    rig.assert_whole(&rig.load().unwrap());
}

#[test]
fn a_server_without_ranges_sends_the_whole_file_again() {
    let rig = Rig::model(Server::new);
    rig.server.fail(WEIGHTS, Fault::Cut(1_000_000), 1);
    rig.server.fail(WEIGHTS, Fault::NoRange, 1);
    rig.assert_whole(&rig.load().unwrap());
    assert_eq!(rig.server.loads(WEIGHTS), [0, 1_000_000]);
}

#[test]
fn errors_that_pass_are_tried_again() {
    let rig = Rig::model(Server::new);
    for status in [503, 429, 403] {
        rig.server.fail(WEIGHTS, Fault::Status(status), 1); // 403: a signed address that ran out
    }
    rig.server.fail("config.json", Fault::Status(500), 1);
    rig.assert_whole(&rig.load().unwrap());
}

#[test]
fn a_gated_repository_says_where_to_accept_and_is_asked_once() {
    let rig = Rig::model(Server::gated);
    let repo = Repo::new(Kind::Model, "org/model");
    for (client, expected) in [
        (rig.client(), "make a token"),
        (rig.client().with_token("hf_stranger", "HF_TOKEN"), "the token from HF_TOKEN has no access"),
    ] {
        let before = rig.server.log().len();
        let listing = hub::list(&repo, &client).unwrap();
        let asked = rig.server.log().len() - before;
        let error = load(&listing).unwrap_err();
        assert!(matches!(error, HubError::Gated { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("{}/org/model;", rig.server.url)) && text.contains(expected), "{text}");
        assert_eq!(rig.server.log().len() - before - asked, 1, "asking again changes nothing");
    }
    rig.assert_not_stored();
}

#[test]
fn wrong_names_and_tokens_are_told_apart() {
    let rig = Rig::model(Server::new);
    let ask = |repo: Repo, token: &str| hub::list(&repo, &rig.client().with_token(token, "HF_TOKEN")).unwrap_err();
    let error = ask(Repo::new(Kind::Model, "org/nothing"), TOKEN);
    assert!(matches!(error, HubError::NotFound { .. }) && error.to_string().contains("model org/nothing"), "{error}");
    let error = ask(Repo { revision: "v9".into(), ..Repo::new(Kind::Model, "org/model") }, TOKEN);
    assert!(matches!(error, HubError::NotFound { .. }) && error.to_string().contains("revision v9"), "{error}");
    let error = ask(Repo::new(Kind::Model, "org/model"), "expired");
    assert!(matches!(error, HubError::BadToken { .. }) && error.to_string().contains("HF_TOKEN"), "{error}");
    let error = ask(Repo::new(Kind::Model, "org/model"), "new\nline");
    assert!(matches!(error, HubError::Wrong(_)) && !error.to_string().contains("line"), "{error}");
}

#[test]
fn too_little_room_is_said_before_anything_is_loaded() {
    let rig = Rig::model(|files| Server::claiming(files, 1 << 60));
    let listing = rig.listing();
    let requests = rig.server.log().len();
    let error = load(&listing).unwrap_err();
    assert!(matches!(error, HubError::NoSpace { need, .. } if need > 1 << 60), "{error}");
    assert_eq!(rig.server.log().len(), requests);
}

#[test]
fn another_program_that_loads_the_same_file_is_waited_for() {
    let rig = Rig::model(Server::new);
    let locks = rig.cache().join(".locks/models--org--model");
    std::fs::create_dir_all(&locks).unwrap();
    let lock = std::fs::File::create(locks.join(format!("{}.lock", hash(&rig.weights)))).unwrap();
    lock.lock().unwrap();
    let mut lock = Some(lock);
    let folder = hub::download(&rig.listing(), &Filters::default(), &mut |progress| {
        if progress.note.as_ref().is_some_and(|note| note.contains("another program")) {
            assert!(rig.server.loads(WEIGHTS).is_empty());
            lock = None; // the other one is done
        }
        Continue(())
    });
    assert!(lock.is_none(), "it waited");
    rig.assert_whole(&folder.unwrap());
}

#[test]
fn a_part_of_a_data_set_at_a_tag_with_a_slash() {
    let rig = Rig::model(Server::new);
    let repo = Repo { revision: "v/1".into(), ..Repo::new(Kind::Dataset, "org/data") };
    let listing = hub::list(&repo, &rig.client()).unwrap();
    let filters = Filters { include: vec!["*.txt".into()], exclude: vec!["empty*".into()] };
    let folder = hub::download(&listing, &filters, &mut |_| Continue(())).unwrap();
    assert_eq!(std::fs::read(folder.join("sub/a b.txt")).unwrap(), b"text");
    assert!(!folder.join("config.json").exists());
    let cached = hub::cached_in(&rig.cache());
    assert_eq!((cached[0].kind, cached[0].revision.as_str(), cached[0].complete), (Kind::Dataset, "v/1", true));
}

#[test]
fn a_plain_folder_has_no_links_and_replaces_nothing() {
    let rig = Rig::model(Server::new);
    let (listing, all) = (rig.listing(), Filters::default());
    let folder = load(&listing).unwrap();
    let out = rig.path("plain");
    hub::lay_out(&listing, &all, &out).unwrap();
    for (name, shared) in [(WEIGHTS, true), ("config.json", false), ("sub/a b.txt", false)] {
        let (there, cached) = (out.join(name).symlink_metadata().unwrap(), folder.join(name).metadata().unwrap());
        assert!(there.is_file() && there.len() == cached.len(), "{name}");
        assert_eq!(there.ino() == cached.ino(), shared, "{name}: small files are edited, the cache is not");
    }
    hub::lay_out(&listing, &all, &out).unwrap();
    std::fs::write(out.join("config.json"), "{1\n").unwrap();
    std::fs::remove_file(out.join("empty.txt")).unwrap();
    let error = hub::lay_out(&listing, &all, &out).unwrap_err();
    assert!(error.to_string().contains("config.json"), "{error}");
    assert_eq!(std::fs::read_to_string(out.join("config.json")).unwrap(), "{1\n");
    assert!(!out.join("empty.txt").exists(), "nothing is done by halves");
}
