//! Words of the Runs screen, and how states, commands and events are put in both languages.
use super::{Lang, T};
use crate::app::runs::Part;
use crate::app::runs::chart::Metric;
use crate::cli::runs::words;
use crate::texts;
use lightbox_core::runs::commands::{Command, StopWhen};
use lightbox_core::runs::queue::State as Queued;
use lightbox_core::runs::record::{Ack, Answers, Event, Phase};
use lightbox_core::runs::state::Status;
use lightbox_core::runs::view::Summary;

texts! {
    TITLE = "Runs", "运行";
    NO_RUNS = "There are no runs yet.", "还没有运行。";
    NO_RUNS_NEXT = "2 opens Train: choose a profile and start one. Runs that were started by `lightbox train` appear here by themselves.", "按 2 打开“训练”，选择配置并启动。用 lightbox train 启动的运行也会自动出现在这里。";
    NOTHING_FITS = "No run fits the filter.", "没有符合筛选条件的运行。";
    NOTHING_FITS_NEXT = "esc clears it; . shows archived runs, too.", "按 Esc 清除筛选；按 . 同时显示已归档的运行。";
    LOOKING = "looking for runs…", "正在查找运行…";
    COUNT_RUNNING = "{0} running", "{0} 个运行中";
    COUNT_PAUSED = "{0} paused", "{0} 个已暂停";
    RUN_ENDED = "{0} is {1}", "{0}：{1}";
    ARCHIVED = "archived", "已归档";
    DAMAGED = "damaged", "已损坏";
    SUSPENDED = "{0}, suspended", "{0}（进程被挂起）";
    STALLED = "{0}, stalled {1}", "{0}（{1} 无进展）";

    LOSS = "loss", "损失";
    LR = "learning rate", "学习率";
    GRAD_NORM = "gradient norm", "梯度范数";
    SPEED = "tokens per second", "每秒词元数";
    MEMORY = "memory", "内存";
    SMOOTHED = "smoothed", "平滑";
    RAW = "raw", "原始";
    EVALUATION = "evaluation", "评估";
    BLEU_4 = "BLEU-4", "BLEU-4";
    ROUGE_1 = "ROUGE-1", "ROUGE-1";
    ROUGE_2 = "ROUGE-2", "ROUGE-2";
    ROUGE_L = "ROUGE-L", "ROUGE-L";
    EXACT_MATCH = "exact match", "完全匹配";
    ANSWERS = "answers", "回答";
    LABEL = "label", "标签";
    LOG = "log", "对数";
    BY_STEP = "step", "步";
    BY_TIME = "time", "时间";
    NO_CURVE = "No update has been made yet.", "还没有任何更新。";
    NO_VALUES = "This run has no values of this kind in this part.", "这一段没有该指标的数值。";
    READING = "reading the curve…", "正在读取曲线…";

    STEP = "step", "步数";
    EPOCH = "epoch", "轮次";
    BEST = "best", "最佳";
    TIME_LEFT = "left", "剩余";
    ELAPSED = "elapsed", "已用";
    THROUGHPUT = "throughput", "吞吐";
    PER_STEP = "{0} a step", "每步 {0}";
    TOKENS = "{0} tokens/s", "{0} 词元/秒";
    CHECKPOINT = "checkpoint", "检查点";
    TAGS = "tags", "标签";
    NOTE = "note", "备注";
    PARENT_OF = "forked", "派生";
    PARENT = "from {0}, {1}", "源自 {0} 的 {1}";
    FOLDER = "folder", "文件夹";
    WHY = "why", "原因";
    NEXT = "next", "下一步";
    AT_STEP = "(step {0})", "（第 {0} 步）";

    MACHINE = "GPU", "GPU";
    NO_GPU = "No NVIDIA GPU: the run computes on the CPU.", "没有 NVIDIA GPU：运行在 CPU 上计算。";
    NO_GPU_HERE = "No NVIDIA GPU here: runs compute on the CPU.", "本机没有 NVIDIA GPU：运行将在 CPU 上计算。";
    MEASURING = "measuring…", "正在测量…";
    CPU = "CPU", "CPU";
    WORKER_MEMORY = "worker's memory", "进程内存";
    MACHINE_MEMORY = "memory", "内存";
    DISK_FREE = "disk free", "磁盘可用";
    LOAD = "load", "负载";
    CORES = "{0} cores", "{0} 核";
    HELD_DOWN = "held down: {0}", "降频原因：{0}";
    CLOCKS = "{0} MHz", "{0} MHz";
    FAN = "fan {0} %", "风扇 {0} %";
    PROCESSES = "processes", "进程";
    THIS_RUN = "this run", "本次运行";
    LAST_KNOWN = "as it was when the run ended", "运行结束时的状态";
    NOW_HERE = "this machine, now", "本机当前状态";

    EVENTS = "Events", "事件";
    NO_EVENTS = "Nothing has happened yet.", "还没有事件。";
    LOG_TITLE = "Log", "日志";
    NO_LOG = "The worker has printed nothing.", "工作进程还没有输出。";
    SAMPLES = "Samples", "样本";
    NO_SAMPLES = "The model has not been asked yet.", "还没有向模型提问。";
    NO_SAMPLES_NEXT = "a asks it now, with its present weights.", "按 a 立即用当前权重提问。";
    CHECKPOINTS = "Checkpoints", "检查点";
    NO_CHECKPOINTS = "No checkpoint has been written yet.", "还没有写入检查点。";
    NO_CHECKPOINTS_NEXT = "c writes one now.", "按 c 立即写入。";
    PINNED = "pinned", "已固定";
    IS_BEST = "best", "最佳";
    PICTURES = "{0} pictures", "{0} 张图片";
    FACTS = "Facts", "概况";

    ASKED = "Asked the run: {0} …", "已向运行发出：{0} …";
    APPLIED = "{0}: done at step {1}", "{0}：在第 {1} 步完成";
    ACCEPTED = "{0}: accepted, not done yet; the events will tell", "{0}：已接受，尚未完成；请看事件";
    KILLED = "The worker did not answer and was killed (pid {0})", "工作进程没有响应，已被强制结束（pid {0}）";
    OUT_OF_QUEUE = "Taken out of the queue; it had not begun", "已移出队列；它尚未开始";
    RESUMED = "The run goes on (pid {0})", "运行继续（pid {0}）";
    FORKED = "{0} begins at {1}; r starts it", "{0} 从 {1} 开始；按 r 启动";
    REMOVED = "Deleted {0}", "已删除 {0}";
    LABELLED = "Saved for {0}", "已为 {0} 保存";
    WAS_ARCHIVED = "{0} is archived; . lists it, too", "{0} 已归档；按 . 可显示";
    PIN_SET = "checkpoint-{0} stays, whatever save_total_limit says", "checkpoint-{0} 已固定，不受 save_total_limit 影响";
    PIN_GONE = "checkpoint-{0} is left to save_total_limit again", "checkpoint-{0} 重新由 save_total_limit 管理";
    EXPORTED = "Written: {0}", "已写入：{0}";
    BAD_QUOTES = "A quote is not closed in: {0}", "引号没有闭合：{0}";
    TOO_MANY_MARKS = "At most {0} runs lie over each other; space takes one away", "最多叠加 {0} 个运行；按空格取消一个";

    STOP_TITLE = "Stop {0}", "停止 {0}";
    STOP_NOW = "now", "立即";
    STOP_NOW_DOC = "with a checkpoint; only the half-made update is given up", "写入检查点，仅放弃未完成的更新";
    STOP_STEP = "after this update", "本次更新后";
    STOP_STEP_DOC = "with a checkpoint; nothing is lost", "写入检查点，不丢失任何进度";
    STOP_EVAL = "after the next evaluation", "下次评估后";
    STOP_EVAL_DOC = "with a checkpoint", "写入检查点";
    STOP_EPOCH = "after this epoch", "本轮结束后";
    STOP_EPOCH_DOC = "with a checkpoint", "写入检查点";
    STOP_BARE = "now, without a checkpoint", "立即，不写检查点";
    STOP_BARE_DOC = "what was done since the last checkpoint is lost", "丢失上个检查点之后的进度";
    STOP_KILL = "kill", "强制结束";
    STOP_KILL_DOC = "at once, no checkpoint; also a worker that hangs", "立刻结束，不写检查点；可结束卡死的进程";
    STOP_QUEUED = "take it out of the queue", "移出队列";

    RESUME_TITLE = "Resume {0}", "恢复 {0}";
    RESUME_LABEL = "other settings as key=value …, or nothing", "以 key=value 修改参数，留空则不变";
    FORK_TITLE = "Fork {0}", "派生 {0}";
    FORK_LABEL = "other settings as key=value …, or nothing", "以 key=value 修改参数，留空则不变";
    RENAME_TITLE = "Rename {0}", "重命名 {0}";
    RENAME_LABEL = "name", "名称";
    TAG_TITLE = "Tags of {0}", "{0} 的标签";
    TAG_LABEL = "words with blanks between them", "以空格分隔";
    NOTE_TITLE = "Note about {0}", "{0} 的备注";
    NOTE_LABEL = "note", "备注";
    CHECKPOINT_TITLE = "Checkpoint of {0}", "为 {0} 写检查点";
    CHECKPOINT_LABEL = "label, or nothing; it is pinned", "标签，可留空；该检查点会被固定";
    PROMPT_TITLE = "Ask {0}", "向 {0} 提问";
    PROMPT_LABEL = "question; nothing: one of the data's own", "问题；留空则用数据集中的一条";
    SET_TITLE = "Change a setting of {0}", "修改 {0} 的参数";
    SET_ANY = "key=value", "key=value";
    SET_LR_SCALE = "multiplies the learning rate; 0 or more", "学习率乘以该系数，不小于 0";
    SET_MAX_STEPS = "updates in the whole run", "整个运行的更新次数";
    SET_SAVE_STEPS = "updates between two checkpoints", "两个检查点之间的更新次数";
    SET_EVAL_STEPS = "updates between two evaluations", "两次评估之间的更新次数";
    SET_LOGGING_STEPS = "updates between two reports", "两次日志之间的更新次数";
    SET_SKIP_SAMPLE = "index of a sample to leave out from now on", "从现在起跳过的样本序号";

    REMOVE_TITLE = "Remove {0}", "删除 {0}";
    REMOVE_TEXT = "{0} is deleted from the disk: {1}, with {2} checkpoints, curves, log and the final adapter. This cannot be undone.", "将从磁盘删除 {0}：共 {1}，包括 {2} 个检查点、曲线、日志和最终适配器。此操作无法撤销。";
    REMOVE_FOREIGN = "In the folder lies, too, what is not the run's, and it goes as well: {0}", "文件夹中还有不属于该运行的内容，也会一并删除：{0}";

    QUEUE_TITLE = "Queue", "队列";
    QUEUE_EMPTY = "The queue is empty; Train puts runs there", "队列为空；可在“训练”中加入";
    QUEUE_WAITING = "waiting", "等待中";
    QUEUE_STARTED = "started", "已启动";
    QUEUE_DONE = "done", "完成";
    QUEUE_FAILED = "failed: {0}", "失败：{0}";
    QUEUE_SHOW = "show it", "查看";
    QUEUE_UP = "earlier", "提前";
    QUEUE_DOWN = "later", "推后";
    QUEUE_FIRST = "first", "排到最前";
    QUEUE_LAST = "last", "排到最后";
    QUEUE_REMOVE = "take it out", "移出队列";
    QUEUE_CHANGED = "The queue is changed", "队列已更改";

    EXPORT_TITLE = "Export the chart", "导出曲线";
    EXPORT_PNG = "PNG picture", "PNG 图片";
    EXPORT_PNG_DOC = "the loss, raw and smoothed, with evaluations", "损失曲线：原始、平滑与评估";
    EXPORT_CSV = "CSV numbers", "CSV 数据";
    EXPORT_CSV_DOC = "every update with all its numbers", "每次更新的全部数值";
    DAMAGED_LINES = "{0} damaged lines", "{0} 行损坏";

    DO_PAUSE = "pause", "暂停";
    DO_RESUME = "resume", "继续";
    DO_STOP = "stop", "停止";
    DO_KILL = "kill", "强制结束";
    DO_CHECKPOINT = "checkpoint", "检查点";
    DO_EVALUATE = "evaluate", "评估";
    DO_SAMPLE = "ask", "提问";
    DO_SET = "set {0}={1}", "设置 {0}={1}";
    DO_PING = "ping", "探测";

    CREATED = "created", "已创建";
    QUEUED = "queued", "排队中";
    STARTING = "starting", "启动中";
    PREPARING = "preparing", "准备中";
    RUNNING = "running", "运行中";
    PAUSED = "paused", "已暂停";
    STOPPING = "stopping", "停止中";
    STOPPED = "stopped", "已停止";
    FINISHING = "finishing", "收尾中";
    FINISHED = "finished", "已完成";
    FAILED = "failed", "失败";
    CRASHED = "crashed", "已崩溃";

    PH_LOADING = "loading the model", "加载模型";
    PH_DATA = "preparing the data", "准备数据";
    PH_PROBING = "probing memory", "探测显存";
    PH_TRAINING = "training", "训练";
    PH_EVALUATING = "evaluating", "评估";
    PH_SAMPLING = "answering", "回答问题";
    PH_CHECKPOINTING = "writing a checkpoint", "写入检查点";
}

