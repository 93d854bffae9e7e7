//! How runs are put into words: states, sizes, ages, events.

use lightbox_core::runs::progress::short_time;
use lightbox_core::runs::record::{Ack, Answers, Event, Metric, SystemRecord};
use lightbox_core::runs::state::Status;
use lightbox_core::runs::view::Summary;

/// A state as in the files: `running`.
pub fn status(status: Status) -> String {
    format!("{status:?}").to_lowercase()
}

/// The state, and what is wrong with it.
pub fn state_of(run: &Summary) -> String {
    let state = status(run.state);
    match run.stalled_ms {
        _ if run.error.is_some() => "damaged".into(),
        _ if run.suspended => format!("{state}, suspended"),
        Some(ms) => format!("{state}, stalled {}", time(ms)),
        None => state,
    }
}

/// A time in milliseconds.
pub fn time(ms: u64) -> String {
    short_time(ms as f64 / 1000.0)
}

/// How long ago; nothing for a time that was never set.
pub fn age(now_ms: u64, then_ms: u64) -> String {
    if then_ms == 0 { String::new() } else { time(now_ms.saturating_sub(then_ms)) }
}

/// `1.4 GB`; factors of 1000, as disks are sold.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut x, mut unit) = (bytes as f64, 0);
    while x >= 999.5 && unit + 1 < UNITS.len() {
        (x, unit) = (x / 1000.0, unit + 1);
    }
    let digits = usize::from(unit > 0 && x < 99.95);
    format!("{x:.digits$} {}", UNITS[unit])
}

pub fn loss(loss: Option<f64>) -> String {
    loss.map(|loss| format!("{loss:.4}")).unwrap_or_default()
}

/// What answers are worth, the three numbers that are wanted most.
pub fn answers(a: &Answers) -> String {
    format!("BLEU-4 {:.2}, ROUGE-L {:.2}, exact match {:.1} %", a.bleu_4, a.rouge_l, a.exact_match)
}

/// `42/1250`
pub fn steps(step: u64, total: u64) -> String {
    if total == 0 { step.to_string() } else { format!("{step}/{total}") }
}

/// An event in one sentence; `None` for those that say nothing to a person.
pub fn event(event: &Event) -> Option<String> {
    let hint = |text: &str, hint: &Option<String>| hint.iter().fold(text.to_owned(), |t, h| format!("{t}; {h}"));
    Some(match event {
        Event::Header(h) => match &h.resumed_from {
            Some(from) => format!("attempt {} goes on from {from} (pid {}, {})", h.attempt, h.pid, h.app),
            None => format!("attempt {} begins (pid {}, {})", h.attempt, h.pid, h.app),
        },
        Event::State { to, reason, step, .. } => match reason {
            Some(reason) => format!("{} at step {step}: {}", status(*to), hint(&reason.text, &reason.hint)),
            None => format!("{} at step {step}", status(*to)),
        },
        Event::CheckpointSaved { path, bytes, write_ms, .. } => {
            format!("{path} written: {} in {}", size(*bytes), time(*write_ms))
        }
        Event::CheckpointAdopted { path, .. } => format!("{path} found whole, though its worker died before saying so"),
        Event::CheckpointQuarantined { path, reason, .. } => format!("{path} moved aside: {reason}"),
        Event::CheckpointFailed { path, error, .. } => format!("{path} not written: {error}"),
        Event::CheckpointDeleted { path, .. } => format!("{path} deleted (save_total_limit)"),
        Event::Warning { text, hint: h, .. } => format!("warning: {}", hint(text, h)),
        Event::DataIssue { source, sample, reason, action, .. } => {
            format!("sample {sample} {action} ({source}): {reason}")
        }
        Event::ResumeVerified { steps: 0, .. } => return None,
        Event::ResumeVerified { from_step, steps, exact: true, .. } => {
            format!("the {steps} updates made again since step {from_step} came out the same, bit for bit")
        }
        Event::ResumeVerified { first_diff, max_rel_diff, .. } => format!(
            "updates made again differ from step {} on (losses by up to {max_rel_diff:.1e})",
            first_diff.unwrap_or_default()
        ),
        Event::Changed { what, key, before, after } => {
            format!("changed since the checkpoint: {what} {key}: {before} → {after}")
        }
        Event::Setting { key, value, step, by } => format!("{key} set to {value} from step {step} on, by {by}"),
        Event::Answered { step, path, answers: a, dt_ms } => {
            format!("{} evaluation samples answered at step {step} in {}: {}; {path}", a.n, time(*dt_ms), answers(a))
        }
        Event::Sample { step, prompt, text, .. } => format!("asked at step {step}: {prompt} → {text}"),
        Event::CommandAck { cmd, status, effective_step, error, .. } => match (status, error) {
            (Ack::Accepted, _) => return None,
            (Ack::Applied, _) => format!("{cmd} done at step {effective_step}"),
            (Ack::Rejected, error) => format!("{cmd} refused: {}", error.as_deref().unwrap_or("no reason was given")),
        },
        Event::Dropped { class, count } => format!("{count} {class} records were left out: the disk was too slow"),
        Event::Exited { code, signal, oom_kill, restart, .. } => {
            let how = match (signal, code) {
                (Some(signal), _) => format!("was killed by signal {signal}"),
                (None, code) => format!("ended with code {}", code.unwrap_or_default()),
            };
            let oom = if *oom_kill { "; the kernel's out-of-memory killer was at work" } else { "" };
            let again = if *restart { "; it is started again" } else { "" };
            format!("the worker {how}{oom}{again}")
        }
        Event::Phase { .. } | Event::CheckpointBegin { .. } | Event::Unknown => return None,
    })
}

