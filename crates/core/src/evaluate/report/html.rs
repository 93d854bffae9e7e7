//! report.html: one file without scripts or links to anywhere, light or dark as its reader likes, and fit for paper.

use super::super::predictions::question;
use super::{Contents, Shown, Verdict, difference, estimate, marks, verdict};
use crate::evaluate::comparison::{Confusion, GroupTable};
use crate::safe_text::clean;
use base64::Engine;

const STYLE: &str = include_str!("style.css");

/// A page that is being written. Markup is a constant of this program and goes in as it is; anything else is escaped.
struct Html(String);

impl Html {
    fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0 += markup;
        self
    }

    /// Text, or the value of an attribute in double quotes.
    fn text(&mut self, text: &str) -> &mut Self {
        for c in clean(text).chars() {
            match c {
                '&' => self.0 += "&amp;",
                '<' => self.0 += "&lt;",
                '>' => self.0 += "&gt;",
                '"' => self.0 += "&quot;",
                '\'' => self.0 += "&#39;",
                c => self.0.push(c),
            }
        }
        self
    }
}

pub fn page(contents: &Contents) -> String {
    let c = contents.comparison;
    let mut h = Html(String::new());
    // The policy is the second line of defence: even markup that came through could neither run nor load anything.
    h.raw("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
    h.text(contents.title).raw("</title>\n<style>\n").raw(STYLE).raw("</style></head><body>\n<h1>");
    h.text(contents.title).raw("</h1>\n<p>");
    h.text(&format!("{} samples that every model answered. ", c.samples.len()));
    for (model, left_out) in c.models.iter().zip(&c.left_out).filter(|(_, n)| **n > 0) {
        h.text(&format!("{left_out} answers of {model} are to other samples and count nowhere. "));
    }
    h.text(&super::intervals(c)).raw("</p>\n<h2>Measures</h2>\n<table><thead><tr><th></th>");
    for model in &c.models {
        h.raw("<th>").text(model).raw("</th>");
    }
    h.raw("</tr></thead><tbody>\n");
    for row in &c.measures {
        h.raw("<tr><th>").text(&row.title).raw("</th>");
        for value in &row.values {
            h.raw("<td>").text(&value.map_or("—".into(), |e| estimate(row, &e))).raw("</td>");
        }
        h.raw("</tr>\n");
    }
    h.raw("</tbody></table>\n");
    differences(&mut h, contents);
    c.classes.iter().for_each(|group| classes(&mut h, group, &c.models));
    changed(&mut h, contents);
    h.raw("<h2>Samples</h2>\n<p>");
    h.text(&format!("{} of {}. ", contents.shown.len(), c.samples.len()));
    h.raw("<mark>Marked</mark>: words of an answer that its label does not have there.</p>\n");
    contents.shown.iter().for_each(|shown| sample(&mut h, shown, &c.models));
    h.raw("</body></html>\n");
    h.0
}

fn differences(h: &mut Html, contents: &Contents) {
    let c = contents.comparison;
    if c.models.len() < 2 {
        return;
    }
    h.raw("<h2>Differences to ").text(&c.models[0]);
    h.raw("</h2>\n<p>Paired: the same samples in each draw. Coloured where the interval leaves out 0.</p>\n<table><thead><tr><th></th>");
    for model in &c.models[1..] {
        h.raw("<th>").text(model).raw("</th>");
    }
    h.raw("</tr></thead><tbody>\n");
    for row in &c.measures {
        h.raw("<tr><th>").text(&row.title).raw("</th>");
        row.differences[1..].iter().for_each(|e| match e {
            None => drop(h.raw("<td>—</td>")),
            Some(e) => {
                h.raw(match verdict(row, e) {
                    Verdict::Better => "<td class=\"better\">",
                    Verdict::Worse => "<td class=\"worse\">",
                    Verdict::Open => "<td>",
                });
                h.text(&difference(row, e)).raw("</td>");
            }
        });
        h.raw("</tr>\n");
    }
    h.raw("</tbody></table>\n");
}

fn classes(h: &mut Html, group: &GroupTable, models: &[String]) {
    h.raw("<h2>").text(&group.name).raw("</h2>\n");
    if group.labels_without > 0 {
        h.raw("<p>")
            .text(&format!("{} labels name no class of it and do not count.", group.labels_without))
            .raw("</p>\n");
    }
    for (model, confusion) in models.iter().zip(&group.models) {
        h.raw("<h3>").text(model).raw("</h3>\n<table><thead><tr><th>label \\ answer</th>");
        for class in &group.classes {
            h.raw("<th>").text(class).raw("</th>");
        }
        h.raw("<th>none</th><th>precision</th><th>recall</th><th>F1</th></tr></thead><tbody>\n");
        for (i, class) in group.classes.iter().enumerate() {
            h.raw("<tr><th>").text(class).raw("</th>");
            for (j, n) in confusion.counts[i].iter().enumerate() {
                h.raw(if i == j { "<td class=\"right\">" } else { "<td>" }).text(&n.to_string()).raw("</td>");
            }
            let p = &confusion.per_class[i];
            for x in [p.precision, p.recall, p.f1] {
                h.raw("<td>").text(&x.map_or("—".into(), |x| format!("{x:.3}"))).raw("</td>");
            }
            h.raw("</tr>\n");
        }
        h.raw("</tbody></table>\n");
        unmatched(h, confusion);
    }
}

fn unmatched(h: &mut Html, confusion: &Confusion) {
    if !confusion.unmatched.is_empty() {
        h.raw("<p>").text(&super::markdown::unmatched(confusion)).raw("</p>\n");
    }
}

fn changed(h: &mut Html, contents: &Contents) {
    let c = contents.comparison;
    let (Some(first), Some(last)) = (c.models.first(), c.models.last()) else { return };
    if c.models.len() < 2 {
        return;
    }
    h.raw("<h2>Largest changes</h2>\n<p>");
    h.text(&format!("From {first} to {last}, by the mean of BLEU-4 and ROUGE-L.")).raw("</p>\n");
    for (title, positions) in [("Better", &contents.better), ("Worse", &contents.worse)] {
        h.raw("<h3>").text(title).raw("</h3>\n<ol>\n");
        for &i in positions {
            let sample = &c.samples[i];
            h.raw("<li><a href=\"#s").text(&sample.index.to_string()).raw("\">");
            h.text(&format!("sample {} ({:+.1})", sample.index, sample.gain())).raw("</a></li>\n");
        }
        h.raw("</ol>\n");
        if positions.is_empty() {
            h.raw("<p>None.</p>\n");
        }
    }
}

fn sample(h: &mut Html, shown: &Shown, models: &[String]) {
    let s = shown.sample;
    h.raw("<section id=\"s").text(&s.index.to_string()).raw("\"><h3>").text(&format!("Sample {}", s.index));
    h.raw("</h3>\n<div class=\"pictures\">");
    for (i, picture) in shown.pictures.iter().enumerate() {
        match picture {
            Ok(jpeg) => {
                let data = base64::engine::general_purpose::STANDARD.encode(jpeg);
                h.raw("<img src=\"data:image/jpeg;base64,").text(&data);
                h.raw("\" alt=\"").text(s.images.get(i).map_or("picture", String::as_str)).raw("\">");
            }
            Err(why) => drop(h.raw("<p class=\"lost\">").text(why).raw("</p>")),
        }
    }
    h.raw("</div>\n<p class=\"question\">").text(&question(&s.prompt));
    h.raw("</p>\n<div class=\"answers\"><div><h4>label</h4><p>").text(&s.label).raw("</p></div>\n");
    for (model, answer) in models.iter().zip(&s.answers) {
        h.raw("<div><h4>").text(model).raw("</h4><p>");
        for (text, differs) in marks::marked(&s.label, &answer.predict) {
            match differs {
                true => h.raw("<mark>").text(&text).raw("</mark>"),
                false => h.text(&text),
            };
        }
        h.raw("</p><p class=\"scores\">").text(&super::markdown::scores(answer)).raw("</p></div>\n");
    }
    h.raw("</div></section>\n");
}

/// For tests of the other formats, too.
#[cfg(test)]
pub(super) fn escaped(text: &str) -> String {
    let mut h = Html(String::new());
    h.text(text);
    h.0
}
