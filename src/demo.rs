//! `lightbox demo`: the tutorial's whole story on embedded content, on the CPU of any machine.
//!
//! Draw head phantoms as a MedTrinity-like data set, convert it, ask the base model, fine-tune, ask again, compare.
//! Every number is computed from what the models said. The work is done by the commands that a user would type
//! ([`tools`]); finished steps are kept from run to run ([`state`]); all sentences are in [`text`].

mod answers;
mod state;
mod text;
mod tools;

use answers::{Answer, Exam};
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use lightbox_core::demo::dataset::{self, PhantomSet};
use lightbox_core::demo::score::{Count, Fact, Score};
use lightbox_core::demo::words::Lang;
use lightbox_core::demo::{GENERATOR_VERSION, base, digest, phantom, report};
use lightbox_core::safe_text;
use state::{Begin, State};
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use text::{Text, fill};
use tools::{Ask, EXIT_INTERRUPTED, Interrupted, OwnProgram, Tools};

/// Fine-tune a tiny embedded model on simulated pictures: the whole job in a few minutes, on the CPU of any machine
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// Do all of it and tell it as plain text; without this, on a terminal, the workbench opens and leads through it
    #[arg(long)]
    headless: bool,
    /// Folder for everything that the demo makes
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIR)]
    dir: PathBuf,
    /// End with one line of JSON on stdout; the story then goes to stderr
    #[arg(long)]
    json: bool,
    /// Fewer pictures and steps: less than half the time, and less is learned
    #[arg(long)]
    quick: bool,
    /// Only write model, data and profile
    #[arg(long)]
    prepare: bool,
    /// Start over: remove what an earlier demo made in DIR
    #[arg(long)]
    fresh: bool,
    /// Seed of pictures, texts and training [default: 42]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Only write the data that the base model was trained on (scripts/train-demo-model.sh)
    #[arg(long, value_name = "DIR", hide = true)]
    write_base_data: Option<PathBuf>,
    /// Pictures of the base model's data
    #[arg(long, value_name = "N", hide = true, default_value_t = base::PICTURES)]
    base_pictures: usize,
}

/// How much is made.
#[derive(Debug, Clone, Copy)]
struct Scale {
    phantoms: usize,
    /// Text-only rows; a sixth of all rows keeps the model's chat alive.
    chat: usize,
    /// Held-out phantoms asked in English and in Chinese.
    held_out: [usize; 2],
    /// Overrides the profile's `max_steps`.
    max_steps: Option<usize>,
}

const FULL: Scale = Scale { phantoms: 1500, chat: 300, held_out: [200, 100], max_steps: None };
const QUICK: Scale = Scale { phantoms: 600, chat: 120, held_out: [50, 25], max_steps: Some(300) };

/// What the program carries: the base model's folder and the profile.
const MODEL: [(&str, &[u8]); 8] = [
    ("README.md", include_bytes!("../assets/demo-model/README.md")),
    ("chat_template.json", include_bytes!("../assets/demo-model/chat_template.json")),
    ("config.json", include_bytes!("../assets/demo-model/config.json")),
    ("generation_config.json", include_bytes!("../assets/demo-model/generation_config.json")),
    ("model.safetensors", include_bytes!("../assets/demo-model/model.safetensors")),
    ("preprocessor_config.json", include_bytes!("../assets/demo-model/preprocessor_config.json")),
    ("tokenizer.json", include_bytes!("../assets/demo-model/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../assets/demo-model/tokenizer_config.json")),
];
/// Seed of pictures and texts; profiles/demo.yaml has the same for training.
const SEED: u64 = 42;
const PROFILE: &str = include_str!("../profiles/demo.yaml");
/// The folder that profiles/demo.yaml is written for.
const DEFAULT_DIR: &str = "lightbox-demo";

/// The profile, with the paths of a demo in `dir`.
fn profile_for(dir: &Path) -> String {
    let line = |line: &str| match line.split_once(&format!(": {DEFAULT_DIR}/")) {
        Some((key, part)) if !line.starts_with('#') => {
            let path = dir.join(part).display().to_string();
            format!("{key}: {}", lightbox_core::profile::yaml_value(&path.into()))
        }
        _ => line.replace(DEFAULT_DIR, &dir.display().to_string()),
    };
    PROFILE.lines().map(|l| line(l) + "\n").collect()
}

