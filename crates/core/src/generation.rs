//! How an answer is chosen: what was asked for, and what follows from it where nothing was said.
//!
//! ```text
//! option given  >  key that the profile sets  >  the model's own generation_config.json  >  LLaMA-Factory's default
//! ```
//! The keys of drawing (do_sample, temperature, top_p, top_k, min_p) belong together: where an option or the profile sets one
//! of them, the model's own are left aside. Qwen2-VL's file says top_k 1; under it a temperature that someone asked for would
//! change nothing, and nobody would be told. docs/design/decisions.md has the rule.

use crate::profile::{KEYS, Profile, Range};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

/// Longest text of a stop string, and how many there may be: every token is searched for all of them.
const MAX_STOPS: usize = 64;
const MAX_STOP_BYTES: usize = 1024;

/// The profile's keys of drawing; one that is set speaks for all of them.
const DRAWING: [&str; 4] = ["do_sample", "temperature", "top_p", "top_k"];

/// What was asked for; `None` and empty: nothing was said, see [`AskOptions::settle`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AskOptions {
    /// The longest answer, in tokens. Default 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<usize>,
    /// Draw tokens at random; else always the most likely one. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub do_sample: Option<bool>,
    /// Below 1 sharper, above 1 flatter; 0 takes the most likely token. Default 0.95.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Draw among the most likely tokens that together have this probability. Default 0.7.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Draw among so many most likely tokens; 0: among all. Default 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
    /// Draw among tokens at least so likely as this share of the most likely one; 0: among all. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f64>,
    /// Above 1: tokens seen before become less likely. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f64>,
    /// Seed of the drawing. Default 42.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Texts that end the answer, each before its first character.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// `Picture 1: ` before the first picture, and so on: the chat template's `add_vision_id`.
    pub number_pictures: bool,
    /// Pictures with fewer pixels are made larger first. `None`: as in the adapter's own run (its profile.yaml), else 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_min_pixels: Option<u64>,
    /// Pictures with more pixels are made smaller first. `None`: as in the adapter's own run (its profile.yaml), else 589824.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_max_pixels: Option<u64>,
}

/// Every question answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    pub max_new_tokens: usize,
    /// Draw at random; else the most likely token.
    pub do_sample: bool,
    /// Above 0 where tokens are drawn.
    pub temperature: f64,
    pub top_p: f64,
    /// 0: no limit
    pub top_k: usize,
    /// 0: no limit
    pub min_p: f64,
    pub repetition_penalty: f64,
    pub seed: u64,
    pub stop: Vec<String>,
}

/// What a model's own generation_config.json says; transformers' names. Its end-of-sequence ids are the engine's matter.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelDefaults {
    pub max_new_tokens: Option<usize>,
    pub do_sample: Option<bool>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub top_k: Option<usize>,
    pub min_p: Option<f64>,
    pub repetition_penalty: Option<f64>,
}

impl Generation {
    /// Always the most likely token, and nothing else that would change it.
    pub fn greedy(max_new_tokens: usize) -> Self {
        Self {
            max_new_tokens,
            do_sample: false,
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            seed: 0,
            stop: Vec::new(),
        }
    }
}

impl ModelDefaults {
    /// Reads `DIR/generation_config.json`; a model without that file says nothing.
    ///
    /// # Errors
    /// The file is no JSON, or a key that is read has a value that it cannot have.
    pub fn of(dir: &Path) -> Result<Self> {
        let path = dir.join("generation_config.json");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(e).with_context(|| format!("{}: cannot be read", path.display())),
        };
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        let json: Value = serde_json::from_str(text).context("not valid JSON")?;
        let get = |key: &str| json.get(key).filter(|value| !value.is_null());
        let number = |key: &str| match get(key) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(x) => check(key, x).map(|()| Some(x)),
                None => bail!("{key} is {value}, which is no number; correct it or take it out"),
            },
        };
        let whole = |key: &str| match number(key)? {
            Some(x) if x < 0.0 || x.fract() != 0.0 => bail!("{key} is {x}; it needs a whole number, 0 or more"),
            x => Ok(x.map(|x| x as usize)),
        };
        let do_sample = match get("do_sample") {
            None => None,
            Some(Value::Bool(b)) => Some(*b),
            Some(value) => bail!("do_sample is {value}; it needs true or false"),
        };
        Ok(Self {
            max_new_tokens: whole("max_new_tokens")?,
            do_sample,
            temperature: number("temperature")?,
            top_p: number("top_p")?,
            top_k: whole("top_k")?,
            min_p: number("min_p")?,
            repetition_penalty: number("repetition_penalty")?,
        })
    }
}