/// A line of `metrics.jsonl`.
pub fn metric(metric: &Metric) -> Option<String> {
    match metric {
        Metric::Step(s) => {
            let norm = s.grad_norm.map(|norm| format!("  norm {norm:.2}")).unwrap_or_default();
            let left_out = if s.skipped { "  not applied" } else { "" };
            let loss = s.loss.map_or_else(|| s.nonfinite.clone().unwrap_or_default(), |loss| format!("{loss:.4}"));
            Some(format!("step {}  loss {loss}  lr {:.2e}{norm}  {:.0} ms{left_out}", s.step, s.lr, s.dt_ms.total))
        }
        Metric::Eval(e) => {
            let worth = e.answers.map(|a| format!("; {} answers: {}", a.n, answers(&a))).unwrap_or_default();
            Some(format!("step {}  evaluation loss {} over {} samples{worth}", e.step, loss(e.loss), e.n))
        }
        Metric::Header(h) => Some(format!("attempt {}", h.attempt)),
        Metric::Unknown => None,
    }
}

/// A line of `system.jsonl`: GPUs, memory, disk.
pub fn system(record: &SystemRecord) -> Option<String> {
    let SystemRecord::System(s) = record else { return None };
    let mut parts: Vec<String> = Vec::new();
    for gpu in &s.gpus {
        let mut gpu_parts = vec![format!("GPU {} {}", gpu.index, gpu.name)];
        gpu_parts.extend(gpu.util_percent.map(|x| format!("{x}%")));
        if let (Some(used), Some(total)) = (gpu.mem_used_bytes, gpu.mem_total_bytes) {
            gpu_parts.push(format!("{} of {}", size(used), size(total)));
        }
        gpu_parts.extend(gpu.temp_c.map(|x| format!("{x} °C")));
        gpu_parts.extend(gpu.power_w.map(|x| format!("{x:.0} W")));
        if !gpu.throttle.is_empty() {
            gpu_parts.push(format!("held down: {}", gpu.throttle.join(", ")));
        }
        parts.push(gpu_parts.join(" "));
    }
    parts.extend(s.rss_bytes.map(|x| format!("memory {}", size(x))));
    parts.extend(s.cpu_percent.map(|x| format!("CPU {x:.0}%")));
    parts.extend(s.disk_free_bytes.map(|x| format!("disk {} free", size(x))));
    Some(parts.join("  "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_or_less() {
        let sizes = [0, 999, 1000, 1_450, 99_950, 999_499, 999_500, 485_000_000, 1_400_000_000_000_000];
        assert_eq!(sizes.map(size).join(", "), "0 B, 999 B, 1.0 kB, 1.4 kB, 100 kB, 999 kB, 1.0 MB, 485 MB, 1400 TB");
    }
}
