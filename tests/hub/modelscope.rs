//! The same downloads from ModelScope.

use crate::rig::{Rig, WEIGHTS, load};
use crate::server::{Fault, Server, TOKEN, hash};
use lightbox_core::hub::{self, Client, Filters, HubError, Kind, Listing, Repo, Source};
use std::ops::ControlFlow::Continue;

impl Rig {
    /// A Hub of files that hold their names.
    fn of(names: &[String]) -> Self {
        let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
        Self::without_weights(Server::new(&files))
    }

    fn signed_in(&self, source: Source) -> Client {
        self.client_of(source).with_token(TOKEN, "MODELSCOPE_API_TOKEN")
    }

    fn list(&self, kind: Kind, id: &str, revision: &str) -> Result<Listing, HubError> {
        let repo = Repo { revision: revision.into(), ..Repo::new(kind, id) };
        hub::list(&repo, &self.signed_in(Source::ModelScope))
    }
}

#[test]
fn a_model_comes_whole_into_the_same_cache_and_goes_on_where_it_broke() {
    let rig = Rig::model(Server::new);
    rig.server.fail(WEIGHTS, Fault::Cut(1_000_000), 1);
    rig.server.fail("config.json", Fault::Cut(1), 1);
    rig.server.fail("sub/a b.txt", Fault::Flip, 1);
    let listing = rig.list(Kind::Model, "org/model", "master").unwrap();
    let folder = load(&listing).unwrap();
    assert!(std::fs::read(folder.join(WEIGHTS)).unwrap() == rig.weights);
    assert_eq!(std::fs::read(folder.join("sub/a b.txt")).unwrap(), b"text");
    assert_eq!(std::fs::read(folder.join("config.json")).unwrap(), b"{}\n");
    assert_eq!(rig.server.loads(WEIGHTS), [0, 1_000_000]);
    let cached = hub::cached_in(&rig.cache());
    let one = &cached[0];
    assert_eq!(
        (cached.len(), one.kind, one.id.as_str(), one.revision.as_str()),
        (1, Kind::Model, "org/model", "master")
    );
    assert!(one.complete && one.path == folder && one.bytes == 3_000_007, "{one:?}");
    let log = rig.server.log();
    assert!(log.iter().all(|request| request.token.is_none() == request.cdn), "the token stays with ModelScope");

    let requests = log.len();
    let again = rig.list(Kind::Model, "org/model", "master").unwrap();
    assert_eq!((again.commit.as_str(), load(&again).unwrap()), (listing.commit.as_str(), folder));
    assert_eq!(rig.server.log().len(), requests + 1, "the listing, and nothing is loaded twice");
}

#[test]
fn weights_that_came_from_one_source_are_not_loaded_from_the_other() {
    let rig = Rig::model(Server::new);
    let there = hub::list(&Repo::new(Kind::Model, "org/model"), &rig.signed_in(Source::HuggingFace)).unwrap();
    let main = load(&there).unwrap();
    let master = load(&rig.list(Kind::Model, "org/model", "master").unwrap()).unwrap();
    assert_ne!(main, master);
    assert!(std::fs::read(master.join(WEIGHTS)).unwrap() == rig.weights);
    assert_eq!(rig.server.loads(WEIGHTS), [0]);
}

#[test]
fn a_file_that_is_another_one_is_never_stored() {
    let rig = Rig::model(Server::new);
    rig.server.fail(WEIGHTS, Fault::Flip, 100);
    let error = load(&rig.list(Kind::Model, "org/model", "master").unwrap()).unwrap_err();
    assert!(matches!(&error, HubError::Content { file, .. } if file == WEIGHTS), "{error}");
    assert!(!rig.cache().join("models--org--model/blobs").join(hash(&rig.weights)).exists());
}

#[test]
fn a_model_with_more_files_than_a_listing_tells_is_listed_folder_by_folder() {
    let names: Vec<String> =
        (0..3100).map(|i| format!("{}/{i}.txt", if i % 2 == 0 { "a/even" } else { "b c" })).collect();
    let listing = Rig::of(&names).list(Kind::Model, "org/model", "master").unwrap();
    assert_eq!(listing.files.len(), 3100);
    let flat: Vec<String> = (0..3001).map(|i| format!("all/{i}.txt")).collect();
    let error = Rig::of(&flat).list(Kind::Model, "org/model", "master").unwrap_err().to_string();
    assert!(error.contains("`all/` has 3000 entries or more"), "{error}");
}

#[test]
fn a_data_set_comes_in_pages_and_one_that_is_refused_by_mistake_is_asked_for_again() {
    let names: Vec<String> = (0..450).map(|i| format!("images/{i}.png")).collect();
    let rig = Rig::of(&names);
    rig.server.fail("page 2", Fault::Status(403), 1);
    rig.server.fail("page 3", Fault::Status(502), 1);
    let listing = rig.list(Kind::Dataset, "org/data", "master").unwrap();
    assert_eq!(listing.files.len(), 450);
    let filters = Filters { include: vec!["images/44?.png".into()], exclude: Vec::new() };
    let folder = hub::download(&listing, &filters, &mut |_| Continue(())).unwrap();
    assert_eq!(std::fs::read_dir(folder.join("images")).unwrap().count(), 10);
}

#[test]
fn what_is_not_there_is_told_in_its_words() {
    let rig = Rig::model(Server::new);
    for (kind, id, revision) in
        [(Kind::Model, "org/none", "master"), (Kind::Dataset, "org/model", "master"), (Kind::Model, "org/model", "v9")]
    {
        let error = rig.list(kind, id, revision).unwrap_err();
        assert!(matches!(error, HubError::NotFound { .. }), "{error}");
        assert!(error.to_string().contains("says ModelScope") && error.to_string().contains(id), "{error}");
    }
}
