//! Against real folders.
use super::start::check;
use crate::app::Action;
use crate::app::train::Msg;
use crate::app::train::files::{Effect, Failure, Known, Loaded, Msg as OfFiles, What};
use crate::app::train::start::{Fate, Request, Way};
use crate::text::Lang;
use std::fs;
use std::path::Path;

fn answer(effect: Effect) -> OfFiles {
    match super::files::run(effect) {
        Action::Train(Msg::Files(msg)) => msg,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_is_written_whole_and_never_over_what_is_not_known() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/a.yaml");
    let save = |text: &str, known: Known| answer(Effect::Save { path: path.clone(), text: text.into(), known });
    assert!(matches!(save("seed: 1\n", Known::Nothing), OfFiles::Saved(Ok(file)) if file.entries.len() == 1));
    assert!(matches!(save("seed: 2\n", Known::Nothing), OfFiles::Saved(Err(Failure::Exists(_)))));
    assert!(matches!(save("seed: 2\n", Known::This("seed: 1\n".into())), OfFiles::Saved(Ok(_))));
    fs::write(&path, "seed: 9\n").unwrap();
    assert!(matches!(
        save("seed: 3\n", Known::This("seed: 2\n".into())),
        OfFiles::Saved(Err(Failure::ChangedOnDisk(_)))
    ));
    assert_eq!(fs::read_to_string(&path).unwrap(), "seed: 9\n");
    assert!(matches!(answer(Effect::Look(path.clone())), OfFiles::Looked(_, Some(text)) if text == "seed: 9\n"));
    assert!(matches!(save("seed: 3\n", Known::Anything), OfFiles::Saved(Ok(_))));
}

#[test]
fn what_is_no_profile_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let load = |path: &Path| answer(Effect::Load { path: path.to_owned(), quiet: false });
    let path = dir.path().join("x.yaml");
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(matches!(load(&path), OfFiles::Loaded(Err(why), false) if why.contains("UTF-8")));
    fs::write(&path, "a".repeat(200 << 10)).unwrap();
    assert!(matches!(load(&path), OfFiles::Loaded(Err(why), false) if why.contains("bytes long")));
    assert!(matches!(load(dir.path()), OfFiles::Loaded(Err(why), false) if why.contains("regular file")));
    fs::write(&path, "seed: 1\n").unwrap();
    assert!(matches!(load(&path), OfFiles::Loaded(Ok(Loaded { path: Some(_), .. }), false)));
    let OfFiles::Sources(sources) = answer(Effect::Sources(dir.path().to_owned())) else { panic!() };
    assert!(sources.iter().any(|source| matches!(&source.what, What::File(file) if *file == path)));
}

/// A model folder, a data set, and a profile for them.
fn demo(dir: &Path) -> String {
    fs::create_dir_all(dir.join("m")).unwrap();
    fs::write(dir.join("m/config.json"), "{}").unwrap();
    fs::create_dir_all(dir.join("d")).unwrap();
    fs::write(dir.join("d/dataset_info.json"), r#"{"a": {"file_name": "a.json"}}"#).unwrap();
    fs::write(dir.join("d/a.json"), "[]").unwrap();
    let at = |name: &str| dir.join(name).display().to_string();
    format!(
        "model_name_or_path: {}\ndataset_dir: {}\ndataset: a\ntemplate: qwen2_vl\noutput_dir: {}\n",
        at("m"),
        at("d"),
        at("out")
    )
}

fn request(text: &str) -> Request {
    let (text, title) = (text.to_owned(), String::new());
    Request { way: Way::Now, text, fresh: false, set: Vec::new(), title, lang: Lang::En }
}

#[test]
fn what_would_end_a_run_at_once_is_told_before_it_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let good = demo(dir.path());
    let keys = |text: &str| {
        let obstacles = check(&request(text)).err().unwrap_or_default();
        obstacles.into_iter().map(|obstacle| obstacle.key).collect::<Vec<_>>()
    };
    assert!(keys(&good).is_empty());
    assert_eq!(keys(&good.replace("/m\n", "/nowhere\n")), ["model_name_or_path"]);
    assert_eq!(keys(&good.replace("dataset: a", "dataset: a,b")), ["dataset"]);
    assert_eq!(keys(&good.replace("/d\n", "/nowhere\n")), ["dataset_dir"]);
    assert_eq!(keys(&format!("{good}do_train: false\n")), ["do_train"]);
    assert_eq!(keys(&format!("{good}resume_from_checkpoint: /nowhere\n")), ["resume_from_checkpoint"]);
    assert_eq!(
        keys(&good.replace("template: qwen2_vl\n", "")),
        ["template"],
        "it is checked as what it is: a training"
    );
    fs::write(dir.path().join("out"), "a file").unwrap();
    assert_eq!(keys(&good), ["output_dir"]);
}

#[test]
fn the_fate_of_the_folder_is_what_the_worker_will_do() {
    let dir = tempfile::tempdir().unwrap();
    let good = demo(dir.path());
    let fate = |text: &str| check(&request(text)).map(|plan| plan.fate);
    assert_eq!(fate(&good), Ok(Fate::New));
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    assert_eq!(fate(&good), Ok(Fate::New), "an empty folder");
    fs::write(out.join("profile.yaml"), "").unwrap();
    assert_eq!(fate(&good), Ok(Fate::Again));
    fs::write(out.join("adapter_model.safetensors"), "").unwrap();
    assert_eq!(fate(&good), Ok(Fate::Finished));
    assert_eq!(fate(&format!("{good}overwrite_output_dir: true\n")), Ok(Fate::Overwrites(0)));
    let lock = lightbox_core::runs::drive::lock(&lightbox_core::runs::RunDir::open(&out).unwrap()).unwrap();
    assert_eq!(check(&request(&good)).unwrap_err()[0].key, "output_dir", "another worker has it");
    drop(lock);
}
