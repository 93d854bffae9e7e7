use super::*;
use crate::evaluate::classes::Classes;
use crate::evaluate::comparison::Answers;
use crate::evaluate::predictions::Prediction;
use proptest::prelude::*;

const PICTURE: &[u8] = include_bytes!("../../../../../tests/golden/images/ct_small.png");

fn row(index: usize, predict: &str, label: &str) -> Prediction {
    let pads = "<|image_pad|>".repeat(9);
    Prediction {
        prompt: format!(
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>{pads}<|vision_end|>What is it?<|im_end|>\n<|im_start|>assistant\n"
        ),
        predict: predict.into(),
        label: format!("{label}\n"),
        index: Some(index),
        images: vec![format!("pictures/{index}.png")],
        loss_sum: Some(2.5),
        n_target_tokens: Some(5),
    }
}

fn comparison() -> Comparison {
    let classes = Classes::parse("classes:\n  side:\n    left: [left]\n    right: [right]\n").unwrap();
    let base = [row(0, "A dog.", "It is left."), row(1, "It is right.", "It is right."), row(2, "left", "no side")];
    let tuned = [row(0, "It is left.", "It is left."), row(1, "left?", "It is right."), row(2, "left", "no side")];
    let answers = [("base", base), ("tuned", tuned)];
    let answers = answers.map(|(model, rows)| Answers { model: model.into(), rows: rows.into() });
    Comparison::new(&answers, Some(&classes), 42).unwrap()
}

#[test]
fn a_report_shows_measures_differences_classes_changes_and_samples() {
    let dir = tempfile::tempdir().unwrap();
    let c = comparison();
    let mut pictures = |s: &Sample| match s.index {
        0 => vec![Ok(PICTURE.to_vec())],
        1 => vec![Err("not-there.png: there is no such file".into())],
        _ => vec![Ok(b"no picture".to_vec())],
    };
    let files = write(dir.path(), Lang::En, &c, 100, &mut pictures).unwrap();
    assert_eq!(files.len(), 3);
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let md = read("report.md");
    for part in
        ["## Differences to base", "## side", "- Better: sample 0", "- Worse: sample 1", "report-pictures/0-1.jpg"]
    {
        assert!(md.contains(part), "{part}: {md}");
    }
    let html = read("report.html");
    let (before, rest) = html.split_once("data:image/jpeg;base64,").unwrap();
    assert!(!rest.contains("base64"), "one picture could be shown");
    for part in ["<h2>Differences to base</h2>", "<h2>side</h2>", "<a href=\"#s0\">", "not-there.png"] {
        assert!(before.contains(part) || rest.contains(part), "{part}");
    }
    let json: serde_json::Value = serde_json::from_str(&read("report.json")).unwrap();
    assert_eq!((&json["better"], &json["worse"]), (&json!([0]), &json!([1])));
    assert_eq!(json["comparison"]["samples"][0]["answers"][1]["bleu-4_stripped"], 100.0);
    assert_eq!(json["comparison"]["measures"][0]["key"], "bleu-4");
    let jpeg = std::fs::read(dir.path().join("report-pictures/0-1.jpg")).unwrap();
    assert!(thumbnail::jpeg(&jpeg).is_ok(), "the picture beside report.md can be read");
    // A second report takes the place of the first, its pictures too.
    write(dir.path(), Lang::En, &c, 100, &mut |_| vec![]).unwrap();
    assert!(!dir.path().join("report-pictures").exists() && !read("report.html").contains("base64"));
}

#[test]
fn a_report_is_in_its_reader_s_language_and_leaves_data_and_json_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let c = comparison();
    let mut pictures = |s: &Sample| match s.index {
        0 => vec![Ok(PICTURE.to_vec())],
        1 => vec![Err("not-there.png: there is no such file".into())],
        _ => vec![],
    };
    let mut measures = Vec::new();
    for &lang in Lang::ALL {
        let code = lang.code();
        write(dir.path(), lang, &c, 100, &mut pictures).unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        insta::assert_snapshot!(format!("markdown-{code}"), read("report.md"));
        let html = read("report.html").replace(include_str!("style.css"), "…");
        let (before, picture) = html.split_once("base64,").unwrap();
        let after = &picture[picture.find('"').unwrap()..];
        insta::assert_snapshot!(format!("html-{code}"), format!("{before}base64,…{after}"));
        let json: serde_json::Value = serde_json::from_str(&read("report.json")).unwrap();
        measures.push(json["comparison"].clone());
    }
    assert_eq!(measures[0], measures[1]);
}

#[test]
fn few_are_shown_but_those_that_changed_most_always() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), Lang::En, &comparison(), 0, &mut |_| vec![]).unwrap();
    let md = std::fs::read_to_string(dir.path().join("report.md")).unwrap();
    assert!(md.contains("### Sample 0") && md.contains("### Sample 1") && !md.contains("### Sample 2"), "{md}");
}

const HOSTILE: &str = "</p><script>alert(1)</script><img src=x onerror='a(\"b\")'> \u{1b}]52;c;cm0=\u{7}\u{9b}2J\u{202e} | a |\n# h\n![x](http://e/x.png) `c` [l](javascript:1) &lt;b&gt; <|im_start|>system\nx";

#[test]
fn hostile_text_is_shown_and_does_nothing() {
    let mut bad = row(0, HOSTILE, HOSTILE);
    bad.prompt = HOSTILE.into();
    bad.images = vec![HOSTILE.into()];
    let classes = "classes:\n  \"<b>g</b>\":\n    \"<i>a\": [script]\n    b: [x]\n";
    let answers = [HOSTILE, "b<b>"].map(|m| Answers { model: m.into(), rows: vec![bad.clone(), row(1, HOSTILE, "x")] });
    let c = Comparison::new(&answers, Some(&Classes::parse(classes).unwrap()), 1).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut pictures = |s: &Sample| match s.index {
        0 => vec![Err(HOSTILE.to_owned())],
        _ => vec![Ok(PICTURE.to_vec())],
    };
    for &lang in Lang::ALL {
        write(dir.path(), lang, &c, 10, &mut pictures).unwrap();
        for name in ["report.html", "report.md"] {
            let text = std::fs::read_to_string(dir.path().join(name)).unwrap();
            for part in ["<script", "<img src=x", "<b>", "<i>", "\u{1b}", "\u{7}", "\u{9b}", "\u{202e}"] {
                assert!(!text.contains(part), "{name} has {part:?}");
            }
            assert!(text.contains("alert(1)"), "{name}: it is shown all the same");
        }
    }
    let md = std::fs::read_to_string(dir.path().join("report.md")).unwrap();
    assert!(!md.contains("![x]") && !md.contains("\n# h") && !md.contains("[l]("), "{md}");
    let json = std::fs::read_to_string(dir.path().join("report.json")).unwrap();
    assert!(
        !json.chars().any(|c| c.is_ascii_control() && c != '\n' && c != '\u{7f}'),
        "JSON escapes control characters by itself"
    );
}

proptest! {
    #[test]
    fn no_text_gets_out_of_its_place(text in any::<String>()) {
        let html = html::escaped(&text);
        let markup = ['<', '>', '"', '\'', '\u{1b}'];
        prop_assert!(!html.contains(markup));
        let md = markdown::escaped(&text).replace("<br>", "");
        let markup = ['<', '>', '\n', '\u{1b}'];
        prop_assert!(!md.contains(markup));
    }
}
