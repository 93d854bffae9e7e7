//! GPUs: from the run's own record while it lives, else this machine now. Everything where there is room, one line each
//! where there is little; the processor and the memory where there is no GPU.
use super::super::ui::Ui;
use super::super::words;
use super::fact;
use crate::app::runs::Part;
use crate::text::runs as text;
use lightbox_core::runs::record::Gpu;
use lightbox_core::safe_text::clean_line;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// Lines of a GPU with everything.
const FULL: u16 = 5;

/// One look, whoever took it.
struct Look<'a> {
    gpus: &'a [Gpu],
    cpu: Option<f64>,
    cores: Option<usize>,
    /// Used, and of how much.
    memory: (Option<u64>, Option<u64>),
    load: Option<f64>,
    disk: Option<u64>,
    /// It is the run's worker that is told of, not the machine.
    of_run: bool,
}

/// The newest looks, the newest last.
fn looks<'a>(ui: &Ui<'a>) -> Vec<Look<'a>> {
    let runs = &ui.app.runs;
    let live = runs.row().is_some_and(|row| row.is_live());
    if live || runs.machine.is_empty() {
        let of_run = |s: &'a lightbox_core::runs::record::System| Look {
            gpus: &s.gpus,
            cpu: s.cpu_percent,
            cores: None,
            memory: (s.rss_bytes, None),
            load: s.load_1min,
            disk: s.disk_free_bytes,
            of_run: true,
        };
        return runs.run.system.iter().map(of_run).collect();
    }
    let of_machine = |m: &'a lightbox_core::runs::system::Machine| Look {
        gpus: &m.gpus,
        cpu: m.cpu_percent,
        cores: Some(m.cpus),
        memory: (m.memory_used_bytes, m.memory_total_bytes),
        load: m.load_1min,
        disk: m.disk_free_bytes,
        of_run: false,
    };
    runs.machine.iter().map(of_machine).collect()
}

/// How many GPUs there are to show.
pub fn gpus(ui: &Ui) -> usize {
    looks(ui).last().map_or(0, |look| look.gpus.len())
}

pub fn draw(ui: &mut Ui, area: Rect) {
    let looks = looks(ui);
    let live = ui.app.runs.row().is_some_and(|row| row.is_live());
    let inner = ui.panel(area, ui.t(text::MACHINE), ui.app.runs.focus == Part::Machine);
    let Some(look) = looks.last() else {
        return ui.line(inner, Line::styled(ui.t(text::MEASURING), ui.theme.dim));
    };
    let note = match (look.of_run, live) {
        (true, true) => None,
        (true, false) => Some(text::LAST_KNOWN),
        (false, _) => Some(text::NOW_HERE),
    };
    if let Some(note) = note {
        ui.panel_note(area, ui.t(note));
    }
    if look.gpus.is_empty() {
        return without(ui, inner, &looks);
    }
    let n = look.gpus.len() as u16;
    let full = inner.height >= n * FULL;
    let mut y = inner.y;
    for (i, gpu) in look.gpus.iter().enumerate() {
        let height = if full { FULL } else { 1 }.min(inner.bottom().saturating_sub(y));
        let place = Rect { y, height, ..inner };
        if height == 0 {
            break;
        }
        let history: Vec<u32> = looks.iter().filter_map(|look| look.gpus.get(i)?.util_percent).collect();
        if full {
            gpu_full(ui, place, gpu, &history)
        } else {
            gpu_line(ui, place, gpu, &history)
        }
        y += height;
    }
    processes(ui, Rect { y, height: inner.bottom().saturating_sub(y), ..inner }, look.gpus);
}

fn memory(gpu: &Gpu) -> Option<(u64, u64)> {
    gpu.mem_used_bytes.zip(gpu.mem_total_bytes).filter(|(_, total)| *total > 0)
}

fn power(gpu: &Gpu) -> Option<String> {
    let limit = gpu.power_limit_w.map(|w| format!("/{w:.0}")).unwrap_or_default();
    gpu.power_w.map(|w| format!("{w:.0}{limit} W"))
}

