//! The list of models and adapters.
use super::super::ui::{ListActions, Ui};
use super::super::words;
use crate::app::Action;
use crate::app::cursor::Move;
use crate::app::models::entry::{Entry, Kind, Lack, Origin};
use crate::app::models::work::{Job, State};
use crate::app::models::{LIST, Models, Msg, Pane, Row};
use crate::text::{T, common, models as text};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

const ACTIONS: ListActions = ListActions {
    click: |i| Action::Models(Msg::Move(Move::To(i))),
    open: Some(|_| Action::Run("models-menu")),
    wheel: |n| Action::Models(Msg::Move(Move::By(n))),
};

/// Widths of the columns; 0: there is no room for it.
struct Columns {
    kind: usize,
    name: usize,
    size: usize,
    dtype: usize,
    origin: usize,
    state: usize,
}

impl Columns {
    fn of(width: usize) -> Self {
        let kind = if width >= 56 { 11 } else { 0 };
        let dtype = if width >= 64 { 6 } else { 0 };
        let origin = if width >= 84 { (width / 4).min(34) } else { 0 };
        let size = 9;
        // one blank after each
        let rest = width.saturating_sub(kind + dtype + origin + size + 2);
        let state = (rest * 2 / 5).clamp(9, 34);
        Self { kind, name: rest.saturating_sub(state + 1), size, dtype, origin, state }
    }
}

pub fn draw(ui: &mut Ui, area: Rect) {
    let models = &ui.app.models;
    let rows = models.rows();
    let inner = ui.panel(area, ui.t(common::MODELS), models.focus == Pane::List);
    let shown = rows.iter().filter(|row| matches!(row, Row::Entry(_))).count();
    if shown < models.entries.len() {
        let note = text::SHOWN.fill(ui.app.lang(), &[&shown, &models.entries.len()]);
        ui.panel_note(area, &note);
    }
    let filter = models.typing || !models.filter.value().is_empty();
    let [field, inner] = Layout::vertical([Constraint::Length(u16::from(filter)), Constraint::Fill(1)]).areas(inner);
    if filter {
        let word = format!("{} ", ui.t(common::FILTER));
        let width = words::width(&word) as u16;
        ui.line(field, Line::styled(word, ui.theme.dim));
        let rest = Rect { x: field.x + width, width: field.width.saturating_sub(width), ..field };
        ui.input(rest, &models.filter, models.typing);
    }
    if rows.is_empty() {
        return empty(ui, inner);
    }
    let columns = Columns::of(usize::from(inner.width.saturating_sub(1)));
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(inner);
    ui.line(head, header(ui, &columns));
    let mut cursor = models.cursor;
    cursor.set_len(rows.len());
    let focused = models.focus == Pane::List;
    ui.list(body, LIST, &cursor, focused, ACTIONS, |ui, i| match rows[i] {
        Row::Bases => heading(ui, text::BASES),
        Row::Adapters => heading(ui, text::ADAPTERS),
        Row::Entry(at) => entry(ui, &ui.app.models, &ui.app.models.entries[at], &columns),
        Row::Job(at) => job(ui, &ui.app.models.jobs[at], &columns),
    });
}

fn heading(ui: &Ui, title: T) -> Line<'static> {
    Line::styled(format!(" {}", ui.t(title)), ui.theme.accent)
}

fn empty(ui: &mut Ui, area: Rect) {
    let models = &ui.app.models;
    let query = models.filter.value().trim();
    if !models.known {
        ui.empty(area, ui.t(common::LOADING), "");
    } else if query.is_empty() {
        ui.empty(area, ui.t(text::EMPTY_TITLE), ui.t(text::EMPTY_NEXT));
    } else {
        let title = text::NOTHING_FITS.fill(ui.app.lang(), &[&lightbox_core::safe_text::clean_line(query, 60)]);
        ui.empty(area, &title, ui.t(text::NOTHING_FITS_NEXT));
    }
}

fn header(ui: &Ui, c: &Columns) -> Line<'static> {
    let mut line = String::from(" ");
    for (word, width) in [(text::KIND_BASE, c.kind), (text::NAME, c.name)] {
        let word = if word == text::KIND_BASE { "" } else { ui.t(word) };
        line += &words::pad(word, width);
    }
    line += &words::pad_left(ui.t(text::SIZE), c.size);
    line += &format!(" {}", words::pad(if c.dtype > 0 { ui.t(text::TYPE) } else { "" }, c.dtype));
    line += &words::pad(if c.origin > 0 { ui.t(text::ORIGIN) } else { "" }, c.origin);
    line += ui.t(text::STATE);
    Line::styled(line, ui.theme.dim)
}