pub fn part(part: Part) -> T {
    match part {
        Part::List => TITLE,
        Part::Chart => LOSS,
        Part::Facts => FACTS,
        Part::Machine => MACHINE,
        Part::Events => EVENTS,
        Part::Log => LOG_TITLE,
        Part::Samples => SAMPLES,
        Part::Checkpoints => CHECKPOINTS,
    }
}

pub fn metric(metric: Metric) -> T {
    match metric {
        Metric::Loss => LOSS,
        Metric::Lr => LR,
        Metric::GradNorm => GRAD_NORM,
        Metric::Speed => SPEED,
        Metric::Memory => MEMORY,
        Metric::Bleu4 => BLEU_4,
        Metric::Rouge1 => ROUGE_1,
        Metric::Rouge2 => ROUGE_2,
        Metric::RougeL => ROUGE_L,
        Metric::ExactMatch => EXACT_MATCH,
    }
}

/// What answers are worth, the three numbers that are wanted most.
pub fn answers(a: &Answers, lang: Lang) -> String {
    match lang {
        Lang::En => words::answers(a),
        Lang::Zh => {
            let (bleu, rouge, exact) = (a.bleu_4, a.rouge_l, a.exact_match);
            format!("BLEU-4 {bleu:.2}，ROUGE-L {rouge:.2}，完全匹配 {exact:.1} %")
        }
    }
}

