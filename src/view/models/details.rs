//! The chosen model or adapter in full.
use super::super::ui::Ui;
use super::super::words;
use super::{list, shown};
use crate::app::Action;
use crate::app::cursor::Move;
use crate::app::models::entry::{AdapterFacts, BaseFacts, Entry, Facts, Lack};
use crate::app::models::export::verdict;
use crate::app::models::work::{Job, State, Work};
use crate::app::models::{Chosen, DETAILS, Msg, Pane};
use crate::text::{T, common, models as text};
use lightbox_core::safe_text::clean_line;
use ratatui::layout::{Margin, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// Columns of the names of facts; the longest fits in both languages.
const LABEL: usize = 14;

pub fn draw(ui: &mut Ui, area: Rect) {
    let models = &ui.app.models;
    let title = match models.chosen() {
        Some(Chosen::Entry(entry)) => entry.name.clone(),
        Some(Chosen::Job(job)) => job.name(),
        None => ui.t(text::DETAILS).to_owned(),
    };
    let inner = ui.panel(area, &title, models.focus == Pane::Details).inner(Margin::new(1, 0));
    let mut sheet = Sheet { width: usize::from(inner.width.saturating_sub(1)), lines: Vec::new() };
    match models.chosen() {
        Some(Chosen::Entry(entry)) => {
            if let Some(job) = models.job_of(entry) {
                about_job(ui, job, &mut sheet);
            }
            about(ui, entry, &mut sheet);
        }
        Some(Chosen::Job(job)) => about_job(ui, job, &mut sheet),
        None => return,
    }
    let top = models.top.min(sheet.lines.len().saturating_sub(usize::from(inner.height)));
    let rows = sheet.lines.len();
    let all = Rect { width: inner.width + 1, ..inner };
    ui.note_list(all, DETAILS, top, rows, |n| Action::Models(Msg::Scroll(Move::By(n))));
    ui.lines(inner, sheet.lines.into_iter().skip(top));
    ui.scrollbar(all, top, rows);
}

struct Sheet {
    width: usize,
    lines: Vec<Line<'static>>,
}

impl Sheet {
    fn text(&mut self, text: &str, style: Style) {
        let lines = words::wrap(text, self.width);
        self.lines.extend(lines.into_iter().map(|line| Line::styled(line, style)));
    }

    /// A fact with its name; what is empty is left out.
    fn fact(&mut self, ui: &Ui, name: T, value: &str, style: Style) {
        if value.is_empty() {
            return;
        }
        let room = self.width.saturating_sub(LABEL).max(8);
        for (i, line) in words::wrap(value, room).into_iter().enumerate() {
            let name = if i == 0 { ui.t(name) } else { "" };
            let name = Span::styled(words::pad(name, LABEL), ui.theme.dim);
            self.lines.push(Line::from(vec![name, Span::styled(line, style)]));
        }
    }

    fn gap(&mut self) {
        self.lines.push(Line::default());
    }
}

fn about(ui: &Ui, entry: &Entry, sheet: &mut Sheet) {
    let (base, lang) = (ui.theme.base, ui.app.lang());
    match &entry.lack {
        Some(Lack::Half { .. }) if ui.app.models.job_of(entry).is_none() => {
            let (here, of) = match entry.lack {
                Some(Lack::Half { here, of }) => (here, of),
                _ => (0, None),
            };
            let of = of.map_or_else(|| "?".to_owned(), words::size);
            sheet.text(&text::HALF_OF.fill(lang, &[&words::size(here), &of]), ui.theme.warning);
            sheet.text(ui.t(text::GO_ON), ui.theme.warning);
            sheet.gap();
        }
        Some(Lack::Files(files)) => sheet.fact(ui, text::LACK, &files.join("\n"), ui.theme.error),
        _ => {}
    }
    if let Some(found) = ui.app.models.verified.get(&entry.path) {
        let style = if found.tokens_equal { ui.theme.good } else { ui.theme.warning };
        sheet.fact(ui, text::VERIFIED, &verdict(found, lang), style);
    }
    match &entry.facts {
        Facts::Base(facts) => about_base(ui, facts, sheet),
        Facts::Adapter(facts) => about_adapter(ui, facts, sheet),
    }
    if entry.parameters > 0 {
        let dtype = if entry.dtype.is_empty() { String::new() } else { format!(" · {}", entry.dtype) };
        sheet.fact(ui, text::PARAMETERS, &format!("{}{dtype}", words::count(entry.parameters)), base);
    }
    sheet.fact(ui, text::SIZE, &words::size(entry.bytes), base);
    sheet.fact(ui, text::LICENCE, &entry.licence, base);
    sheet.fact(ui, text::ORIGIN, &list::origin(ui, entry), base);
    sheet.fact(ui, text::PATH, &shown(&entry.path), base);
    sheet.gap();
    sheet.lines.push(Line::styled(format!("{} ({})", ui.t(text::FILES), entry.files.len()), ui.theme.accent));
    let room = sheet.width.saturating_sub(10);
    for (name, bytes) in &entry.files {
        sheet.lines.push(Line::from(vec![
            Span::raw(words::pad(&words::cut_left(name, room), room)),
            Span::styled(words::pad_left(&words::size(*bytes), 10), ui.theme.dim),
        ]));
    }
}

fn about_base(ui: &Ui, facts: &BaseFacts, sheet: &mut Sheet) {
    let base = ui.theme.base;
    let number = |n: Option<u64>| n.map_or_else(String::new, words::count);
    sheet.fact(ui, text::ARCHITECTURE, &facts.architecture, base);
    if !facts.known && !facts.architecture.is_empty() {
        sheet.fact(ui, text::ARCHITECTURE, ui.t(text::UNKNOWN_ARCHITECTURE), ui.theme.warning);
    }
    sheet.fact(ui, text::HIDDEN, &number(facts.hidden), base);
    sheet.fact(ui, text::LAYERS, &number(facts.layers), base);
    sheet.fact(ui, text::VOCABULARY, &number(facts.vocabulary), base);
    let there = |yes: bool| ui.t(if yes { text::THERE } else { text::NOT_THERE });
    sheet.fact(ui, text::TOKENIZER, there(facts.tokenizer), base);
    sheet.fact(ui, text::PROCESSOR, there(facts.processor), base);
    let template = if facts.chat_template { text::THERE } else { text::TEMPLATE_BUILT_IN };
    sheet.fact(ui, text::TEMPLATE, ui.t(template), base);
}

fn about_adapter(ui: &Ui, facts: &AdapterFacts, sheet: &mut Sheet) {
    let (base, lang) = (ui.theme.base, ui.app.lang());
    let here = if facts.base_path.is_some() { text::BASE_HERE } else { text::BASE_NOT_HERE };
    let style = if facts.base_path.is_some() { base } else { ui.theme.warning };
    if !facts.base.is_empty() {
        sheet.fact(ui, text::BASE, &here.fill(lang, &[&facts.base]), style);
    }
    let number = |n: Option<f64>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
    let (rank, alpha) = (number(facts.rank.map(|n| n as f64)), number(facts.alpha));
    sheet.fact(ui, text::METHOD, &text::METHOD_VALUE.fill(lang, &[&facts.method, &rank, &alpha]), base);
    sheet.fact(ui, text::TARGETS, &facts.targets.join(", "), base);
    if facts.step > 0 {
        let total = if facts.total > 0 { words::count(facts.total) } else { "?".to_owned() };
        let epoch = format!("{:.2}", facts.epoch);
        sheet.fact(
            ui,
            text::TRAINED,
            &text::TRAINED_VALUE.fill(lang, &[&words::count(facts.step), &total, &epoch]),
            base,
        );
    }
    sheet.fact(ui, text::LOSS, &facts.loss.map_or_else(String::new, |loss| format!("{loss:.4}")), base);
    let state = facts.state.map_or("", |state| crate::text::runs::status(state, lang));
    sheet.fact(ui, text::RUN, state, base);
}

fn about_job(ui: &Ui, job: &Job, sheet: &mut Sheet) {
    let lang = ui.app.lang();
    match &job.work {
        Work::Download { repo, revision } => {
            sheet.fact(ui, text::ORIGIN, &clean_line(repo, 200), ui.theme.base);
            sheet.fact(ui, text::REVISION, &clean_line(revision, 100), ui.theme.base);
        }
        Work::Export { out } => sheet.fact(ui, text::PATH, &shown(out), ui.theme.base),
    }
    match &job.state {
        State::Listing => sheet.text(ui.t(text::LOOKING), ui.theme.accent),
        State::Offered => sheet.text(ui.t(text::WAITING), ui.theme.accent),
        State::Failed(why) => {
            sheet.gap();
            sheet.text(why, ui.theme.error);
            sheet.gap();
            let next = if matches!(job.work, Work::Download { .. }) { text::TRY_AGAIN } else { text::PUT_AWAY };
            sheet.text(ui.t(next), ui.theme.dim);
        }
        State::Running => {
            if let Some(task) = job.task.and_then(|id| ui.app.tasks.get(id)) {
                let p = &task.progress;
                if p.total > 0 {
                    let of = common::OF.fill(lang, &[&words::size(p.done), &words::size(p.total)]);
                    let percent = (task.share().unwrap_or_default() * 100.0).floor();
                    sheet.fact(ui, text::STATE, &format!("{percent:.0} %, {of}"), ui.theme.accent);
                }
                sheet.text(&clean_line(&p.note, 300), ui.theme.dim);
            }
        }
    }
    sheet.gap();
}