fn entry(ui: &Ui, models: &Models, entry: &Entry, c: &Columns) -> Line<'static> {
    let kind = match entry.kind {
        Kind::Base => text::KIND_BASE,
        Kind::Export => text::KIND_EXPORT,
        Kind::Adapter => text::KIND_ADAPTER,
        Kind::Checkpoint => text::KIND_CHECKPOINT,
    };
    // the end of a path tells it from others, and that of a run's checkpoints
    let name = match (&entry.origin, entry.kind) {
        (Origin::Folder, _) | (_, Kind::Checkpoint) => words::cut_left(&entry.name, c.name.saturating_sub(1)),
        _ => words::cut(&entry.name, c.name.saturating_sub(1)),
    };
    let (state, style) = match models.job_of(entry) {
        Some(job) => job_state(ui, job, c.state),
        None => state(ui, entry, c.state),
    };
    Line::from(vec![
        Span::raw(" "),
        Span::styled(words::pad(ui.t(kind), c.kind), ui.theme.dim),
        Span::raw(words::pad(&name, c.name)),
        Span::raw(words::pad_left(&words::size(entry.bytes), c.size)),
        Span::styled(format!(" {}", words::pad(&entry.dtype, c.dtype)), ui.theme.dim),
        Span::styled(words::pad(&words::cut(&origin(ui, entry), c.origin.saturating_sub(1)), c.origin), ui.theme.dim),
        Span::styled(words::cut(&state, c.state), style),
    ])
}

/// Where it came from, in a few words.
pub fn origin(ui: &Ui, entry: &Entry) -> String {
    match &entry.origin {
        Origin::Hub(cached) => {
            let commit: String = cached.commit.chars().take(8).collect();
            let at = if cached.revision == cached.commit { commit } else { cached.revision.clone() };
            lightbox_core::safe_text::clean_line(&format!("{}@{at}", cached.id), 200)
        }
        Origin::Run { name, .. } => {
            text::FROM_RUN.fill(ui.app.lang(), &[&lightbox_core::safe_text::clean_line(name, 100)])
        }
        Origin::Folder => ui.t(text::FROM_FOLDER).to_owned(),
    }
}

fn state(ui: &Ui, entry: &Entry, room: usize) -> (String, Style) {
    match &entry.lack {
        None => (ui.t(text::WHOLE).to_owned(), ui.theme.good),
        Some(Lack::Half { here, of: Some(of) }) if room < 24 => {
            let percent = u128::from(*here) * 100 / u128::from((*of).max(1));
            (text::HALF_PERCENT.fill(ui.app.lang(), &[&percent.min(99)]), ui.theme.warning)
        }
        Some(Lack::Half { here, of: Some(of) }) => {
            let text = text::HALF_OF.fill(ui.app.lang(), &[&words::size(*here), &words::size(*of)]);
            (text, ui.theme.warning)
        }
        Some(Lack::Half { of: None, .. }) => (ui.t(text::HALF).to_owned(), ui.theme.warning),
        Some(Lack::Files(files)) => {
            let first = files.first().map_or("", String::as_str);
            (text::LACKS.fill(ui.app.lang(), &[&first]), ui.theme.error)
        }
    }
}

/// What is not in the list yet.
fn job(ui: &Ui, job: &Job, c: &Columns) -> Line<'static> {
    let room = c.state + c.origin + c.dtype + c.size + 2;
    let (state, style) = job_state(ui, job, room);
    let name = words::pad(&words::cut(&job.name(), (c.kind + c.name).saturating_sub(1)), c.kind + c.name);
    Line::from(vec![Span::raw(" "), Span::raw(name), Span::raw(" "), Span::styled(words::cut(&state, room), style)])
}

fn job_state(ui: &Ui, job: &Job, room: usize) -> (String, Style) {
    match &job.state {
        State::Listing => (ui.t(text::LOOKING).to_owned(), ui.theme.accent),
        State::Offered => (ui.t(text::WAITING).to_owned(), ui.theme.accent),
        State::Failed(why) => (format!("{}: {why}", ui.t(text::FAILED)), ui.theme.error),
        State::Running => (progress(ui, job, room), ui.theme.accent),
    }
}

/// `━━━━━──── 27 % 85.0 MB/s · 38s · model.safetensors`, as much of it as there is room for.
fn progress(ui: &Ui, job: &Job, room: usize) -> String {
    let task = job.task.and_then(|id| ui.app.tasks.get(id));
    let Some(task) = task else { return ui.t(common::RUNNING).to_owned() };
    if task.state == crate::app::tasks::State::Stopping {
        return format!("{}…", ui.t(common::CANCEL));
    }
    let share = task.share().unwrap_or_default();
    // rounded down: 100 % means done
    let percent = format!("{:>3.0} %", (share * 100.0).floor());
    let bar = if room >= 18 { (room / 4).min(16) } else { 0 };
    let full = (share * bar as f64) as usize;
    let bar = if bar > 0 { format!("{}{} ", "━".repeat(full), "─".repeat(bar - full)) } else { String::new() };
    format!("{bar}{percent} {}", lightbox_core::safe_text::clean_line(&task.progress.note, 200))
}
