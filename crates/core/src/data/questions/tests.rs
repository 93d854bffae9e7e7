use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::Path;

fn at(row: usize) -> Place<'static> {
    Place { id: None, row }
}

fn set(value: Value) -> QuestionSet {
    QuestionSet::of_value(&value, Path::new("")).unwrap()
}

fn refused(value: Value) -> String {
    format!("{:#}", QuestionSet::of_value(&value, Path::new("")).unwrap_err())
}

/// `make.py` beside the golden says the rule a second time.
#[test]
fn draws_are_those_of_earlier_versions() {
    let golden: Value =
        serde_json::from_str(include_str!("../../../../../tests/golden/questions/choices.json")).unwrap();
    let rows = golden["choices"].as_array().unwrap();
    assert_eq!(rows.len(), 15);
    for row in rows {
        let weights = row["weights"].as_array().unwrap().iter().enumerate();
        let list: Vec<Value> = weights.map(|(i, w)| json!({"text": i.to_string(), "weight": w})).collect();
        let questions = Questions::Drawn(set(Value::Array(list)));
        let seed = row["seed"].as_u64().unwrap();
        let asked = |place| questions.of(place, seed, Lang::En).parse::<u64>().unwrap();
        for (i, expected) in row["rows"].as_array().unwrap().iter().enumerate() {
            assert_eq!(asked(at(i)), expected.as_u64().unwrap(), "row {i} of {row}");
        }
        for (id, expected) in row["ids"].as_object().unwrap() {
            for row_of_it in [0, 7] {
                assert_eq!(asked(Place { id: Some(id), row: row_of_it }), expected.as_u64().unwrap(), "{id}: {row}");
            }
        }
    }
}

#[test]
fn wordings_are_drawn_as_often_as_their_weights_say() {
    let questions = Questions::Drawn(set(json!([{"text": "a", "weight": 3}, "b", {"text": "c", "weight": 0.5}])));
    let mut asked = Asked::default();
    (0..9000).for_each(|row| asked.add(Lang::En, questions.of(at(row), 1, Lang::En)));
    let (_, counts) = asked.by_language().next().unwrap();
    let share = |i: usize| counts[i].1 as f64 / 9000.0;
    // 0.02 is four standard errors of the commonest.
    for (i, (text, expected)) in [("a", 3.0 / 4.5), ("b", 1.0 / 4.5), ("c", 0.5 / 4.5)].into_iter().enumerate() {
        assert!(counts[i].0 == text && (share(i) - expected).abs() < 0.02, "{counts:?}");
    }
}

#[test]
fn the_captions_language_decides_where_there_is_a_list_for_each() {
    let questions = Questions::Drawn(set(json!({"en": ["a", "b"], "zh": ["甲", "乙"]})));
    assert!(questions.goes_by_caption());
    for row in 0..50 {
        let (en, zh) = (questions.of(at(row), 5, Lang::En), questions.of(at(row), 5, Lang::Zh));
        assert!(["a", "b"].contains(&en) && ["甲", "乙"].contains(&zh));
        // One draw for both, so that two captions of a row are asked the same thing.
        assert_eq!(en == "a", zh == "甲");
    }
    let one = Questions::Drawn(set(json!({"zh": ["甲"]})));
    assert_eq!((one.of(at(0), 5, Lang::En), one.goes_by_caption()), ("甲", false), "nothing to choose between");
}

#[test]
fn ready_made_sets_are_in_their_language_and_several() {
    for name in READY_MADE {
        let questions = Questions::Drawn(QuestionSet::ready_made(name).unwrap());
        for caption in Lang::ALL {
            let texts: std::collections::HashSet<&str> =
                (0..300).map(|row| questions.of(at(row), 0, *caption)).collect();
            assert!(texts.len() >= 6, "{name}: {texts:?}");
            let expected = if name == "match" { caption.code() } else { name };
            assert!(texts.iter().all(|text| Lang::of(text).code() == expected), "{name}: {texts:?}");
        }
    }
    let all = Questions::Drawn(QuestionSet::ready_made("match").unwrap());
    assert!([DEFAULT_QUESTION, DEFAULT_QUESTION_EN].iter().all(|text| all.texts().contains(text)));
}

