//! report.md: for a repository, a wiki or a terminal. Its pictures are files beside it.

use super::super::predictions::question;
use super::{Contents, PICTURES, Shown, Verdict, difference, estimate, marks, picture_name, verdict};
use crate::evaluate::comparison::{Confusion, GroupTable, Scored};
use crate::safe_text::clean;

/// Data as Markdown shows it literally, on one line: characters with a meaning escaped, `<` and `&` as entities (some
/// renderers do not take `\<`), line breaks visible.
pub(in crate::evaluate) fn text(data: &str) -> String {
    let mut out = String::new();
    for c in clean(data).chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '\n' => out += "<br>",
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '|' | '~' | '!' | '$' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// As [`text`], in bold; blanks at the ends stay outside, where Markdown wants them.
pub(in crate::evaluate) fn bold(data: &str) -> String {
    let (start, end) = (data.len() - data.trim_start().len(), data.trim_end().len());
    if start >= end {
        return text(data);
    }
    format!("{}**{}**{}", text(&data[..start]), text(&data[start..end]), text(&data[end..]))
}

pub fn page(contents: &Contents) -> String {
    let c = contents.comparison;
    let mut out = format!("# {}\n\n{} samples that every model answered. ", text(contents.title), c.samples.len());
    for (model, left_out) in c.models.iter().zip(&c.left_out).filter(|(_, n)| **n > 0) {
        out += &format!("{left_out} answers of {} are to other samples and count nowhere. ", text(model));
    }
    out += &format!("{}\n\n", super::intervals(c));
    out += &head("measure", &c.models);
    for row in &c.measures {
        let cells = row.values.iter().map(|e| e.map_or("—".into(), |e| estimate(row, &e)));
        out += &line(&row.title, cells);
    }
    if let [first, others @ ..] = &c.models[..]
        && !others.is_empty()
    {
        out += &format!(
            "\n## Differences to {}\n\nPaired; ▲ better and ▼ worse where the interval leaves out 0.\n\n",
            text(first)
        );
        out += &head("measure", others);
        for row in &c.measures {
            let cell = |e: &Option<_>| {
                e.as_ref().map_or("—".into(), |e| {
                    let sign = match verdict(row, e) {
                        Verdict::Better => " ▲",
                        Verdict::Worse => " ▼",
                        Verdict::Open => "",
                    };
                    difference(row, e) + sign
                })
            };
            out += &line(&row.title, row.differences[1..].iter().map(cell));
        }
    }
    c.classes.iter().for_each(|group| out += &classes(group, &c.models));
    if c.models.len() > 1 {
        out += "\n## Largest changes\n\nFrom the first model to the last, by the mean of BLEU-4 and ROUGE-L.\n\n";
        for (title, positions) in [("Better", &contents.better), ("Worse", &contents.worse)] {
            let named = |&i: &usize| format!("sample {} ({:+.1})", c.samples[i].index, c.samples[i].gain());
            let list: Vec<String> = positions.iter().map(named).collect();
            out += &format!("- {title}: {}\n", if list.is_empty() { "none".into() } else { list.join(", ") });
        }
    }
    out += &format!(
        "\n## Samples\n\n{} of {}. **Bold**: words of an answer that its label does not have there.\n",
        contents.shown.len(),
        c.samples.len()
    );
    contents.shown.iter().for_each(|shown| out += &sample(shown, &c.models));
    out
}

fn head(first: &str, models: &[String]) -> String {
    line(first, models.iter().map(|m| text(m))) + "|---|" + &"---:|".repeat(models.len()) + "\n"
}

/// A line of a table; `cells` are Markdown already.
fn line(title: &str, cells: impl Iterator<Item = String>) -> String {
    cells.fold(format!("| {} |", text(title)), |line, cell| line + " " + &cell + " |") + "\n"
}

fn classes(group: &GroupTable, models: &[String]) -> String {
    let mut out = format!("\n## {}\n\n", text(&group.name));
    if group.labels_without > 0 {
        out += &format!("{} labels name no class of it and do not count.\n\n", group.labels_without);
    }
    for (model, confusion) in models.iter().zip(&group.models) {
        out += &format!("### {}\n\n", text(model));
        let columns: Vec<String> =
            group.classes.iter().cloned().chain(["none", "precision", "recall", "F1"].map(str::to_owned)).collect();
        out += &head("label \u{2192} answer", &columns);
        for (i, class) in group.classes.iter().enumerate() {
            let p = &confusion.per_class[i];
            let shares = [p.precision, p.recall, p.f1].map(|x| x.map_or("—".into(), |x| format!("{x:.3}")));
            out += &line(class, confusion.counts[i].iter().map(usize::to_string).chain(shares));
        }
        if !confusion.unmatched.is_empty() {
            out += &format!("\n{}\n", unmatched(confusion));
        }
        out.push('\n');
    }
    out
}

/// Which answers named nothing.
pub(super) fn unmatched(confusion: &Confusion) -> String {
    const MOST: usize = 20;
    let n = confusion.unmatched.len();
    let list: Vec<String> = confusion.unmatched.iter().take(MOST).map(usize::to_string).collect();
    let more = if n > MOST { ", …" } else { "" };
    format!("{n} answers name no class: samples {}{more}.", list.join(", "))
}

/// One answer's numbers.
pub(super) fn scores(answer: &Scored) -> String {
    let s = &answer.scores;
    let mut out = format!("BLEU-4 {:.1}, ROUGE-L {:.1}", s.bleu_4_stripped, s.similarity.rouge_l);
    if s.exact_match {
        out += ", exact";
    }
    if let (Some(sum), Some(n)) = (s.loss_sum, s.n_target_tokens) {
        out += &format!(", loss of the label {:.3}", sum / n.max(1) as f64);
    }
    out
}

fn sample(shown: &Shown, models: &[String]) -> String {
    let s = shown.sample;
    let mut out = format!("\n### Sample {}\n\n", s.index);
    for (nth, picture) in shown.pictures.iter().enumerate() {
        out += &match picture {
            Ok(_) => format!("![picture {}]({PICTURES}/{}) ", nth + 1, picture_name(s, nth)),
            Err(why) => format!("(picture {}: {}) ", nth + 1, text(why)),
        };
    }
    if !shown.pictures.is_empty() {
        out += "\n\n";
    }
    out += &format!("{}\n\n| | |\n|---|---|\n| label | {} |\n", text(&question(&s.prompt)), text(&s.label));
    for (model, answer) in models.iter().zip(&s.answers) {
        let piece = |(piece, differs): (String, bool)| if differs { bold(&piece) } else { text(&piece) };
        let marked: String = marks::marked(&s.label, &answer.predict).into_iter().map(piece).collect();
        out += &format!("| {} | {marked}<br>({}) |\n", text(model), scores(answer));
    }
    out
}

#[cfg(test)]
pub(super) fn escaped(data: &str) -> String {
    text(data)
}
