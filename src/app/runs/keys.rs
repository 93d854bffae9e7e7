//! The table of commands of the Runs screen.
use super::super::commands::{ALWAYS, Command, command};
use super::super::cursor::Move;
use super::chart::Metric;
use super::series::{Axis, WEIGHTS};
use super::steer::{self, Asked};
use super::{Effect, Part, chart_columns, effect, focus, run};
use crate::app::settings::next;
use crate::app::{App, Effects};
use crate::text::T;
use lightbox_core::runs::state::Status;

const CHOSEN: fn(&App) -> bool = |app| app.runs.row().is_some();
const LIVE: fn(&App) -> bool = |app| app.runs.row().is_some_and(run::Row::is_live);
const STOPPABLE: fn(&App) -> bool =
    |app| app.runs.row().is_some_and(|row| row.is_live() || row.summary.state == Status::Queued);
const ENDED: fn(&App) -> bool = |app| app.runs.row().is_some_and(|row| !row.is_live());

fn turn(app: &mut App, by: isize) -> Effects {
    let at = Part::ALL.iter().position(|part| *part == app.runs.focus).unwrap_or(0) as isize;
    let part = Part::ALL[(at + by).rem_euclid(Part::ALL.len() as isize) as usize];
    focus(app, part)
}

fn cursor(app: &mut App, by: isize) -> Effects {
    let (columns, full) = (chart_columns(app), app.runs.extent());
    app.runs.chart.move_cursor(by, columns, full);
    Vec::new()
}

fn window(app: &mut App, by: f64) -> Effects {
    let full = app.runs.extent();
    app.runs.chart.pan(by, full);
    Vec::new()
}

fn zoom(app: &mut App, by: f64) -> Effects {
    let full = app.runs.extent();
    app.runs.chart.zoom(by, full);
    Vec::new()
}

fn metric(app: &mut App, back: bool) -> Effects {
    let answered = app.runs.curves.values().any(|c| c.series.evals().iter().any(|eval| eval.answers.is_some()));
    // those of answers only where a run has some
    let mut all: Vec<Metric> = Metric::ALL.into_iter().filter(|metric| answered || metric.column().is_some()).collect();
    if back {
        all.reverse();
    }
    app.runs.chart.metric = next(&all, app.runs.chart.metric);
    Vec::new()
}