pub fn phase(phase: Phase) -> T {
    match phase {
        Phase::LoadingModel => PH_LOADING,
        Phase::PreparingData => PH_DATA,
        Phase::ProbingMemory => PH_PROBING,
        Phase::Training => PH_TRAINING,
        Phase::Evaluating => PH_EVALUATING,
        Phase::Sampling => PH_SAMPLING,
        Phase::Checkpointing => PH_CHECKPOINTING,
    }
}

pub fn status(status: Status, lang: Lang) -> &'static str {
    let word = match status {
        Status::Created => CREATED,
        Status::Queued => QUEUED,
        Status::Starting => STARTING,
        Status::Preparing => PREPARING,
        Status::Running => RUNNING,
        Status::Paused => PAUSED,
        Status::Stopping => STOPPING,
        Status::Stopped => STOPPED,
        Status::Finishing => FINISHING,
        Status::Finished => FINISHED,
        Status::Failed => FAILED,
        Status::Crashed => CRASHED,
    };
    word.get(lang)
}

/// The state, and what is wrong with it.
pub fn state_of(run: &Summary, lang: Lang) -> String {
    let state = status(run.state, lang);
    match run.stalled_ms {
        _ if run.error.is_some() => DAMAGED.get(lang).to_owned(),
        _ if run.suspended => SUSPENDED.fill(lang, &[&state]),
        Some(ms) => STALLED.fill(lang, &[&state, &words::time(ms)]),
        None => state.to_owned(),
    }
}

