//! `trainer_log.jsonl`, from which LLaMA-Factory's web page draws its progress bar and curve: same keys, same order,
//! same formats (`train/callbacks.py`, `LogCallback`). Absent values are left out; the closing line of a run has
//! neither loss nor learning rate.
//!
//! Two of LLaMA-Factory's faults are not copied: after a resume it logs the repeated steps twice, and it divides this
//! session's time by all steps, so that times left and throughput are wrong.
use super::log::JsonLines;
use super::{RunDir, round};
use crate::python_json;
use serde::{Deserialize, Serialize};
use std::io;
use std::time::{Duration, Instant};

/// One line.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogLine {
    pub current_steps: u64,
    pub total_steps: u64,
    /// Mean loss of the updates since the last line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_loss: Option<f64>,
    /// The rate used in update `current_steps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<f64>,
    /// Two decimals.
    pub percentage: f64,
    /// `h:mm:ss`, with days in front from 24 hours on, as Python prints a timedelta.
    pub elapsed_time: String,
    pub remaining_time: String,
    /// Tokens per second, two decimals; only where tokens are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_tokens: Option<u64>,
}

/// What one line reports; the rest is the writer's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    pub step: u64,
    pub loss: Option<f64>,
    pub eval_loss: Option<f64>,
    pub lr: Option<f64>,
    pub epoch: Option<f64>,
    /// Input tokens since the run began, if they are counted.
    pub total_tokens: Option<u64>,
}

/// What the times of a session are measured against.
#[derive(Debug, Clone, Copy, Default)]
pub struct Session {
    pub total_steps: u64,
    /// Updates and tokens of earlier sessions.
    pub first_step: u64,
    pub first_tokens: u64,
}

impl Session {
    /// The line for `report`, `elapsed` after the session began.
    pub fn line(&self, report: &Report, elapsed: Duration) -> LogLine {
        let seconds = elapsed.as_secs_f64();
        let done = report.step.saturating_sub(self.first_step);
        let per_step = if done > 0 { seconds / done as f64 } else { 0.0 };
        let left = self.total_steps.saturating_sub(report.step) as f64 * per_step;
        let tokens = report.total_tokens.filter(|&tokens| tokens > 0);
        LogLine {
            current_steps: report.step,
            total_steps: self.total_steps,
            // NaN and infinities would not be JSON.
            loss: report.loss.filter(|x| x.is_finite()),
            eval_loss: report.eval_loss.filter(|x| x.is_finite()),
            lr: report.lr,
            epoch: report.epoch,
            percentage: if self.total_steps == 0 {
                100.0
            } else {
                round(report.step as f64 / self.total_steps as f64 * 100.0, 2)
            },
            elapsed_time: timedelta(seconds),
            remaining_time: timedelta(left),
            throughput: tokens
                .filter(|_| seconds > 0.0)
                .map(|tokens| round(tokens.saturating_sub(self.first_tokens) as f64 / seconds, 2)),
            total_tokens: tokens,
        }
    }
}

/// Appends to `trainer_log.jsonl`.
#[derive(Debug)]
pub struct TrainerLog {
    file: JsonLines,
    session: Session,
    started: Instant,
}

impl TrainerLog {
    /// Begins a session. Lines after `session.first_step`, left by an attempt that is now repeated, are dropped; a new
    /// run (`first_step` 0) begins with an empty log.
    pub fn open(dir: &RunDir, session: Session) -> io::Result<Self> {
        let path = dir.join(RunDir::TRAINER_LOG);
        let kept: String = match std::fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes)
                .lines()
                .filter(|line| keeps(line, session.first_step))
                .map(|line| format!("{line}\n"))
                .collect(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(e),
        };
        crate::fs::write_atomic(&path, kept.as_bytes())?;
        Ok(Self { file: JsonLines::open(&path)?, session, started: Instant::now() })
    }

    /// Writes one line.
    pub fn write(&mut self, report: &Report) -> io::Result<LogLine> {
        let line = self.session.line(report, self.started.elapsed());
        self.file.append(&python_json::line(&line)?)?;
        Ok(line)
    }
}

/// A line of the steps that are not repeated. The closing line of an earlier session has no value and goes, too.
fn keeps(line: &str, first_step: u64) -> bool {
    serde_json::from_str::<LogLine>(line).is_ok_and(|line| {
        line.current_steps <= first_step && first_step > 0 && (line.loss.is_some() || line.eval_loss.is_some())
    })
}

