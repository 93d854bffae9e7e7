//! Chosen rows keep their bytes, their columns and their pictures.

use super::select;
use crate::rig::{data, entry, folder, golden, json_of, lines, png, refused, s, stderr, stdout};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// What a script prints in the reference Python, if there is one with these modules.
fn python(modules: &str, script: &str) -> Option<String> {
    let python = std::env::var_os("LIGHTBOX_REFERENCE_PYTHON")?;
    let has = Command::new(&python).args(["-c", &format!("import {modules}")]).output().ok()?;
    if !has.status.success() {
        eprintln!("skipped: LIGHTBOX_REFERENCE_PYTHON has no {modules}");
        return None;
    }
    let out = Command::new(python).args(["-c", script]).env("HF_DATASETS_OFFLINE", "1").output().unwrap();
    assert!(out.status.success(), "{script}\n{}", stderr(&out));
    Some(String::from_utf8(out.stdout).unwrap())
}

#[test]
fn json_rows_keep_their_bytes_and_lead_to_their_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("deep/new"));
    folder(&old, &[], &[("a.png", png(1)), ("图.png", png(2))]);
    // A list over several lines, with a number that no f64 holds and an escape that nobody has to write.
    let turns = r#""messages": [{"role": "user", "content": "<image>\u0041?"}, {"role": "assistant", "content": "tumour,\n left"}]"#;
    let list = format!(
        "[\n  {{ \"id\": 12345678901234567890123,  \"w\": 1.50,\n    {turns},\n    \"images\": [\"pics/a.png\"]\n  }},\n  {{{}, \"images\": [\"pics/\\u56fe.png\"]}}\n]",
        turns.replace("tumour", "nothing")
    );
    std::fs::write(old.join("d.jsonl"), list).unwrap();

    let report = json_of(&select(&old, &new, &["--where", "answer:tumour", "--name", "chosen"]), 0);
    assert_eq!(
        (&report["read"], &report["chosen"], &report["paths_changed"]),
        (&json!(2), &json!(1), &json!(1)),
        "{report}"
    );
    assert_eq!(report["left_out"]["query"]["count"], 1);
    let expected =
        format!("{{ \"id\": 12345678901234567890123,  \"w\": 1.50, {turns}, \"images\": [\"../../old/pics/a.png\"]}}");
    assert_eq!(lines(&new.join("chosen.jsonl")), [expected]);
    let info: Value = serde_json::from_slice(&std::fs::read(new.join("dataset_info.json")).unwrap()).unwrap();
    assert_eq!(info["chosen"], entry("chosen.jsonl"));
    let check = json_of(&data(["check", "chosen", "--dataset-dir", s(&new), "--json"]), 0);
    assert_eq!((&check["good"], &check["pictures"]), (&json!(1), &json!(1)));

    // In the folder itself no path changes; a row of one line is the same to the last byte.
    let report = json_of(&select(&old, &old, &["--where", "answer:nothing", "--name", "rest"]), 0);
    assert_eq!(report["paths_changed"], 0);
    let expected = format!("{{{}, \"images\": [\"pics/\\u56fe.png\"]}}", turns.replace("tumour", "nothing"));
    assert_eq!(lines(&old.join("rest.jsonl")), [expected]);
    json_of(&data(["check", "rest", "--dataset-dir", s(&old), "--json"]), 0);
    let info: Value = serde_json::from_slice(&std::fs::read(old.join("dataset_info.json")).unwrap()).unwrap();
    assert_eq!(info["d"], entry("d.jsonl"), "other entries stay");
    if let Some(read) = python(
        "datasets",
        &format!(
            "import datasets; print(datasets.load_dataset('json', data_files='{}', split='train')['images'][0][0])",
            s(&new.join("chosen.jsonl"))
        ),
    ) {
        assert_eq!(read.trim(), "../../old/pics/a.png");
    }
}