/// Hot, or held down: the eye should find it.
fn heat(ui: &Ui, gpu: &Gpu) -> Style {
    match gpu.temp_c {
        Some(85..) => ui.theme.error,
        Some(75..) => ui.theme.warning,
        _ => ui.theme.base,
    }
}

/// `0 NVIDIA H100 ▁▃▅▇ 97 %  41/85 GB  62 °C  612 W`
fn gpu_line(ui: &mut Ui, area: Rect, gpu: &Gpu, history: &[u32]) {
    let mut spans = vec![Span::styled(format!("{} ", gpu.index), ui.theme.strong)];
    spans.extend(gpu.util_percent.map(|u| Span::styled(format!("{u:>3} %"), ui.theme.accent)));
    spans.extend(
        memory(gpu).map(|(used, total)| Span::raw(format!("  {} / {}", words::size(used), words::size(total)))),
    );
    spans.extend(gpu.temp_c.map(|t| Span::styled(format!("  {t} °C"), heat(ui, gpu))));
    spans.extend(power(gpu).map(|p| Span::raw(format!("  {p}"))));
    if !gpu.throttle.is_empty() && held(gpu) {
        spans.push(Span::styled("  !", ui.theme.warning));
    }
    let used: usize = spans.iter().map(|span| words::width(&span.content)).sum();
    let room = usize::from(area.width).saturating_sub(used + 2);
    let name = words::cut(&clean_line(&gpu.name, 60), room / 2);
    let spark = spark(history, room.saturating_sub(words::width(&name) + 1).min(40));
    spans.push(Span::styled(format!("  {spark}"), ui.theme.accent));
    spans.push(Span::styled(format!(" {name}"), ui.theme.dim));
    ui.line(area, Line::from(spans));
}

fn gpu_full(ui: &mut Ui, area: Rect, gpu: &Gpu, history: &[u32]) {
    let lang = ui.app.lang();
    let row = |n: u16| Rect { y: area.y + n, height: 1, ..area };
    let mut head = vec![
        Span::styled(format!("{} ", gpu.index), ui.theme.strong),
        Span::styled(clean_line(&gpu.name, 60), ui.theme.strong),
    ];
    head.extend(gpu.temp_c.map(|t| Span::styled(format!("  {t} °C"), heat(ui, gpu))));
    head.extend(power(gpu).map(|p| Span::raw(format!("  {p}"))));
    ui.line(row(0), Line::from(head));
    let util = gpu.util_percent.map(|u| format!(" {u:>3} %")).unwrap_or_default();
    bar(ui, row(1), gpu.util_percent.map(|u| f64::from(u) / 100.0), &util);
    if let Some((used, total)) = memory(gpu) {
        let share = used as f64 / total as f64;
        let words_of = format!(" {} / {}", words::size(used), words::size(total));
        bar(ui, row(2), Some(share), &words_of);
    }
    let spark = spark(history, area.width.into());
    ui.line(row(3), Line::styled(spark, ui.theme.accent));
    let mut last = Vec::new();
    last.extend(gpu.sm_clock_mhz.map(|mhz| text::CLOCKS.fill(lang, &[&mhz])));
    last.extend(gpu.mem_clock_mhz.map(|mhz| format!("{} {}", ui.t(text::MEMORY), text::CLOCKS.fill(lang, &[&mhz]))));
    last.extend(gpu.fan_percent.map(|fan| text::FAN.fill(lang, &[&fan])));
    let mut spans = vec![Span::styled(last.join(" · "), ui.theme.dim)];
    if held(gpu) {
        let why = text::HELD_DOWN.fill(lang, &[&clean_line(&gpu.throttle.join(", "), 100)]);
        spans.push(Span::styled(format!("  {why}"), ui.theme.warning));
    }
    ui.line(row(4), Line::from(spans));
}

/// An idle GPU's clock is low for no reason that anyone has to know.
fn held(gpu: &Gpu) -> bool {
    gpu.throttle.iter().any(|why| !matches!(why.as_str(), "GPU_IDLE" | "NONE" | "APPLICATIONS_CLOCKS_SETTING"))
}

