//! What the model answered at an evaluation (`predict_with_generate`): a file that people, `lightbox report` and the
//! workbench read, an event with its measures, and a warning about samples without an answer.

use super::super::RunDir;
use super::super::record::{Answers, Event};
use super::super::results::Generated;
use super::super::say::say;
use super::Report;
use crate::evaluate::predictions;
use crate::safe_text::clean;

impl Report<'_> {
    /// `answers`: what they are worth. `partial`: as in [`Report::evaluated`]; such answers do not replace the others.
    pub(super) fn answered(&mut self, step: u64, generated: &Generated, answers: Option<Answers>, partial: bool) {
        if let Some(first) = generated.unanswered.first() {
            let (n, all) = (generated.unanswered.len(), generated.unanswered.len() + generated.rows.len());
            let text = format!(
                "{n} of {all} evaluation samples have no answer at step {step} and are in no mean; the first is sample {} ({}): {}",
                first.index, first.origin, first.reason
            );
            self.warning("unanswered", &text, None);
        }
        let Some(a) = answers else { return };
        let name = if partial { "partial_predictions.jsonl" } else { predictions::FILE };
        let path = format!("{}/step-{step:08}/{name}", RunDir::SAMPLES);
        let file = self.dir.join(&path);
        let folder = file.parent().unwrap_or(self.dir.path()).to_owned();
        let written = crate::fs::create_dir_all(&folder).and_then(|()| predictions::write(&file, &generated.rows));
        say(&format!(
            "{} answers: BLEU-4 {:.2}, ROUGE-L {:.2}, exact match {:.1} %, {:.1} s; {}",
            a.n,
            a.bleu_4,
            a.rouge_l,
            a.exact_match,
            generated.runtime.as_secs_f64(),
            clean(&path)
        ));
        if written.is_ok() {
            let dt_ms = generated.runtime.as_millis() as u64;
            self.event(&Event::Answered { step, path, answers: a, dt_ms });
        }
        self.quietly(written);
    }
}
