//! The estimate in words: what the pane beside the form, the page and the last question before a start show.

use super::Train;
use super::estimate::State;
use crate::app::overlay::{Overlay, Page};
use crate::app::{App, Effects};
use crate::text::{Lang, T, train as text};
use crate::view::words;
use lightbox_core::estimate::{Estimate, Memory, Verdict};
use lightbox_core::runs::progress::short_time;
use lightbox_core::safe_text::clean_line;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Head,
    Plain,
    Dim,
    Good,
    Warning,
    Error,
    /// A part of the memory, with its share in thousandths of what the device has.
    Bar(u16),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    pub tone: Tone,
    pub label: String,
    pub value: String,
    /// Left out where there is no room for all.
    pub minor: bool,
}

/// The parts of the memory, the largest of a usual run first.
pub fn parts(memory: &Memory) -> [(T, u64); 5] {
    [
        (text::WEIGHTS, memory.weights),
        (text::ACTIVATIONS, memory.activations),
        (text::LOGITS, memory.logits),
        (text::TRAINED, memory.trained),
        (text::WORKSPACE, memory.workspace),
    ]
}

/// One line: steps, memory, time, disk.
pub fn summary(state: &State, lang: Lang) -> String {
    let Some(e) = &state.estimate else { return String::new() };
    let mut all = Vec::new();
    all.extend(e.steps.map(|steps| text::SUM_STEPS.fill(lang, &[&words::count(steps.total)])));
    all.extend(e.memory.map(|memory| {
        let need = words::size(memory.parts.total);
        match e.device.free_bytes {
            Some(free) => text::SUM_MEMORY_OF.fill(lang, &[&need, &words::size(free)]),
            None => text::SUM_MEMORY.fill(lang, &[&need]),
        }
    }));
    all.push(match &e.time {
        Some(time) => format!("≈ {}", short_time(time.seconds)),
        None => text::TIME_UNKNOWN.get(lang).to_owned(),
    });
    all.extend(e.disk.map(|disk| text::SUM_DISK.fill(lang, &[&words::size(disk.total_bytes)])));
    all.join(" · ")
}

/// What speaks against starting.
pub fn warning(state: &State, lang: Lang) -> Vec<String> {
    let Some(e) = &state.estimate else { return Vec::new() };
    let mut all = Vec::new();
    if e.device.missing {
        all.push(text::NO_SUCH_GPU.fill(lang, &[&e.device.name]));
    }
    match e.memory.map(|memory| memory.verdict) {
        Some(Verdict::TooLarge) => all.push(text::MEMORY_TOO_LARGE.get(lang).to_owned()),
        Some(Verdict::Tight) => all.push(text::MEMORY_TIGHT.get(lang).to_owned()),
        _ => {}
    }
    if e.disk.is_some_and(|disk| disk.verdict == Verdict::TooLarge) {
        all.push(text::DISK_TOO_LARGE.get(lang).to_owned());
    }
    all
}

/// All figures, part by part.
pub fn all(state: &State, lang: Lang) -> Vec<Figure> {
    let mut out = Vec::new();
    let Some(e) = &state.estimate else { return out };
    memory(&mut out, e, lang);
    steps(&mut out, e, lang);
    time(&mut out, e, lang);
    disk(&mut out, e, lang);
    tokens(&mut out, state, e, lang);
    for missing in state.missing() {
        out.push(Figure { tone: Tone::Warning, label: String::new(), value: clean_line(missing, 300), minor: false });
    }
    out
}

fn head(out: &mut Vec<Figure>, label: T, lang: Lang, value: String) {
    out.push(Figure { tone: Tone::Head, label: label.get(lang).to_owned(), value, minor: false });
}

fn line(out: &mut Vec<Figure>, tone: Tone, label: T, lang: Lang, value: String) {
    const MINOR: [T; 8] = [
        text::WORKSPACE,
        text::AT_CUTOFF,
        text::PER_EPOCH,
        text::WARMUP,
        text::LONGEST,
        text::BETWEEN,
        text::PACE,
        text::RESULT,
    ];
    out.push(Figure { tone, label: label.get(lang).to_owned(), value, minor: MINOR.contains(&label) });
}