/// Everything the demo makes in its folder, besides its state.
const PARTS: [&str; 7] = ["model", "demo.yaml", "sample.png", "source", "data", "adapter", "answers"];

/// Names of the data sets in dataset_info.json, as profiles/demo.yaml names them.
const TRAIN: &str = "phantoms";
const CHAT: &str = "chat";
const HELD_OUT: [(&str, Lang); 2] = [("heldout_en", Lang::En), ("heldout_zh", Lang::Zh)];

pub fn run(args: DemoArgs) -> Result<ExitCode> {
    if let Some(dir) = &args.write_base_data {
        let bar = progress_bar();
        base::write(dir, args.seed.unwrap_or(SEED), args.base_pictures, &mut |done, total| show(&bar, done, total))?;
        bar.finish_and_clear();
        return Ok(ExitCode::SUCCESS);
    }
    let out: Box<dyn Write> = if args.json { Box::new(std::io::stderr()) } else { Box::new(std::io::stdout()) };
    let text = Text::from_env(|name| std::env::var(name).ok());
    let tools = OwnProgram::new(args.json)?;
    let watched = !args.headless && !args.json && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if args.prepare || watched {
        prepare(&args, text, &tools, out)?;
        if args.prepare {
            return Ok(ExitCode::SUCCESS);
        }
        return crate::run::workbench(&crate::run::Options { demo: Some(args.dir), ..Default::default() });
    }
    match tell(&args, text, &tools, out) {
        Ok(report) => {
            if args.json {
                writeln!(std::io::stdout(), "{report}").context("cannot write the report to stdout")?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if error.is::<Interrupted>() => {
            eprintln!("\n{error}");
            Ok(ExitCode::from(EXIT_INTERRUPTED))
        }
        Err(error) => Err(error),
    }
}

/// The whole story; returns the closing report.
fn tell(args: &DemoArgs, text: &'static Text, tools: &dyn Tools, out: Box<dyn Write>) -> Result<serde_json::Value> {
    let start = Instant::now();
    let mut story = Story::begin(args, text, out)?;
    let base = story.unpack()?;
    let source = story.draw()?;
    let data = story.convert(tools, &source)?;
    let before = story.ask(tools, Asked::Base, &[&base, &data])?;
    let adapter = story.train(tools, &[&base, &data])?;
    let after = story.ask(tools, Asked::Tuned, &[&adapter])?;
    story.compare(&before, &after, start)
}

/// The beginning of the story: everything that training needs, and no training.
fn prepare(args: &DemoArgs, text: &'static Text, tools: &dyn Tools, out: Box<dyn Write>) -> Result<()> {
    let mut story = Story::begin(args, text, out)?;
    story.unpack()?;
    let source = story.draw()?;
    story.convert(tools, &source)?;
    Ok(())
}

/// Which model is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Base,
    Tuned,
}

struct Story {
    dir: PathBuf,
    seed: u64,
    /// The seed as the user gave it, if so.
    asked_seed: Option<u64>,
    quick: bool,
    scale: Scale,
    text: &'static Text,
    out: Box<dyn Write>,
    state: State,
    step: usize,
    reused: Vec<&'static str>,
}

impl Story {
    fn begin(args: &DemoArgs, text: &'static Text, out: Box<dyn Write>) -> Result<Self> {
        let forgotten = args.fresh && State::forget(&args.dir, &PARTS)?;
        let mut story = Self {
            dir: args.dir.clone(),
            seed: args.seed.unwrap_or(SEED),
            asked_seed: args.seed,
            quick: args.quick,
            scale: if args.quick { QUICK } else { FULL },
            text,
            out,
            state: State::open(&args.dir)?,
            step: 0,
            reused: Vec::new(),
        };
        story.say(text.title);
        story.say(text.not_medical);
        if forgotten {
            story.say(&fill(text.fresh, &[&args.dir.display()]));
        }
        Ok(story)
    }

    fn path(&self, part: &str) -> PathBuf {
        self.dir.join(part)
    }

    /// One line. A terminal that has gone away does not stop the work.
    fn say(&mut self, line: &str) {
        _ = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
    }

    /// Runs `work` unless an earlier run has finished it from the same inputs. Returns a digest that stands for what
    /// the step made, for the steps that depend on it.
    fn step(
        &mut self,
        name: &'static str,
        inputs: &[&str],
        outputs: &[PathBuf],
        work: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<String> {
        self.announce();
        let parts = [name, env!("CARGO_PKG_VERSION")];
        let key = digest(parts.iter().chain(inputs).map(|part| part.as_bytes()));
        let begin = self.state.begin(name, &key, outputs)?;
        match begin {
            Begin::Reuse => {
                self.say(self.text.reused);
                self.reused.push(name);
                return Ok(key);
            }
            Begin::Resume => self.say(self.text.resumed),
            Begin::Changed => self.say(self.text.changed),
            Begin::New => {}
        }
        let start = Instant::now();
        work(self)?;
        let seconds = start.elapsed().as_secs_f64();
        self.state.finish(name, seconds)?;
        self.say(&fill(self.text.done, &[&format!("{seconds:.1}")]));
        Ok(key)
    }

    fn announce(&mut self) {
        let line = fill(self.text.step, &[&(self.step + 1), &self.text.steps.len(), &self.text.steps[self.step]]);
        self.say(&format!("\n{line}"));
        self.step += 1;
    }

    /// The base model, and the profile unless there is one: the user may change it, and keeps the change until
    /// another version of the program brings another profile.
    fn unpack(&mut self) -> Result<String> {
        let (model, profile) = (self.path("model"), self.path("demo.yaml"));
        let settings = profile_for(&self.dir);
        let embedded = digest(MODEL.iter().map(|(_, bytes)| *bytes).chain([settings.as_bytes()]));
        let key = self.step("unpack", &[&embedded], std::slice::from_ref(&model), |story| {
            std::fs::create_dir_all(&model).with_context(|| format!("cannot make the folder {}", model.display()))?;
            MODEL.iter().try_for_each(|(name, bytes)| write(&model.join(name), bytes))?;
            if std::fs::read(&profile).is_ok_and(|old| old != settings.as_bytes()) {
                let aside = story.path("demo.yaml.old");
                std::fs::rename(&profile, &aside).with_context(|| format!("cannot write {}", aside.display()))?;
            }
            Ok(())
        })?;
        if !profile.exists() {
            write(&profile, settings.as_bytes())?;
        }
        self.say(&fill(self.text.model_is, &[&model.display()]));
        Ok(key)
    }

    /// Training and held-out phantoms as parquet files, and one picture to ask about afterwards.
    fn draw(&mut self) -> Result<String> {
        let (scale, seed) = (self.scale, self.seed);
        let inputs = [GENERATOR_VERSION.to_string(), format!("{scale:?}"), seed.to_string()];
        let (source, sample) = (self.path("source"), self.path("sample.png"));
        let key =
            self.step("draw", &inputs.each_ref().map(String::as_str), &[source.clone(), sample.clone()], |_| {
                let bar = progress_bar();
                let mut progress = |done, total| show(&bar, done, total);
                let train = PhantomSet { name: TRAIN, rows: scale.phantoms, shards: 2, languages: Lang::ALL, seed };
                train.write_parquet(&source.join(TRAIN), &mut progress)?;
                for ((name, lang), rows) in HELD_OUT.into_iter().zip(scale.held_out) {
                    let set = PhantomSet { name, rows, shards: 1, languages: &[lang], seed };
                    set.write_parquet(&source.join(name), &mut progress)?;
                }
                bar.finish_and_clear();
                write(&sample, &phantom::draw(seed, HELD_OUT[0].0, sample_index(seed)).png()?)
            })?;
        let [en, zh] = scale.held_out;
        self.say(&fill(self.text.phantoms_are, &[&scale.phantoms, &en, &zh, &source.display()]));
        Ok(key)
    }

    fn convert(&mut self, tools: &dyn Tools, source: &str) -> Result<String> {
        let (scale, seed) = (self.scale, self.seed);
        let data = self.path("data");
        let key = self.step("convert", &[source], std::slice::from_ref(&data), |story| {
            let source = story.path("source");
            tools.convert(&source.join(TRAIN), &data, TRAIN, &training_questions())?;
            for (name, lang) in HELD_OUT {
                tools.convert(&source.join(name), &data, name, &report::caption_prompts(lang)[..1])?;
            }
            dataset::write_chat(&data, CHAT, scale.chat, seed)
        })?;
        self.say(&fill(self.text.data_is, &[&scale.phantoms, &scale.chat, &data.join("dataset_info.json").display()]));
        Ok(key)
    }

    fn train(&mut self, tools: &dyn Tools, depends_on: &[&str]) -> Result<String> {
        let profile = self.path("demo.yaml");
        let settings =
            std::fs::read_to_string(&profile).with_context(|| format!("cannot read {}", profile.display()))?;
        let adapter = self.path("adapter");
        let mut overrides = vec![
            key_value("model_name_or_path", &self.path("model")),
            key_value("dataset_dir", &self.path("data")),
            key_value("output_dir", &adapter),
        ];
        // Without these options the profile decides, which the user may have changed.
        overrides.extend(self.asked_seed.map(|seed| format!("seed={seed}").into()));
        overrides.extend(self.scale.max_steps.map(|steps| format!("max_steps={steps}").into()));
        let described = format!("{:?} {:?}", self.asked_seed, self.scale.max_steps);
        let inputs = [depends_on, &[&settings, &described]].concat();
        let key = self.step("train", &inputs, std::slice::from_ref(&adapter), |_| tools.train(&profile, &overrides))?;
        self.say(&fill(self.text.profile_is, &[&profile.display()]));
        Ok(key)
    }

    /// Answers to the held-out sets, in the order of [`HELD_OUT`].
    fn ask(&mut self, tools: &dyn Tools, asked: Asked, depends_on: &[&str]) -> Result<[Exam; 2]> {
        let (step, name) = match asked {
            Asked::Base => ("ask_base", "before"),
            Asked::Tuned => ("ask_tuned", "after"),
        };
        let files = HELD_OUT.map(|(set, _)| self.path("answers").join(format!("{name}-{set}.jsonl")));
        self.step(step, depends_on, &files, |story| {
            let folder = story.path("answers");
            std::fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
            let (model, adapter, data) = (story.path("model"), story.path("adapter"), story.path("data"));
            for ((set, _), output) in HELD_OUT.into_iter().zip(&files) {
                let adapter = (asked == Asked::Tuned).then_some(adapter.as_path());
                tools.predict(&Ask { model: &model, adapter, dataset_dir: &data, dataset: set, output })?;
            }
            Ok(())
        })?;
        let read = |i: usize| Exam::read(&files[i], self.seed, HELD_OUT[i].0, self.scale.held_out[i]);
        Ok([read(0)?, read(1)?])
    }

    fn compare(&mut self, before: &[Exam; 2], after: &[Exam; 2], start: Instant) -> Result<serde_json::Value> {
        self.announce();
        self.examples(before, after);
        let scores = |exams: &[Exam; 2]| exams.each_ref().map(|exam| exam.score);
        let (before, after) = (scores(before), scores(after));
        self.table(&before, &after);

        let adapter = self.path("adapter");
        let losses = answers::losses(&adapter.join("trainer_log.jsonl"))?;
        let seconds = start.elapsed().as_secs_f64();
        let train_seconds = self.state.seconds("train").unwrap_or_default();
        self.say("");
        self.say(&fill(self.text.loss, &[&format!("{:.3}", losses.first), &format!("{:.3}", losses.last)]));
        self.say(&fill(self.text.time, &[&format!("{seconds:.0}"), &format!("{train_seconds:.0}")]));
        self.say_files();

        let by_language = |scores: &[Score; 2]| {
            let map = HELD_OUT.iter().zip(scores).map(|((_, lang), score)| (lang.code().to_owned(), facts_json(score)));
            serde_json::Value::Object(map.collect())
        };
        Ok(serde_json::json!({
            "accuracy_before": (before[0] + before[1]).accuracy().rate(),
            "accuracy_after": (after[0] + after[1]).accuracy().rate(),
            "n": self.scale.held_out.iter().sum::<usize>(),
            "seconds": seconds,
            "seconds_train": train_seconds,
            "loss_first": losses.first,
            "loss_last": losses.last,
            "before": by_language(&before),
            "after": by_language(&after),
            "quick": self.quick,
            "seed": self.seed,
            "reused": self.reused,
            "dir": self.dir.to_string_lossy(),
            "model": self.path("model").to_string_lossy(),
            "adapter": adapter.to_string_lossy(),
            "dataset_dir": self.path("data").to_string_lossy(),
            "answers": self.path("answers").to_string_lossy(),
        }))
    }

    /// A lesion and a healthy phantom asked in English, a lesion asked in Chinese.
    fn examples(&mut self, before: &[Exam; 2], after: &[Exam; 2]) {
        for (i, wanted_lesion) in [(0, true), (0, false), (1, true)] {
            let ((set, lang), text) = (HELD_OUT[i], self.text);
            let Some(at) = before[i].answers.iter().position(|a| a.truth.is_some() == wanted_lesion) else { continue };
            let (was, is): (&Answer, &Answer) = (&before[i].answers[at], &after[i].answers[at]);
            self.say(&format!("      {set} {at}"));
            self.say(&format!("        {}  {}", text.truth, report::findings(was.truth, lang)));
            self.say(&format!("        {}  {}", text.before, one_line(&was.said)));
            self.say(&format!("        {}  {}", text.after, one_line(&is.said)));
        }
    }

    fn table(&mut self, before: &[Score; 2], after: &[Score; 2]) {
        let [en, zh] = self.scale.held_out;
        self.say("");
        self.say(&fill(self.text.table_head, &[&en, &zh]));
        self.say(self.text.table_columns);
        let columns = [before[0], after[0], before[1], after[1]];
        let row = |story: &mut Self, of: &dyn Fn(&Score) -> Count, label: &str| {
            let cells: String = columns.iter().map(|score| format!("{:>9.1} %", 100.0 * of(score).rate())).collect();
            story.say(&format!(" {cells}   {label}"));
        };
        for (fact, label) in Fact::ALL.into_iter().zip(self.text.rows) {
            row(self, &|score| score.fact(fact), label);
        }
        row(self, &|score| score.all, self.text.rows[5]);
        row(self, &Score::accuracy, self.text.rows[6]);
    }

    fn say_files(&mut self) {
        let text = self.text;
        self.say(text.files);
        for (part, kind) in ["model", "adapter", "answers", "demo.yaml"].into_iter().zip(text.file_kinds) {
            let path = self.path(part);
            self.say(&format!("  {}  {kind}", path.display()));
        }
        self.say(text.next);
        let question = report::caption_prompts(Lang::En)[0];
        let chat: Vec<OsString> = vec![
            "chat".into(),
            "--model".into(),
            self.path("model").into(),
            "--adapter".into(),
            self.path("adapter").into(),
            "--image".into(),
            self.path("sample.png").into(),
            "--prompt".into(),
            question.into(),
            "--greedy".into(),
        ];
        self.say(&format!("  {}", tools::shell_line("lightbox", &chat)));
        self.say(&format!("      {}", text.next_ask));
        let retrain: Vec<OsString> = vec![
            "train".into(),
            self.path("demo.yaml").into(),
            key_value("model_name_or_path", &self.path("model")),
            key_value("dataset_dir", &self.path("data")),
            key_value("output_dir", &self.path("mine")),
            "lora_rank=4".into(),
        ];
        self.say(&format!("  {}", tools::shell_line("lightbox", &retrain)));
        self.say(&format!("      {}", text.next_change));
    }
}

/// English and Chinese by turns, as the captions of the training set are, so that every question is in the language
/// of its answer ("图片中的诊断结果是怎样？" with an English answer would teach the model to answer Chinese in English).
fn training_questions() -> Vec<&'static str> {
    let prompts = Lang::ALL.iter().map(|&lang| report::caption_prompts(lang)).collect::<Vec<_>>();
    (0..prompts[0].len()).flat_map(|i| prompts.iter().map(move |p| p[i])).collect()
}

/// The first held-out phantom with a lesion.
fn sample_index(seed: u64) -> u64 {
    (0..64).find(|&i| phantom::truth(seed, HELD_OUT[0].0, i).is_some()).unwrap_or(0)
}

fn facts_json(score: &Score) -> serde_json::Value {
    let mut map: serde_json::Map<_, _> =
        Fact::ALL.into_iter().map(|f| (f.key().to_owned(), score.fact(f).rate().into())).collect();
    map.insert("all".to_owned(), score.all.rate().into());
    map.insert("accuracy".to_owned(), score.accuracy().rate().into());
    map.into()
}

/// A model's answer for the screen: no control codes, one line, not endless.
fn one_line(answer: &str) -> String {
    let clean = safe_text::clean(answer);
    let line = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(320) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn key_value(key: &str, value: &Path) -> OsString {
    let mut text = OsString::from(key);
    text.push("=");
    text.push(value);
    text
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    lightbox_core::fs::write_atomic(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Drawn on stderr, and only where that is a terminal.
fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("      {bar:30} {pos}/{len}  {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}

fn show(bar: &ProgressBar, done: usize, total: usize) {
    bar.set_length(total as u64);
    bar.set_position(done as u64);
}

#[cfg(test)]
mod tests;
