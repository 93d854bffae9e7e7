//! A run's numbers as files that other programs open: all columns as CSV, the loss as a PNG.
use super::{Column, Series};
use crate::runs::plot;
use std::fmt::Write;
use std::io;
use std::path::Path;

impl Series {
    /// All updates, a line each; an evaluation stands in the line of its step. What is not finite is empty.
    pub fn csv(&self) -> String {
        let mut text = String::from(
            "step,time_ms,loss,smoothed_loss,grad_norm,learning_rate,tokens,data_ms,forward_ms,backward_ms,optimizer_ms,total_ms,memory_bytes,eval_loss",
        );
        let answered = self.evaluations.iter().any(|evaluation| evaluation.answers.is_some());
        text += if answered { ",eval_bleu-4,eval_rouge-1,eval_rouge-2,eval_rouge-l,eval_exact_match\n" } else { "\n" };
        let finite = |x: f32| if x.is_finite() { x.to_string() } else { String::new() };
        let mut evaluations = self.evaluations.iter().peekable();
        for i in 0..self.len() {
            let step = u64::from(self.step[i]);
            while evaluations.next_if(|evaluation| evaluation.step < step).is_some() {}
            let eval = evaluations.peek().filter(|e| e.step == step);
            let eval_loss = eval.and_then(|e| e.loss).map_or(String::new(), |loss| loss.to_string());
            let scores = eval.and_then(|e| e.answers).map_or(",,,,".to_owned(), |a| {
                format!("{},{},{},{},{}", a.bleu_4, a.rouge_1, a.rouge_2, a.rouge_l, a.exact_match)
            });
            let scores = if answered { format!(",{scores}") } else { String::new() };
            // writing into a String cannot fail
            let _ = writeln!(
                text,
                "{step},{},{},{},{},{},{},{},{},{},{},{},{},{eval_loss}{scores}",
                self.t[i],
                finite(self.loss.values[i]),
                finite(self.value(Column::SmoothLoss, i) as f32),
                finite(self.grad_norm.values[i]),
                self.lr[i],
                self.tokens[i],
                self.data[i],
                self.fwd[i],
                self.bwd[i],
                self.opt[i],
                self.total[i],
                self.mem[i]
            );
        }
        text
    }

    pub fn export_csv(&self, to: &Path) -> io::Result<()> {
        crate::fs::write_atomic(to, self.csv().as_bytes())
    }

    /// The loss, raw and smoothed, with the evaluations over it.
    ///
    /// # Errors
    /// There is no finite loss yet, or the file cannot be written.
    pub fn export_png(&self, to: &Path) -> io::Result<()> {
        crate::fs::write_atomic(to, &self.png()?)
    }

    pub fn png(&self) -> io::Result<Vec<u8>> {
        let finite = self.loss.values.iter().zip(&self.step).filter(|(loss, _)| loss.is_finite());
        let points: Vec<(f64, f64)> = finite.map(|(loss, step)| (f64::from(*step), f64::from(*loss))).collect();
        if points.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no loss to draw yet"));
        }
        let evals = self.evaluations.iter().filter_map(|e| Some((e.step as f64, e.loss.filter(|x| x.is_finite())?)));
        plot::chart_png(&format!("loss of {}", self.dir.path().display()), "loss", &points, &evals.collect::<Vec<_>>())
    }
}