pub fn command(command: &Command, lang: Lang) -> String {
    let word = match command {
        Command::Pause => DO_PAUSE,
        Command::Resume => DO_RESUME,
        Command::Stop(stop) => {
            let when = match stop.when {
                StopWhen::Now if !stop.checkpoint => STOP_BARE,
                StopWhen::Now => STOP_NOW,
                StopWhen::AfterStep => STOP_STEP,
                StopWhen::AfterEval => STOP_EVAL,
                StopWhen::AfterEpoch => STOP_EPOCH,
            };
            return format!("{} ({})", DO_STOP.get(lang), when.get(lang));
        }
        Command::Kill => DO_KILL,
        Command::CheckpointNow(_) => DO_CHECKPOINT,
        Command::EvaluateNow(_) => DO_EVALUATE,
        Command::SampleNow(_) => DO_SAMPLE,
        Command::Set(edit) => {
            let (key, value) = edit.words();
            return DO_SET.fill(lang, &[&key, &value]);
        }
        Command::Ping => DO_PING,
    };
    word.get(lang).to_owned()
}

pub fn queue_state(state: &Queued, lang: Lang) -> String {
    match state {
        Queued::Waiting => QUEUE_WAITING.get(lang).into(),
        Queued::Started { .. } => QUEUE_STARTED.get(lang).into(),
        Queued::Done => QUEUE_DONE.get(lang).into(),
        Queued::Failed { reason } => QUEUE_FAILED.fill(lang, &[reason]),
    }
}

/// An event in one sentence; `None` for those that say nothing to a person. In English the command line's words. What a
/// reason or a warning says comes from the files as it is.
pub fn event(event: &Event, lang: Lang) -> Option<String> {
    match lang {
        Lang::En => words::event(event),
        Lang::Zh => event_zh(event),
    }
}