fn bar(ui: &mut Ui, area: Rect, share: Option<f64>, after: &str) {
    let width = (words::width(after) as u16).min(area.width / 2).max(14.min(area.width / 2));
    let Some(share) = share else { return };
    ui.gauge(Rect { width: area.width - width, ..area }, share);
    let right = Rect { x: area.right() - width, width, ..area };
    ui.line(right, Line::raw(after.to_owned()));
}

/// The last seconds as bars of 0 to 100.
fn spark(history: &[u32], width: usize) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    history.iter().skip(history.len().saturating_sub(width)).map(|p| BARS[(*p as usize).min(100) * 8 / 100]).collect()
}

fn processes(ui: &mut Ui, area: Rect, gpus: &[Gpu]) {
    let pid = ui.app.runs.row().and_then(|row| row.summary.pid);
    let all: Vec<_> = gpus.iter().flat_map(|gpu| gpu.processes.iter().map(move |p| (gpu.index, p))).collect();
    if all.is_empty() || area.height < 2 {
        return;
    }
    ui.line(area, Line::styled(ui.t(text::PROCESSES), ui.theme.dim));
    let rest = Rect { y: area.y + 1, height: area.height - 1, ..area };
    let lines: Vec<Line> = all
        .into_iter()
        .map(|(index, process)| {
            let mine = pid == Some(process.pid);
            let memory = process.mem_bytes.map(words::size).unwrap_or_default();
            let mut spans = vec![
                Span::raw(format!("{index} {:>8} ", process.pid)),
                Span::styled(words::pad_left(&memory, 8), ui.theme.strong),
                Span::raw(format!("  {}", clean_line(&process.name, 60))),
            ];
            if mine {
                spans.push(Span::styled(format!("  {}", ui.t(text::THIS_RUN)), ui.theme.accent));
            }
            Line::from(spans)
        })
        .collect();
    ui.lines(rest, lines);
}

/// No GPU: says so, and shows what computes instead.
fn without(ui: &mut Ui, area: Rect, looks: &[Look]) {
    let Some(look) = looks.last() else { return };
    let lang = ui.app.lang();
    let title = if look.of_run { text::NO_GPU } else { text::NO_GPU_HERE };
    let rows = ui.text(area, ui.t(title), ui.theme.dim);
    const NAME: usize = 16;
    let mut lines = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        lines.extend(value.map(|value| fact(ui, name, vec![Span::raw(value)], NAME)));
    };
    let cores = look.cores.map(|n| format!(" ({})", text::CORES.fill(lang, &[&n]))).unwrap_or_default();
    add(ui.t(text::CPU), look.cpu.map(|percent| format!("{percent:.0} %{cores}")));
    let total = look.memory.1.map(|total| format!(" / {}", words::size(total))).unwrap_or_default();
    let name = if look.of_run { text::WORKER_MEMORY } else { text::MACHINE_MEMORY };
    add(ui.t(name), look.memory.0.map(|used| words::size(used) + &total));
    add(ui.t(text::LOAD), look.load.map(|load| format!("{load:.2}")));
    add(ui.t(text::DISK_FREE), look.disk.map(words::size));
    let below = Rect { y: area.y + rows, height: area.height.saturating_sub(rows), ..area };
    let used = (lines.len() as u16).min(below.height);
    ui.lines(below, lines);
    // several busy threads of a worker give more than 100 %: the highest of the history is the top
    let cpu: Vec<f64> = looks.iter().filter_map(|look| look.cpu).collect();
    let top = cpu.iter().copied().fold(100.0, f64::max);
    let history: Vec<u32> = cpu.iter().map(|percent| (percent * 100.0 / top) as u32).collect();
    let last = Rect { y: below.y + used, height: below.height.saturating_sub(used).min(1), ..below };
    ui.line(last, Line::styled(spark(&history, last.width.into()), ui.theme.accent));
}
