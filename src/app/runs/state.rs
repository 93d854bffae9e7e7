//! What the Runs screen knows, and what follows from it.
use super::super::cursor::Cursor;
use super::chart::Chart;
use super::run::{Row, Run};
use super::series::Series;
use lightbox_core::runs::system::Machine;
use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use tui_input::Input;

/// A part of the screen that can have the focus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Part {
    #[default]
    List,
    Chart,
    Facts,
    Machine,
    Events,
    Log,
    Samples,
    Checkpoints,
}

impl Part {
    pub const ALL: [Self; 8] = [
        Self::List,
        Self::Chart,
        Self::Facts,
        Self::Machine,
        Self::Events,
        Self::Log,
        Self::Samples,
        Self::Checkpoints,
    ];

    /// The id of its list in [`crate::view::Hits`].
    pub fn list(self) -> &'static str {
        match self {
            Self::List => "runs.list",
            Self::Chart => "runs.chart",
            Self::Facts => "runs.facts",
            Self::Machine => "runs.machine",
            Self::Events => "runs.events",
            Self::Log => "runs.log",
            Self::Samples => "runs.samples",
            Self::Checkpoints => "runs.checkpoints",
        }
    }
}

/// How much is seen at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// The list, or one part of the run.
    Small,
    /// List, facts, chart and one more part.
    Medium,
    /// Everything.
    Large,
}

impl Room {
    /// Of a terminal with so many columns and rows.
    pub fn of(size: (u16, u16)) -> Self {
        match size {
            (160.., 46..) => Self::Large,
            (100.., 30..) => Self::Medium,
            _ => Self::Small,
        }
    }
}

/// Runs that can be laid over each other: one colour each.
pub const MARKS: usize = 5;

/// A curve that is followed.
#[derive(Debug, Clone, Default)]
pub struct Curve {
    pub token: u64,
    pub series: Series,
    /// Everything that was in the file has arrived.
    pub whole: bool,
    /// Lines that could not be read.
    pub damaged: u64,
}

#[derive(Debug, Default)]
pub struct Runs {
    /// The newest first.
    pub rows: Vec<Row>,
    /// The first look at the runs is done.
    pub loaded: bool,
    /// Those that fit the filter, by index.
    pub shown: Vec<usize>,
    pub list: Cursor,
    pub filter: Input,
    pub typing: bool,
    /// Archived runs are listed, too.
    pub archived: bool,
    /// Runs whose curves lie over each other, each with its colour.
    pub marked: Vec<(usize, PathBuf)>,
    pub curves: HashMap<PathBuf, Curve>,
    pub chosen: Option<PathBuf>,
    pub run: Run,
    pub chart: Chart,
    pub focus: Part,
    /// What is shown where there is room for one part below the chart.
    pub lower: Part,
    /// The part with the focus has the whole screen.
    pub expanded: bool,
    /// This machine, while no run of it writes down how it is.
    pub machine: VecDeque<Machine>,
    pub visible: bool,
    /// What the monitor was told last.
    pub(super) monitored: bool,
    tokens: u64,
}

impl Runs {
    /// When something changes that no event tells of: ages. A live run sends news by itself, at its own pace.
    pub fn next_tick(&self, now_ms: u64) -> Option<u64> {
        let row = self.row().filter(|_| self.visible)?;
        Some(now_ms + if row.is_live() { 1_000 } else { 60_000 })
    }

    pub fn row(&self) -> Option<&Row> {
        let chosen = self.chosen.as_ref()?;
        self.rows.iter().find(|row| row.path == *chosen)
    }

    pub fn row_of(&self, path: &Path) -> Option<&Row> {
        self.rows.iter().find(|row| row.path == path)
    }

    /// What is below the chart where there is room for one part.
    pub fn below(&self) -> Part {
        match self.lower {
            Part::List | Part::Chart | Part::Facts => Part::Events,
            part => part,
        }
    }

    /// Whether the machine's part is on a screen of this size.
    pub fn sees_machine(&self, size: (u16, u16)) -> bool {
        match Room::of(size) {
            _ if self.chosen.is_none() => false,
            _ if self.expanded => self.focus == Part::Machine,
            Room::Small => self.focus == Part::Machine,
            Room::Medium => self.below() == Part::Machine,
            Room::Large => true,
        }
    }

    pub(super) fn under_cursor(&self) -> Option<&Row> {
        self.shown.get(self.list.at).map(|i| &self.rows[*i])
    }

    pub fn series(&self) -> Option<&Series> {
        self.curves.get(self.chosen.as_ref()?).map(|curve| &curve.series)
    }

    /// The runs of the chart, each with the number of its colour.
    pub fn overlaid(&self) -> Vec<(usize, PathBuf)> {
        let mut all = self.marked.clone();
        if let Some(chosen) = &self.chosen
            && !all.iter().any(|(_, path)| path == chosen)
        {
            all.insert(0, (self.free_colour(), chosen.clone()));
        }
        all
    }

    pub(super) fn free_colour(&self) -> usize {
        (0..=MARKS).find(|n| !self.marked.iter().any(|(colour, _)| colour == n)).unwrap_or(MARKS)
    }

    /// How far the curves of the chart reach.
    pub fn extent(&self) -> (f64, f64) {
        let extents = self.curves.values().filter_map(|curve| curve.series.extent(self.chart.axis));
        extents.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or((0.0, 1.0))
    }

    pub(super) fn next_token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }

    /// Which rows the list shows, and that the cursor stays on the chosen run.
    pub(super) fn arrange(&mut self) {
        let typed = self.filter.value().to_lowercase();
        let fits = |row: &Row| {
            let words = [row.summary.name.as_str(), row.summary.id.as_str()];
            let tags = row.summary.tags.iter().map(String::as_str);
            let state = crate::cli::runs::words::status(row.summary.state);
            words.into_iter().chain(tags).chain([state.as_str()]).any(|word| word.to_lowercase().contains(&typed))
        };
        self.shown = (0..self.rows.len())
            .filter(|i| (self.archived || !self.rows[*i].archived) && (typed.is_empty() || fits(&self.rows[*i])))
            .collect();
        self.list.set_len(self.shown.len());
        let chosen = self.shown.iter().position(|i| Some(&self.rows[*i].path) == self.chosen.as_ref());
        if let Some(at) = chosen {
            self.list.at = at;
        }
    }
}