fn event_zh(event: &Event) -> Option<String> {
    let hint = |text: &str, hint: &Option<String>| hint.iter().fold(text.to_owned(), |t, h| format!("{t}；{h}"));
    let state = |state| status(state, Lang::Zh);
    Some(match event {
        Event::Header(h) => match &h.resumed_from {
            Some(from) => format!("第 {} 次启动，从 {from} 继续（pid {}，{}）", h.attempt, h.pid, h.app),
            None => format!("第 {} 次启动（pid {}，{}）", h.attempt, h.pid, h.app),
        },
        Event::State { to, reason, step, .. } => match reason {
            Some(reason) => format!("第 {step} 步{}：{}", state(*to), hint(&reason.text, &reason.hint)),
            None => format!("第 {step} 步{}", state(*to)),
        },
        Event::CheckpointSaved { path, bytes, write_ms, .. } => {
            format!("已写入 {path}：{}，用时 {}", words::size(*bytes), words::time(*write_ms))
        }
        Event::CheckpointAdopted { path, .. } => format!("{path} 完整可用（进程在记录前已退出）"),
        Event::CheckpointQuarantined { path, reason, .. } => format!("{path} 已移到一边：{reason}"),
        Event::CheckpointFailed { path, error, .. } => format!("{path} 未能写入：{error}"),
        Event::CheckpointDeleted { path, .. } => format!("{path} 已删除（save_total_limit）"),
        Event::Warning { text, hint: h, .. } => format!("警告：{}", hint(text, h)),
        Event::DataIssue { source, sample, reason, action, .. } => {
            let action = if action == "skipped" { "已跳过" } else { "被拒绝" };
            format!("样本 {sample} {action}（{source}）：{reason}")
        }
        Event::ResumeVerified { steps: 0, .. } => return None,
        Event::ResumeVerified { from_step, steps, exact: true, .. } => {
            format!("第 {from_step} 步起重做的 {steps} 次更新与之前逐位相同")
        }
        Event::ResumeVerified { first_diff, max_rel_diff, .. } => {
            format!("重做的更新从第 {} 步起不同（损失最大相差 {max_rel_diff:.1e}）", first_diff.unwrap_or_default())
        }
        Event::Changed { what, key, before, after } => format!("检查点之后有变化：{what} {key}：{before} → {after}"),
        Event::Setting { key, value, step, by } => format!("{by} 将 {key} 设为 {value}，从第 {step} 步起生效"),
        Event::Answered { step, path, answers: a, dt_ms } => format!(
            "第 {step} 步回答了 {} 个评估样本，用时 {}：{}；{path}",
            a.n,
            words::time(*dt_ms),
            answers(a, Lang::Zh)
        ),
        Event::Sample { step, prompt, text, .. } => format!("第 {step} 步提问：{prompt} → {text}"),
        Event::CommandAck { cmd, status, effective_step, error, .. } => match (status, error) {
            (Ack::Accepted, _) => return None,
            (Ack::Applied, _) => format!("{cmd} 在第 {effective_step} 步完成"),
            (Ack::Rejected, error) => format!("{cmd} 被拒绝：{}", error.as_deref().unwrap_or("没有给出原因")),
        },
        Event::Dropped { class, count } => format!("磁盘太慢，略去了 {count} 条 {class} 记录"),
        Event::Exited { code, signal, oom_kill, restart, .. } => {
            let how = match (signal, code) {
                (Some(signal), _) => format!("被信号 {signal} 结束"),
                (None, code) => format!("退出，代码 {}", code.unwrap_or_default()),
            };
            let oom = if *oom_kill { "；系统内存不足（OOM killer）" } else { "" };
            let again = if *restart { "；将重新启动" } else { "" };
            format!("工作进程{how}{oom}{again}")
        }
        Event::Phase { .. } | Event::CheckpointBegin { .. } | Event::Unknown => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_languages_pass_over_the_same_events() {
        let saved = Event::CheckpointSaved {
            step: 5,
            path: "checkpoint-5".into(),
            bytes: 1_000,
            write_ms: 5,
            reason: Default::default(),
        };
        let ack =
            |status| Event::CommandAck { id: "1".into(), cmd: "pause".into(), status, effective_step: 3, error: None };
        let answered = Event::Answered { step: 5, path: "a.jsonl".into(), answers: Answers::default(), dt_ms: 1_000 };
        let events = [saved, answered, ack(Ack::Accepted), ack(Ack::Applied), ack(Ack::Rejected), Event::Unknown];
        for e in &events {
            let (en, zh) = (event(e, Lang::En), event(e, Lang::Zh));
            assert_eq!(en.is_some(), zh.is_some(), "{e:?}");
            assert!(en.is_none() || en != zh, "{e:?}");
        }
        assert_eq!(event(&events[3], Lang::Zh).unwrap(), "pause 在第 3 步完成");
    }
}