#[test]
fn questions_asked_across_languages_are_counted() {
    let mut asked = Asked::default();
    for (caption, question) in [(Lang::En, DEFAULT_QUESTION), (Lang::Zh, DEFAULT_QUESTION), (Lang::En, "What?")] {
        asked.add(caption, question);
    }
    assert_eq!(asked.crossed(), 1);
    let json = json!({"en": {"What?": 1, DEFAULT_QUESTION: 1}, "zh": {DEFAULT_QUESTION: 1}});
    assert_eq!(serde_json::to_value(&asked).unwrap(), json);
}

#[test]
fn a_file_is_a_list_or_lists_by_language() {
    let dir = tempfile::tempdir().unwrap();
    let read = |text: &str| {
        std::fs::write(dir.path().join("q.yaml"), text).unwrap();
        QuestionSet::named("q.yaml", dir.path()).map_err(|e| format!("{e:#}"))
    };
    let plain = read("# mine\nquestions:\n  - What?\n  - {text: \"Lesion: where?\", weight: 2}\n").unwrap();
    assert_eq!(plain, set(json!(["What?", {"text": "Lesion: where?", "weight": 2}])));
    let both = read("questions: {en: [a], zh: [甲, {text: 乙, weight: 0.5}]}").unwrap();
    assert_eq!(both, set(json!({"en": ["a"], "zh": ["甲", {"text": "乙", "weight": 0.5}]})));
    for (text, part) in [
        ("questions: [", "not YAML"),
        ("", "must begin with `questions:`"),
        ("- a\n", "must begin with `questions:`"),
        ("questions: [a]\nseed: 3\n", "`seed` is no key"),
        ("questions: [a]\nquestions: [b]\n", "duplicate"),
        ("questions: match\n", "not a text"),
        ("questions:\n- Lesion: where?\n", "question 1: it has no `text`; a question with a colon"),
        ("1: [a]\n", "`1` is no key"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains("q.yaml") && error.contains(part), "{text:?}: {error}");
    }
    let gone = format!("{:#}", QuestionSet::named("gone.yml", dir.path()).unwrap_err());
    assert!(gone.contains("gone.yml"), "{gone}");
    let word = QuestionSet::named("fr", dir.path()).unwrap_err().to_string();
    assert!(word.contains("\"fr\"") && word.contains("en, zh, match"), "{word}");
}

#[test]
fn what_is_no_question_is_refused_with_its_place() {
    for (value, part) in [
        (json!(3), "not a number"),
        (json!([]), "no questions in the list"),
        (json!({}), "no questions in it"),
        (json!({"en": ["a"], "fr": ["b"]}), "`fr`"),
        (json!({"en": "a"}), "`en` must be a list of texts, not a text"),
        (json!({"en": ["a"], "zh": ["甲", " "]}), "`zh`: question 2: it is empty"),
        (json!(["a", 3]), "question 2: it must be a text, not a number"),
        (json!(["a", "b", "a"]), "question 3 is question 1 again"),
        (json!(["<image>What?"]), "second picture"),
        (json!([{"text": "a", "weight": 0}]), "`weight`: 0"),
        (json!([{"text": "a", "weight": 1e9}]), "`weight`"),
        (json!([{"text": "a", "weight": "2"}]), "`weight`"),
        (json!([{"text": "a", "wieght": 2}]), "`wieght` is no key"),
        (json!(vec!["a"; 1001]), "1000 are the most"),
    ] {
        let error = refused(value.clone());
        assert!(error.contains(part), "{value}: {error}");
    }
}

proptest! {
    /// Whatever comes before or after it, and wherever it stands: a sample with an id keeps its question.
    #[test]
    fn the_question_of_a_sample_does_not_depend_on_the_others(
        ids in proptest::collection::hash_set("\\PC{1,12}", 1..40),
        seed in any::<u64>(),
        shift in 0usize..1000,
    ) {
        let questions = Questions::Drawn(QuestionSet::ready_made("match").unwrap());
        let ids: Vec<String> = ids.into_iter().collect();
        let ask = |id: &str, row: usize, lang| questions.of(Place { id: Some(id), row }, seed, lang).to_owned();
        for lang in Lang::ALL {
            let in_order: Vec<String> = ids.iter().enumerate().map(|(row, id)| ask(id, row, *lang)).collect();
            for (row, (id, asked)) in ids.iter().zip(&in_order).rev().enumerate() {
                prop_assert_eq!(&ask(id, row + shift, *lang), asked);
            }
        }
    }
}