#[test]
fn parquet_rows_keep_columns_features_and_the_bytes_of_their_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let source = golden("parquet/medtrinity.parquet");
    let report = json_of(&data(["select", s(&source), "--where", "-émile", "--out", s(&out), "--json"]), 0);
    assert_eq!(
        (&report["read"], &report["chosen"], &report["dataset_info"]),
        (&json!(3), &json!(2), &json!(s(&out.join("dataset_info.json")))),
        "{report}"
    );
    let named = json_of(&data(["show", "medtrinity", "--dataset-dir", s(&out), "--index", "1", "--json"]), 0);
    assert_eq!(
        named["messages"],
        json_of(&data(["show", s(&out.join("medtrinity")), "--index", "1", "--json"]), 0)["messages"]
    );
    let file = out.join("medtrinity/data-00000.parquet");
    for index in ["0", "1"] {
        let show = |path: &Path| json_of(&data(["show", s(path), "--index", index, "--json"]), 0);
        let (theirs, ours) = (show(&source), show(&out.join("medtrinity")));
        assert_eq!(ours["messages"], theirs["messages"]);
        assert_eq!(ours["images"][0]["bytes"], theirs["images"][0]["bytes"]);
    }
    json_of(&data(["check", s(&file), "--json"]), 0);

    // Lists of structs and of pictures; an entry, since their layout has one.
    let talk = golden("parquet/sharegpt.parquet");
    let report =
        json_of(&data(["select", s(&talk), "--where", "pictures:2", "--name", "pairs", "--out", s(&out), "--json"]), 0);
    assert_eq!(report["chosen"], 1, "{report}");
    let show = json_of(&data(["show", "pairs", "--dataset-dir", s(&out), "--json"]), 0);
    assert_eq!(
        (&show["messages"][1]["content"], show["images"].as_array().unwrap().len()),
        (&json!("The second is larger."), 2)
    );
    let report = json_of(
        &data(["select", s(&talk), "--split", "a=0.5,b=0.5", "--group-regex", "b", "--out", s(&out), "--json"]),
        0,
    );
    assert_eq!(
        (&report["split"]["without_group"], &report["split"]["groups"]),
        (&json!(1), &json!([1, 1])),
        "{report}"
    );

    let script = format!(
        "import pyarrow.parquet as pq, datasets\n\
         a, b = pq.read_table('{source}'), pq.read_table('{file}')\n\
         print(b.equals(a.slice(0, 2)), a.schema.metadata[b'huggingface'] == b.schema.metadata[b'huggingface'])\n\
         d = datasets.load_dataset('parquet', data_files='{file}', split='train', cache_dir='{cache}')\n\
         print(d.features['image'], d[0]['image'].size)\n\
         a, b = pq.read_table('{talk}'), pq.read_table('{pairs}')\n\
         print(b.cast(a.schema).equals(a.slice(0, 1)))\n",
        source = s(&source),
        file = s(&file),
        cache = s(&dir.path().join("cache")),
        talk = s(&talk),
        pairs = s(&out.join("pairs/data-00000.parquet")),
    );
    if let Some(said) = python("pyarrow, datasets, PIL", &script) {
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], "True True");
        assert!(lines[1].starts_with("Image(") && lines[1].ends_with("(60, 40)"), "{said}");
        assert_eq!(lines[2], "True");
    }
}

/// Questions that are drawn go by the id, so they stay with their rows; a row that makes several samples cannot be chosen in part.
#[test]
fn drawn_questions_stay_with_chosen_rows_and_rows_of_several_samples_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let source = golden("parquet/medtrinity.parquet");
    let captions = |more: Value| {
        let mut captions = json!({"columns": ["caption"], "questions": {"en": ["Which?", "What?", "Where?"], "zh": ["哪里？"]}, "seed": 7});
        more.as_object().unwrap().iter().for_each(|(key, value)| captions[key] = value.clone());
        json!({"file_name": s(&source), "captions": captions})
    };
    let info =
        json!({"d": captions(json!({})), "twice": captions(json!({"columns": ["caption", "id"], "both": true}))});
    std::fs::write(dir.path().join("dataset_info.json"), info.to_string()).unwrap();
    let out = dir.path().join("out");
    let select =
        |name: &str| data(["select", name, "--dataset-dir", s(dir.path()), "--where", "-émile", "--out", s(&out)]);
    stdout(&select("d"), 0);
    let show = |folder: &Path, index: &str| {
        json_of(&data(["show", "d", "--dataset-dir", s(folder), "--index", index, "--json"]), 0)["messages"].clone()
    };
    let (all, chosen) =
        ([0, 1, 2].map(|i| show(dir.path(), &i.to_string())), [0, 1].map(|i| show(&out, &i.to_string())));
    assert!(chosen.iter().all(|messages| all.contains(messages)), "{all:?}\n{chosen:?}");
    refused(&select("twice"), 10, "`both`");
}
