//! report.md: for a repository, a wiki or a terminal. Its pictures are files beside it.

use super::super::predictions::question;
use super::{Contents, PICTURES, Shown, Verdict, difference, estimate, marks, picture_name, verdict, words};
use crate::evaluate::comparison::{Confusion, GroupTable, Scored};
use crate::safe_text::clean;
use crate::text::Lang;

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
    let (c, lang) = (contents.comparison, contents.lang);
    let mut out = format!("# {}\n\n{}\n\n", text(&contents.title), super::preface(c, lang, text));
    out += &head(words::MEASURE.get(lang), &c.models);
    for row in &c.measures {
        let cells = row.values.iter().map(|e| e.map_or("—".into(), |e| estimate(row, &e, lang)));
        out += &line(&words::measure(row, lang), cells);
    }
    if let [first, others @ ..] = &c.models[..]
        && !others.is_empty()
    {
        let (title, gap) = (words::DIFFERENCES.fill(lang, &[&text(first)]), words::gap(lang));
        out += &format!("\n## {title}\n\n{}{gap}{}\n\n", words::PAIRED.get(lang), words::SIGNED.get(lang));
        out += &head(words::MEASURE.get(lang), others);
        for row in &c.measures {
            let cell = |e: &Option<_>| {
                e.as_ref().map_or("—".into(), |e| {
                    let sign = match verdict(row, e) {
                        Verdict::Better => " ▲",
                        Verdict::Worse => " ▼",
                        Verdict::Open => "",
                    };
                    difference(row, e, lang) + sign
                })
            };
            out += &line(&words::measure(row, lang), row.differences[1..].iter().map(cell));
        }
    }
    c.classes.iter().for_each(|group| out += &classes(group, &c.models, lang));
    if let [first, .., last] = &c.models[..] {
        let by = words::CHANGED_FROM.fill(lang, &[&text(first), &text(last)]);
        out += &format!("\n## {}\n\n{by}\n\n", words::CHANGES.get(lang));
        for (title, positions) in [(words::BETTER, &contents.better), (words::WORSE, &contents.worse)] {
            let named = |&i: &usize| {
                let gain = format!("{:+.1}", c.samples[i].gain());
                words::CHANGED.fill(lang, &[&c.samples[i].index, &gain])
            };
            let list: Vec<String> = positions.iter().map(named).collect();
            let none = || words::NOTHING_CHANGED.get(lang).to_owned();
            let list = if list.is_empty() { none() } else { list.join(", ") };
            out += &format!("- {}: {list}\n", title.get(lang));
        }
    }
    let shown = words::SHOWN.fill(lang, &[&contents.shown.len(), &c.samples.len()]);
    let (bold, are, gap) = (words::BOLD.get(lang), words::MARKED_ARE.get(lang), words::gap(lang));
    out += &format!("\n## {}\n\n{shown}{gap}**{bold}**{are}\n", words::SAMPLES.get(lang));
    contents.shown.iter().for_each(|shown| out += &sample(shown, &c.models, lang));
    out
}

fn head(first: &str, models: &[String]) -> String {
    line(first, models.iter().map(|m| text(m))) + "|---|" + &"---:|".repeat(models.len()) + "\n"
}

/// A line of a table; `cells` are Markdown already.
fn line(title: &str, cells: impl Iterator<Item = String>) -> String {
    cells.fold(format!("| {} |", text(title)), |line, cell| line + " " + &cell + " |") + "\n"
}

fn classes(group: &GroupTable, models: &[String], lang: Lang) -> String {
    let mut out = format!("\n## {}\n\n", text(&group.name));
    if group.labels_without > 0 {
        out += &format!("{}\n\n", words::LABELS_WITHOUT.fill(lang, &[&group.labels_without]));
    }
    for (model, confusion) in models.iter().zip(&group.models) {
        out += &format!("### {}\n\n", text(model));
        let more =
            [words::NO_CLASS, words::PRECISION, words::RECALL, words::F1].map(|words| words.get(lang).to_owned());
        let columns: Vec<String> = group.classes.iter().cloned().chain(more).collect();
        out += &head(words::LABEL_DOWN.get(lang), &columns);
        for (i, class) in group.classes.iter().enumerate() {
            let p = &confusion.per_class[i];
            let shares = [p.precision, p.recall, p.f1].map(|x| x.map_or("—".into(), |x| format!("{x:.3}")));
            out += &line(class, confusion.counts[i].iter().map(usize::to_string).chain(shares));
        }
        if !confusion.unmatched.is_empty() {
            out += &format!("\n{}\n", unmatched(confusion, lang));
        }
        out.push('\n');
    }
    out
}

/// Which answers named nothing.
pub(super) fn unmatched(confusion: &Confusion, lang: Lang) -> String {
    const MOST: usize = 20;
    let n = confusion.unmatched.len();
    let list: Vec<String> = confusion.unmatched.iter().take(MOST).map(usize::to_string).collect();
    let more = if n > MOST { ", …" } else { "" };
    words::UNMATCHED.fill(lang, &[&n, &format!("{}{more}", list.join(", "))])
}

/// One answer's numbers.
pub(super) fn scores(answer: &Scored, lang: Lang) -> String {
    let s = &answer.scores;
    let (bleu, rouge) = (format!("{:.1}", s.bleu_4_stripped), format!("{:.1}", s.similarity.rouge_l));
    let mut out = words::SCORES.fill(lang, &[&bleu, &rouge]);
    if s.exact_match {
        out += words::EXACT.get(lang);
    }
    if let (Some(sum), Some(n)) = (s.loss_sum, s.n_target_tokens) {
        out += &words::LABEL_LOSS.fill(lang, &[&format!("{:.3}", sum / n.max(1) as f64)]);
    }
    out
}

fn sample(shown: &Shown, models: &[String], lang: Lang) -> String {
    let s = shown.sample;
    let mut out = format!("\n### {}\n\n", words::SAMPLE.fill(lang, &[&s.index]));
    for (nth, picture) in shown.pictures.iter().enumerate() {
        let name = words::PICTURE.fill(lang, &[&(nth + 1)]);
        out += &match picture {
            Ok(_) => format!("![{name}]({PICTURES}/{}) ", picture_name(s, nth)),
            Err(why) => words::PICTURE_LOST.fill(lang, &[&name, &text(why)]) + " ",
        };
    }
    if !shown.pictures.is_empty() {
        out += "\n\n";
    }
    let label = words::LABEL.get(lang);
    out += &format!("{}\n\n| | |\n|---|---|\n| {label} | {} |\n", text(&question(&s.prompt)), text(&s.label));
    for (model, answer) in models.iter().zip(&s.answers) {
        let piece = |(piece, differs): (String, bool)| if differs { bold(&piece) } else { text(&piece) };
        let marked: String = marks::marked(&s.label, &answer.predict).into_iter().map(piece).collect();
        out += &format!("| {} | {marked}<br>({}) |\n", text(model), scores(answer, lang));
    }
    out
}

#[cfg(test)]
pub(super) fn escaped(data: &str) -> String {
    text(data)
}