pub static COMMANDS: &[Command] = &[
    command(
        "runs-open",
        T("open", "打开"),
        T("Shows the chosen run: its chart gets the focus", "显示所选运行，焦点移到曲线"),
        &["enter"],
        20,
        |app| app.runs.focus == Part::List && app.runs.row().is_some(),
        |app| focus(app, Part::Chart),
    ),
    command(
        "runs-next-part",
        T("next part", "下一区域"),
        T(
            "List, chart, facts, GPU, events, log, samples, checkpoints",
            "列表、曲线、概况、GPU、事件、日志、样本、检查点",
        ),
        &["tab"],
        18,
        CHOSEN,
        |app| turn(app, 1),
    ),
    command(
        "runs-previous-part",
        T("previous part", "上一区域"),
        T("The other way round", "反方向切换区域"),
        &["shift-tab"],
        0,
        CHOSEN,
        |app| turn(app, -1),
    ),
    command(
        "runs-expand",
        T("expand", "放大"),
        T("The part with the focus takes the whole screen, and back", "当前区域占满屏幕，再按恢复"),
        &["z"],
        6,
        CHOSEN,
        |app| {
            app.runs.expanded = !app.runs.expanded;
            super::monitor(app)
        },
    ),
    command(
        "runs-filter",
        T("filter", "筛选"),
        T("By name, id, tag or state", "按名称、编号、标签或状态筛选"),
        &["/"],
        5,
        ALWAYS,
        |app| {
            (app.runs.typing, app.runs.focus, app.runs.expanded) = (true, Part::List, false);
            Vec::new()
        },
    ),
    command(
        "runs-mark",
        T("overlay", "叠加"),
        T("Lays this run's curves over those of the other marked ones", "把该运行的曲线与其他已标记的叠加显示"),
        &["space"],
        7,
        CHOSEN,
        |app| {
            let effects = steer::mark(app);
            if app.runs.focus == Part::List {
                let more = super::step(app, Part::List, Move::By(1));
                return effects.into_iter().chain(more).collect();
            }
            effects
        },
    ),
    command(
        "runs-unmark-all",
        T("no overlay", "取消叠加"),
        T("Takes all curves but the chosen run's away", "只保留所选运行的曲线"),
        &["u"],
        0,
        |app| !app.runs.marked.is_empty(),
        |app| {
            app.runs.marked.clear();
            super::follow(app)
        },
    ),
    command(
        "runs-pause",
        T("pause/resume", "暂停/继续"),
        T(
            "Pauses after this update, or goes on; weights stay on the device",
            "在本次更新后暂停，或继续；权重保留在设备上",
        ),
        &["p"],
        16,
        CHOSEN,
        steer::pause,
    ),
    command(
        "runs-stop",
        T("stop…", "停止…"),
        T("Ends the run; asks how", "结束运行，并询问方式"),
        &["s"],
        15,
        STOPPABLE,
        steer::stop,
    ),
    command(
        "runs-checkpoint",
        T("checkpoint", "检查点"),
        T("Writes a checkpoint now, pinned, with a label if you like", "立即写入检查点并固定，可加标签"),
        &["c"],
        13,
        LIVE,
        |app| steer::ask_label(app, Asked::CheckpointLabel),
    ),
    command("runs-evaluate", T("evaluate", "评估"), T("Evaluates now", "立即评估"), &["e"], 11, LIVE, steer::evaluate),
    command(
        "runs-sample",
        T("ask", "提问"),
        T("The model answers with its present weights", "让模型用当前权重回答问题"),
        &["a"],
        10,
        LIVE,
        |app| steer::ask_label(app, Asked::Prompt),
    ),
    command(
        "runs-set",
        T("settings", "参数"),
        T(
            "Changes lr_scale, max_steps, save_steps, eval_steps, logging_steps or skip_sample while it runs",
            "运行中修改 lr_scale、max_steps、save_steps、eval_steps、logging_steps 或 skip_sample",
        ),
        &["t"],
        9,
        LIVE,
        steer::choose_setting,
    ),
    command(
        "runs-resume",
        T("resume…", "恢复…"),
        T("Goes on from the newest checkpoint, with other settings if you like", "从最新检查点继续，可修改参数"),
        &["r"],
        14,
        |app| ENDED(app) || app.runs.row().is_some_and(|row| row.summary.state == Status::Paused),
        steer::ask_resume,
    ),
    command(
        "runs-fork",
        T("fork…", "派生…"),
        T("A new run that goes on from this one's newest checkpoint", "从最新检查点派生一个新的运行"),
        &["f"],
        4,
        CHOSEN,
        |app| steer::ask_label(app, Asked::ForkWith),
    ),
    command(
        "runs-metric",
        T("metric", "指标"),
        T(
            "Loss, learning rate, gradient norm, throughput, memory; BLEU-4, ROUGE and exact match of answers",
            "损失、学习率、梯度范数、吞吐量、内存；回答的 BLEU-4、ROUGE 和完全匹配",
        ),
        &["m"],
        12,
        CHOSEN,
        |app| metric(app, false),
    ),
    command(
        "runs-metric-back",
        T("metric back", "上一指标"),
        T("The metric before", "切换到上一个指标"),
        &["M"],
        0,
        CHOSEN,
        |app| metric(app, true),
    ),
    command(
        "runs-log-scale",
        T("log scale", "对数刻度"),
        T("Logarithmic or linear", "切换对数或线性刻度"),
        &["l"],
        3,
        CHOSEN,
        |app| {
            app.runs.chart.log = !app.runs.chart.log;
            Vec::new()
        },
    ),
    command(
        "runs-axis",
        T("steps/time", "步数/时间"),
        T("By updates or by time of work", "横轴为步数或训练时间"),
        &["x"],
        0,
        CHOSEN,
        |app| {
            app.runs.chart.axis = next(&[Axis::Step, Axis::Time], app.runs.chart.axis);
            app.runs.chart.reset();
            Vec::new()
        },
    ),
    command(
        "runs-smooth",
        T("smoothing", "平滑"),
        T("How strongly the loss is smoothed", "调整损失曲线的平滑程度"),
        &["S"],
        0,
        CHOSEN,
        |app| {
            app.runs.chart.smoothing = (app.runs.chart.smoothing + 1) % WEIGHTS.len();
            let weight = WEIGHTS[app.runs.chart.smoothing];
            app.runs.curves.values_mut().for_each(|curve| curve.series.smooth(weight));
            Vec::new()
        },
    ),
    command(
        "runs-zoom-in",
        T("zoom in", "放大曲线"),
        T("Nearer, around the cursor or the end", "以光标或末端为中心放大"),
        &["+", "="],
        2,
        CHOSEN,
        |app| zoom(app, 0.5),
    ),
    command(
        "runs-zoom-out",
        T("zoom out", "缩小曲线"),
        T("Further away", "缩小曲线"),
        &["-"],
        0,
        CHOSEN,
        |app| zoom(app, 2.0),
    ),
    command(
        "runs-zoom-all",
        T("all of it", "显示全部"),
        T("The whole curve, without cursor", "显示完整曲线并取消光标"),
        &["0"],
        0,
        CHOSEN,
        |app| {
            app.runs.chart.reset();
            Vec::new()
        },
    ),
    command(
        "runs-cursor-left",
        T("cursor left", "光标左移"),
        T("A cursor on the chart with the exact values", "曲线上的光标，显示精确数值"),
        &["left"],
        0,
        CHOSEN,
        |app| cursor(app, -1),
    ),
    command(
        "runs-cursor-right",
        T("cursor right", "光标右移"),
        T("A cursor on the chart with the exact values", "曲线上的光标，显示精确数值"),
        &["right"],
        0,
        CHOSEN,
        |app| cursor(app, 1),
    ),
    command(
        "runs-cursor-far-left",
        T("far left", "光标快速左移"),
        T("The cursor by ten columns", "光标左移十列"),
        &["shift-left", "H"],
        0,
        CHOSEN,
        |app| cursor(app, -10),
    ),
    command(
        "runs-cursor-far-right",
        T("far right", "光标快速右移"),
        T("The cursor by ten columns", "光标右移十列"),
        &["shift-right", "L"],
        0,
        CHOSEN,
        |app| cursor(app, 10),
    ),
    command(
        "runs-earlier",
        T("earlier", "更早"),
        T("Moves the window of a zoomed chart to the left", "放大后窗口左移"),
        &["["],
        0,
        CHOSEN,
        |app| window(app, -0.5),
    ),
    command(
        "runs-later",
        T("later", "更晚"),
        T("Moves the window of a zoomed chart to the right", "放大后窗口右移"),
        &["]"],
        0,
        CHOSEN,
        |app| window(app, 0.5),
    ),
    command(
        "runs-export",
        T("export…", "导出…"),
        T("The chart as a PNG picture, or its numbers as CSV", "将曲线导出为 PNG 图片或 CSV 数据"),
        &["w"],
        1,
        CHOSEN,
        steer::choose_export,
    ),
    command(
        "runs-pin",
        T("pin", "固定"),
        T("Keeps the chosen checkpoint whatever save_total_limit says, or no longer", "固定或取消固定所选检查点"),
        &["P"],
        17,
        |app| app.runs.focus == Part::Checkpoints && !app.runs.run.checkpoints.is_empty(),
        steer::pin,
    ),
    command(
        "runs-rename",
        T("rename…", "重命名…"),
        T("Another name; the folder keeps its own", "更改名称，文件夹名不变"),
        &["R"],
        0,
        CHOSEN,
        |app| steer::ask_label(app, Asked::Name),
    ),
    command(
        "runs-tag",
        T("tags…", "标签…"),
        T("Words to find it by", "用于查找的标签"),
        &["T"],
        0,
        CHOSEN,
        |app| steer::ask_label(app, Asked::Tags),
    ),
    command(
        "runs-note",
        T("note…", "备注…"),
        T("A note about this run", "为该运行写备注"),
        &["N"],
        0,
        CHOSEN,
        |app| steer::ask_label(app, Asked::Note),
    ),
    command(
        "runs-archive",
        T("archive", "归档"),
        T("Hides the run from the list, or shows it there again", "从列表中隐藏，或重新显示"),
        &["A"],
        0,
        CHOSEN,
        steer::archive,
    ),
    command(
        "runs-show-archived",
        T("archived too", "显示归档"),
        T("Lists archived runs, too, or not", "是否同时列出已归档的运行"),
        &["."],
        0,
        ALWAYS,
        |app| {
            app.runs.archived = !app.runs.archived;
            app.runs.arrange();
            Vec::new()
        },
    ),
    command(
        "runs-remove",
        T("remove…", "删除…"),
        T("Deletes the run's folder; asks first and says what is lost", "删除运行文件夹，先确认并说明会失去什么"),
        &["D", "del"],
        0,
        ENDED,
        |app| app.runs.chosen.clone().map(|run| effect(Effect::Measure(run))).into_iter().collect(),
    ),
    command(
        "runs-queue",
        T("queue…", "队列…"),
        T("Runs that wait for the device: order, remove", "查看等待设备的运行：调整顺序或移除"),
        &["Q"],
        0,
        ALWAYS,
        |_| vec![effect(Effect::ReadQueue)],
    ),
    command(
        "runs-copy-path",
        T("copy path", "复制路径"),
        T("The folder of the run or of the chosen checkpoint, to the clipboard", "复制运行或所选检查点的文件夹路径"),
        &["y"],
        0,
        CHOSEN,
        steer::copy_path,
    ),
];