fn memory(out: &mut Vec<Figure>, e: &Estimate, lang: Lang) {
    let model = e.device.model.as_deref().map(|model| format!(" {}", clean_line(model, 60))).unwrap_or_default();
    head(out, text::MEMORY, lang, format!("{}{model}", e.device.name));
    if e.device.missing {
        let value = text::NO_SUCH_GPU.fill(lang, &[&e.device.name]);
        out.push(Figure { tone: Tone::Error, label: String::new(), value, minor: false });
    }
    let Some(memory) = &e.memory else {
        return line(out, Tone::Dim, text::NOT_KNOWN, lang, String::new());
    };
    let (tone, verdict) = judged(memory.verdict, lang);
    let of = e.device.free_bytes.map(|free| text::FREE.fill(lang, &[&words::size(free)])).unwrap_or_default();
    let (less, more) = (memory.uncertainty.0 * 100.0, memory.uncertainty.1 * 100.0);
    let uncertainty = match less == more {
        true => format!("±{more:.0} %"),
        false => format!("−{less:.0}/+{more:.0} %"),
    };
    // the verdict before what may be cut off
    let said = [words::size(memory.parts.total), verdict.to_owned(), uncertainty, of];
    let said: Vec<String> = said.into_iter().filter(|part| !part.is_empty()).collect();
    line(out, tone, text::TOTAL, lang, said.join(" "));
    let whole = e.device.total_bytes.unwrap_or(memory.parts.total).max(1);
    for (label, bytes) in parts(&memory.parts) {
        let share = (bytes as f64 / whole as f64 * 1000.0).min(1000.0) as u16;
        line(out, Tone::Bar(share), label, lang, words::size(bytes));
    }
    line(out, Tone::Dim, text::AT_CUTOFF, lang, words::size(memory.at_cutoff_bytes));
    if let (Some(trained), Some(all)) = (e.trained_numbers, e.model_numbers) {
        let share = trained as f64 / all.max(1) as f64 * 100.0;
        line(out, Tone::Plain, text::PARAMETERS, lang, format!("{} ({share:.2} %)", short(trained)));
    }
}

fn judged(verdict: Verdict, lang: Lang) -> (Tone, &'static str) {
    match verdict {
        Verdict::Fits => (Tone::Good, text::FITS.get(lang)),
        Verdict::Tight => (Tone::Warning, text::TIGHT.get(lang)),
        Verdict::TooLarge => (Tone::Error, text::TOO_LARGE.get(lang)),
        Verdict::Unknown => (Tone::Plain, ""),
    }
}

/// `9.2 M`
fn short(n: u64) -> String {
    match n {
        0..1_000_000 => words::count(n),
        1_000_000..1_000_000_000 => format!("{:.1} M", n as f64 / 1e6),
        _ => format!("{:.2} B", n as f64 / 1e9),
    }
}

fn steps(out: &mut Vec<Figure>, e: &Estimate, lang: Lang) {
    let Some(s) = &e.steps else { return };
    head(out, text::STEPS, lang, words::count(s.total));
    line(out, Tone::Plain, text::EPOCHS, lang, format!("{:.2}", s.epochs));
    line(out, Tone::Plain, text::PER_EPOCH, lang, words::count(s.per_epoch));
    line(out, Tone::Plain, text::PER_UPDATE, lang, words::count(s.samples_per_update as u64));
    let eval = match s.eval_samples {
        0 => String::new(),
        n => format!("  + {}", text::EVAL_SAMPLES.fill(lang, &[&words::count(n as u64)])),
    };
    line(out, Tone::Plain, text::SAMPLES, lang, words::count(s.samples as u64) + &eval);
    if s.answers > 0 {
        let answers = text::ANSWERS_EACH.fill(lang, &[&words::count(s.answers as u64), &words::count(s.evaluations)]);
        line(out, Tone::Plain, text::ANSWERS, lang, answers);
    }
    if s.warmup > 0 {
        line(out, Tone::Plain, text::WARMUP, lang, words::count(s.warmup));
    }
}