impl AskOptions {
    /// The values that will be used. `profile` is the one that was named or lies beside the adapter, `model` what the model
    /// itself says.
    ///
    /// # Errors
    /// As [`AskOptions::check`].
    pub fn settle(&self, profile: Option<&Profile>, model: &ModelDefaults) -> Result<Generation> {
        self.check()?;
        let defaults = Profile::default();
        let sets = |key: &str| profile.is_some_and(|p| p.sets(key));
        let given = self.do_sample.is_some()
            || self.temperature.is_some()
            || self.top_p.is_some()
            || self.top_k.is_some()
            || self.min_p.is_some();
        let drawing = given || DRAWING.into_iter().any(sets);
        // Where the drawing was decided on elsewhere the model's own file has no say in it.
        let silent = ModelDefaults::default();
        let own = if drawing { &silent } else { model };
        let p = profile.unwrap_or(&defaults);
        let mut settled = Generation {
            max_new_tokens: choose(self.max_new_tokens, sets("max_new_tokens"), model.max_new_tokens, p.max_new_tokens),
            do_sample: choose(self.do_sample, sets("do_sample"), own.do_sample, p.do_sample),
            temperature: choose(self.temperature, sets("temperature"), own.temperature, p.temperature),
            top_p: choose(self.top_p, sets("top_p"), own.top_p, p.top_p),
            top_k: choose(self.top_k, sets("top_k"), own.top_k, p.top_k),
            min_p: self.min_p.or(own.min_p).unwrap_or(0.0),
            repetition_penalty: choose(
                self.repetition_penalty,
                sets("repetition_penalty"),
                model.repetition_penalty,
                p.repetition_penalty,
            ),
            seed: self.seed.unwrap_or(p.seed),
            stop: self.stop.clone(),
        };
        settled.do_sample &= settled.temperature > 0.0;
        Ok(settled)
    }

    /// The ranges are those of the profile's keys.
    ///
    /// # Errors
    /// Names the option that is out of its range.
    pub fn check(&self) -> Result<()> {
        let numbers = [
            ("max_new_tokens", self.max_new_tokens.map(|n| n as f64)),
            ("temperature", self.temperature),
            ("top_p", self.top_p),
            ("min_p", self.min_p),
            ("repetition_penalty", self.repetition_penalty),
            ("image_min_pixels", self.image_min_pixels.map(|n| n as f64)),
            ("image_max_pixels", self.image_max_pixels.map(|n| n as f64)),
        ];
        for (name, number) in numbers {
            if let Some(x) = number {
                check(name, x)?;
            }
        }
        if self.stop.len() > MAX_STOPS {
            bail!("there are {} stop texts; at most {MAX_STOPS} are searched for", self.stop.len());
        }
        if self.stop.iter().any(|stop| stop.is_empty() || stop.len() > MAX_STOP_BYTES) {
            bail!("a stop text is empty or longer than {MAX_STOP_BYTES} bytes; it would end every answer, or none");
        }
        Ok(())
    }
}

/// How answers are chosen at the evaluations of a training: as `lightbox predict --greedy` would, so that points of a
/// curve differ by the weights alone. A profile that sets a key of drawing has its way.
///
/// # Errors
/// As [`AskOptions::check`].
pub fn at_evaluation(profile: &Profile, model: &ModelDefaults) -> Result<Generation> {
    let drawing = DRAWING.into_iter().any(|key| profile.sets(key));
    AskOptions { do_sample: (!drawing).then_some(false), ..AskOptions::default() }.settle(Some(profile), model)
}

/// One key: given, else the profile's where it sets it, else the model's own, else the default (which an unset key of the
/// profile holds).
fn choose<T>(given: Option<T>, profile_sets: bool, own: Option<T>, profile: T) -> T {
    match given {
        Some(value) => value,
        None if profile_sets => profile,
        None => own.unwrap_or(profile),
    }
}