/// `str(timedelta(seconds=int(seconds)))`: `0:01:05`, `1 day, 0:00:00`, `2 days, 3:04:05`.
pub fn timedelta(seconds: f64) -> String {
    // `as` saturates, and turns NaN into 0.
    let seconds = seconds as u64;
    let clock = format!("{}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match seconds / 86_400 {
        0 => clock,
        1 => format!("1 day, {clock}"),
        days => format!("{days} days, {clock}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines 1, 9 and the last one of a LLaMA-Factory run, with the times they were written at.
    const GOLDEN: [(&str, f64); 3] = [
        (
            r#"{"current_steps": 1, "total_steps": 9, "loss": 12.148408889770508, "lr": 0.0, "epoch": 0.42857142857142855, "percentage": 11.11, "elapsed_time": "0:00:05", "remaining_time": "0:00:47", "throughput": 167.58, "total_tokens": 992}"#,
            5.91957,
        ),
        (
            r#"{"current_steps": 9, "total_steps": 9, "loss": 11.593911170959473, "lr": 9.903113209758097e-05, "epoch": 3.0, "percentage": 100.0, "elapsed_time": "0:00:32", "remaining_time": "0:00:00", "throughput": 178.36, "total_tokens": 5824}"#,
            32.6532,
        ),
        (
            r#"{"current_steps": 9, "total_steps": 9, "epoch": 3.0, "percentage": 100.0, "elapsed_time": "0:00:33", "remaining_time": "0:00:00", "throughput": 176.22, "total_tokens": 5824}"#,
            33.0496,
        ),
    ];

    #[test]
    fn lines_equal_those_of_llamafactory_byte_by_byte() {
        for (golden, seconds) in GOLDEN {
            let line: LogLine = serde_json::from_str(golden).unwrap();
            let report = Report {
                step: line.current_steps,
                loss: line.loss,
                eval_loss: None,
                lr: line.lr,
                epoch: line.epoch,
                total_tokens: line.total_tokens,
            };
            let session = Session { total_steps: 9, ..Session::default() };
            let ours = session.line(&report, Duration::from_secs_f64(seconds));
            assert_eq!(python_json::line(&ours).unwrap(), golden);
        }
    }

    #[test]
    fn after_a_resume_times_and_throughput_count_this_session_only() {
        let session = Session { total_steps: 100, first_step: 80, first_tokens: 8000 };
        let report = Report { step: 90, total_tokens: Some(9000), ..Report::default() };
        let line = session.line(&report, Duration::from_secs(20));
        assert_eq!((line.remaining_time.as_str(), line.throughput, line.percentage), ("0:00:20", Some(50.0), 90.0));
    }

    #[test]
    fn non_finite_losses_are_left_out_and_a_first_line_has_no_time_left() {
        let report = Report { loss: Some(f64::NAN), total_tokens: Some(0), ..Report::default() };
        let line = Session { total_steps: 5, ..Session::default() }.line(&report, Duration::ZERO);
        assert_eq!((line.loss, line.remaining_time.as_str(), line.throughput), (None, "0:00:00", None));
    }

    #[test]
    fn reopening_drops_lines_of_repeated_steps_and_torn_ones() {
        let temp = tempfile::tempdir().unwrap();
        let dir = RunDir::create(temp.path()).unwrap();
        let path = dir.join(RunDir::TRAINER_LOG);
        let session = Session { total_steps: 10, ..Session::default() };
        let mut log = TrainerLog::open(&dir, session).unwrap();
        for step in 1..=6 {
            log.write(&Report { step, loss: Some(1.0), ..Report::default() }).unwrap();
        }
        drop(log);
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("{\"current_steps\": 7, \"tot");
        std::fs::write(&path, text).unwrap();
        drop(TrainerLog::open(&dir, Session { first_step: 4, ..session }).unwrap());
        let steps: Vec<u64> = std::fs::read_to_string(&path)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<LogLine>(line).unwrap().current_steps)
            .collect();
        assert_eq!(steps, [1, 2, 3, 4]);
        drop(TrainerLog::open(&dir, session).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    }

    #[test]
    fn long_times_are_printed_as_python_prints_them() {
        assert_eq!(timedelta(3_725.9), "1:02:05");
        assert_eq!(timedelta(86_400.0), "1 day, 0:00:00");
        assert_eq!(timedelta(190_800.0), "2 days, 5:00:00");
        assert_eq!(timedelta(f64::NAN), "0:00:00");
    }
}