fn tokens(out: &mut Vec<Figure>, state: &State, e: &Estimate, lang: Lang) {
    let Some(t) = &e.tokens else { return };
    head(out, text::TOKENS, lang, short(t.total.max(0.0) as u64));
    let pictures = text::IN_PICTURES.fill(lang, &[&format!("{:.0}", t.mean_in_pictures)]);
    line(out, Tone::Plain, text::A_SAMPLE, lang, format!("{:.0} {pictures}", t.mean));
    line(out, Tone::Plain, text::LONGEST, lang, words::count(t.longest));
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let tone = |share: f64, bad: Tone| if share > 0.0 { bad } else { Tone::Plain };
    line(out, tone(t.cut_share, Tone::Warning), text::CUT, lang, percent(t.cut_share));
    line(out, tone(t.left_out_share, Tone::Error), text::LEFT_OUT, lang, percent(t.left_out_share));
    if t.bad_share > 0.0 {
        line(out, Tone::Error, text::BAD, lang, percent(t.bad_share));
    }
    if let Some((_, why)) = state.first_bad() {
        out.push(Figure { tone: Tone::Error, label: String::new(), value: clean_line(why, 300), minor: false });
    }
    let looked = text::LOOKED_AT.fill(lang, &[&words::count(t.looked_at as u64)]);
    out.push(Figure { tone: Tone::Dim, label: String::new(), value: looked, minor: true });
}

fn time(out: &mut Vec<Figure>, e: &Estimate, lang: Lang) {
    let Some(t) = &e.time else {
        head(out, text::TIME, lang, String::new());
        let value = text::TIME_UNKNOWN_LONG.get(lang).to_owned();
        return out.push(Figure { tone: Tone::Dim, label: String::new(), value, minor: false });
    };
    head(out, text::TIME, lang, format!("≈ {}", short_time(t.seconds)));
    if t.between.0 < t.between.1 {
        let between = format!("{} – {}", short_time(t.between.0), short_time(t.between.1));
        line(out, Tone::Plain, text::BETWEEN, lang, between);
    }
    line(out, Tone::Plain, text::PACE, lang, words::count(t.tokens_per_second.max(0.0) as u64));
    let runs = text::FROM_RUNS.fill(lang, &[&t.runs.len()]);
    let differ = if t.differ.is_empty() { String::new() } else { text::DIFFER.fill(lang, &[&t.differ.join(", ")]) };
    out.push(Figure { tone: Tone::Dim, label: String::new(), value: format!("{runs}{differ}"), minor: true });
}

fn disk(out: &mut Vec<Figure>, e: &Estimate, lang: Lang) {
    let Some(d) = &e.disk else { return };
    head(out, text::DISK, lang, words::size(d.total_bytes));
    let checkpoints = format!("{} × {}", d.checkpoints_held, words::size(d.checkpoint_bytes));
    line(out, Tone::Plain, text::CHECKPOINTS, lang, checkpoints);
    line(out, Tone::Plain, text::RESULT, lang, words::size(d.result_bytes));
    if let Some(free) = d.free_bytes {
        let (tone, verdict) = judged(d.verdict, lang);
        line(out, tone, text::DISK_FREE, lang, format!("{}  {verdict}", words::size(free)));
    }
}

/// Why there is nothing to show.
pub fn why_none(train: &Train, lang: Lang) -> String {
    let state = &train.estimate;
    if train.draft.profile().is_none() {
        return text::ESTIMATE_LATER.get(lang).to_owned();
    }
    match (state.error(), state.reading) {
        (_, true) => text::ESTIMATING.get(lang).to_owned(),
        (Some(why), false) => clean_line(why, 400),
        (None, false) => text::NO_ESTIMATE.get(lang).to_owned(),
    }
}

/// All figures on a page of their own, for windows that have no room beside the form.
pub fn page(app: &mut App) -> Effects {
    let lang = app.lang();
    let figures = all(&app.train.estimate, lang);
    let row = |f: &Figure| match f.tone {
        Tone::Head => format!("\n{}  {}", words::pad(&f.label, 28), f.value),
        _ if f.label.is_empty() => format!("  {}", f.value),
        _ => format!("  {}{}", words::pad(&f.label, 28), f.value),
    };
    let text = match figures.is_empty() {
        true => why_none(&app.train, lang),
        false => figures.iter().map(row).collect::<Vec<_>>().join("\n").trim_start().to_owned(),
    };
    app.open(Overlay::Page(Page { title: app.t(text::ESTIMATE).to_owned(), text, top: 0 }))
}