fn check(name: &str, x: f64) -> Result<()> {
    let key = KEYS.iter().find(|key| key.name == name);
    // min_p is no key of LLaMA-Factory's profiles.
    let range = key.map_or(if name == "min_p" { Range::UNIT } else { Range::ANY }, |key| key.range);
    if !x.is_finite() || !range.contains(x) {
        bail!("{name} is {x}; it needs {}", key.map_or_else(|| format!("a number, {range}"), |key| key.allowed()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the published Qwen2-VL folders have it.
    const QWEN: &str = r#"{"do_sample": true, "temperature": 0.01, "top_p": 0.001, "top_k": 1, "repetition_penalty": 1.05, "eos_token_id": [2, 3]}"#;

    fn profile(lines: &str) -> Profile {
        let head = "stage: sft\nmodel_name_or_path: m\ndataset: d\ntemplate: qwen2_vl\noutput_dir: o\n";
        format!("{head}{lines}").parse().unwrap()
    }

    #[test]
    fn what_nobody_set_is_the_model_s_own_and_then_llamafactory_s() {
        let silent = AskOptions::default();
        let factory = silent.settle(None, &ModelDefaults::default()).unwrap();
        assert_eq!((factory.do_sample, factory.temperature, factory.top_p, factory.top_k), (true, 0.95, 0.7, 50));
        assert_eq!(
            (factory.min_p, factory.repetition_penalty, factory.max_new_tokens, factory.seed),
            (0.0, 1.0, 1024, 42)
        );
        let qwen = ModelDefaults::parse(QWEN).unwrap();
        // A profile that says nothing about answers leaves them to the model.
        for p in [None, Some(&profile("learning_rate: 1e-4\n"))] {
            let own = silent.settle(p, &qwen).unwrap();
            assert_eq!((own.temperature, own.top_p, own.top_k, own.repetition_penalty), (0.01, 0.001, 1, 1.05));
        }
    }

    #[test]
    fn an_option_is_before_the_profile_and_both_are_before_the_model() {
        let qwen = ModelDefaults::parse(QWEN).unwrap();
        let p = profile("top_p: 0.5\nmax_new_tokens: 7\nseed: 3\n");
        let given = AskOptions { temperature: Some(0.4), ..AskOptions::default() };
        let settled = given.settle(Some(&p), &qwen).unwrap();
        assert_eq!((settled.temperature, settled.top_p, settled.max_new_tokens, settled.seed), (0.4, 0.5, 7, 3));
        assert_eq!(settled.top_k, 50, "the model's top_k 1 would take the temperature's meaning away");
        assert_eq!(settled.repetition_penalty, 1.05, "nothing about drawing");
        let key_alone = AskOptions::default().settle(Some(&profile("top_k: 50\n")), &qwen).unwrap();
        assert_eq!((key_alone.temperature, key_alone.top_k), (0.95, 50), "set to its default is set");
        let penalty = AskOptions { repetition_penalty: Some(1.0), ..AskOptions::default() };
        assert_eq!(penalty.settle(None, &qwen).unwrap().repetition_penalty, 1.0);
    }

    #[test]
    fn no_temperature_is_the_most_likely_token() {
        let none = AskOptions { temperature: Some(0.0), ..AskOptions::default() };
        assert!(!none.settle(None, &ModelDefaults::default()).unwrap().do_sample);
        let greedy = AskOptions { do_sample: Some(false), temperature: Some(1.0), ..AskOptions::default() };
        assert!(!greedy.settle(None, &ModelDefaults::parse(QWEN).unwrap()).unwrap().do_sample);
    }

    #[test]
    fn answers_at_an_evaluation_are_greedy_unless_the_profile_says_how_to_draw() {
        let qwen = ModelDefaults::parse(QWEN).unwrap();
        let greedy = at_evaluation(&profile("max_new_tokens: 7\n"), &qwen).unwrap();
        assert_eq!((greedy.do_sample, greedy.max_new_tokens, greedy.repetition_penalty), (false, 7, 1.05));
        let asked = AskOptions { do_sample: Some(false), ..AskOptions::default() };
        assert_eq!(greedy, asked.settle(Some(&profile("max_new_tokens: 7\n")), &qwen).unwrap(), "as predict --greedy");
        let drawn = at_evaluation(&profile("temperature: 0.4\n"), &qwen).unwrap();
        assert_eq!((drawn.do_sample, drawn.temperature, drawn.top_k), (true, 0.4, 50));
        assert!(!at_evaluation(&profile("do_sample: false\n"), &qwen).unwrap().do_sample);
    }

    #[test]
    fn values_that_cannot_be_are_refused_by_name() {
        let refused = |text: &str| format!("{:#}", ModelDefaults::parse(text).unwrap_err());
        for (text, word) in [
            (r#"{"top_p": 5}"#, "top_p"),
            (r#"{"temperature": "hot"}"#, "temperature"),
            (r#"{"top_k": 1.5}"#, "top_k"),
            (r#"{"do_sample": 1}"#, "do_sample"),
            (r#"{"min_p": -0.1}"#, "min_p"),
        ] {
            assert!(refused(text).contains(word), "{}", refused(text));
        }
        let options = |change: fn(&mut AskOptions)| {
            let mut options = AskOptions::default();
            change(&mut options);
            options.settle(None, &ModelDefaults::default()).unwrap_err().to_string()
        };
        assert!(options(|o| o.min_p = Some(1.5)).starts_with("min_p is 1.5; it needs a number, from 0 to 1"));
        assert!(options(|o| o.temperature = Some(f64::NAN)).contains("temperature"));
        assert!(options(|o| o.stop = vec!["".into()]).contains("stop text"));
        assert!(options(|o| o.stop = vec!["x".into(); 65]).contains("65"));
    }
}
