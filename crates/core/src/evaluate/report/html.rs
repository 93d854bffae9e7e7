//! report.html: one file without scripts or links to anywhere, light or dark as its reader likes, and fit for paper.

use super::super::predictions::question;
use super::{Contents, Shown, Verdict, difference, estimate, marks, verdict, words};
use crate::evaluate::comparison::{Confusion, GroupTable};
use crate::safe_text::clean;
use crate::text::Lang;
use crate::words::T;
use base64::Engine;
use std::fmt::Display;

const STYLE: &str = include_str!("style.css");

/// A page that is being written. Markup is a constant of this program and goes in as it is; anything else is escaped.
struct Html {
    page: String,
    lang: Lang,
}

impl Html {
    fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.page += markup;
        self
    }

    /// Text, or the value of an attribute in double quotes.
    fn text(&mut self, text: &str) -> &mut Self {
        for c in clean(text).chars() {
            match c {
                '&' => self.page += "&amp;",
                '<' => self.page += "&lt;",
                '>' => self.page += "&gt;",
                '"' => self.page += "&quot;",
                '\'' => self.page += "&#39;",
                c => self.page.push(c),
            }
        }
        self
    }

    /// Words of the report.
    fn say(&mut self, words: T) -> &mut Self {
        self.text(words.get(self.lang))
    }

    /// Words with something in their places.
    fn fill(&mut self, words: T, values: &[&dyn Display]) -> &mut Self {
        self.text(&words.fill(self.lang, values))
    }

    /// Between two sentences.
    fn gap(&mut self) -> &mut Self {
        self.raw(words::gap(self.lang))
    }
}

pub fn page(contents: &Contents) -> String {
    let (c, lang) = (contents.comparison, contents.lang);
    let mut h = Html { page: String::new(), lang };
    h.raw("<!doctype html>\n<html lang=\"").raw(lang.code());
    // The policy is the second line of defence: even markup that came through could neither run nor load anything.
    h.raw("\"><head><meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
    h.text(&contents.title).raw("</title>\n<style>\n").raw(STYLE).raw("</style></head><body>\n<h1>");
    h.text(&contents.title).raw("</h1>\n<p>").text(&super::preface(c, lang, str::to_owned));
    h.raw("</p>\n<h2>").say(words::MEASURES).raw("</h2>\n<table><thead><tr><th></th>");
    for model in &c.models {
        h.raw("<th>").text(model).raw("</th>");
    }
    h.raw("</tr></thead><tbody>\n");
    for row in &c.measures {
        h.raw("<tr><th>").text(&words::measure(row, lang)).raw("</th>");
        for value in &row.values {
            h.raw("<td>").text(&value.map_or("—".into(), |e| estimate(row, &e, lang))).raw("</td>");
        }
        h.raw("</tr>\n");
    }
    h.raw("</tbody></table>\n");
    differences(&mut h, contents);
    c.classes.iter().for_each(|group| classes(&mut h, group, &c.models));
    changed(&mut h, contents);
    h.raw("<h2>").say(words::SAMPLES).raw("</h2>\n<p>");
    h.fill(words::SHOWN, &[&contents.shown.len(), &c.samples.len()]).gap();
    h.raw("<mark>").say(words::MARKED).raw("</mark>").say(words::MARKED_ARE).raw("</p>\n");
    contents.shown.iter().for_each(|shown| sample(&mut h, shown, &c.models));
    h.raw("</body></html>\n");
    h.page
}

fn differences(h: &mut Html, contents: &Contents) {
    let (c, lang) = (contents.comparison, contents.lang);
    if c.models.len() < 2 {
        return;
    }
    h.raw("<h2>").fill(words::DIFFERENCES, &[&c.models[0]]).raw("</h2>\n<p>");
    h.say(words::PAIRED).gap().say(words::COLOURED).raw("</p>\n<table><thead><tr><th></th>");
    for model in &c.models[1..] {
        h.raw("<th>").text(model).raw("</th>");
    }
    h.raw("</tr></thead><tbody>\n");
    for row in &c.measures {
        h.raw("<tr><th>").text(&words::measure(row, lang)).raw("</th>");
        row.differences[1..].iter().for_each(|e| match e {
            None => drop(h.raw("<td>—</td>")),
            Some(e) => {
                h.raw(match verdict(row, e) {
                    Verdict::Better => "<td class=\"better\">",
                    Verdict::Worse => "<td class=\"worse\">",
                    Verdict::Open => "<td>",
                });
                h.text(&difference(row, e, lang)).raw("</td>");
            }
        });
        h.raw("</tr>\n");
    }
    h.raw("</tbody></table>\n");
}

fn classes(h: &mut Html, group: &GroupTable, models: &[String]) {
    h.raw("<h2>").text(&group.name).raw("</h2>\n");
    if group.labels_without > 0 {
        h.raw("<p>").fill(words::LABELS_WITHOUT, &[&group.labels_without]).raw("</p>\n");
    }
    for (model, confusion) in models.iter().zip(&group.models) {
        h.raw("<h3>").text(model).raw("</h3>\n<table><thead><tr><th>").say(words::LABEL_DOWN).raw("</th>");
        for class in &group.classes {
            h.raw("<th>").text(class).raw("</th>");
        }
        for head in [words::NO_CLASS, words::PRECISION, words::RECALL, words::F1] {
            h.raw("<th>").say(head).raw("</th>");
        }
        h.raw("</tr></thead><tbody>\n");
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
        let text = super::markdown::unmatched(confusion, h.lang);
        h.raw("<p>").text(&text).raw("</p>\n");
    }
}

fn changed(h: &mut Html, contents: &Contents) {
    let c = contents.comparison;
    let (Some(first), Some(last)) = (c.models.first(), c.models.last()) else { return };
    if c.models.len() < 2 {
        return;
    }
    h.raw("<h2>").say(words::CHANGES).raw("</h2>\n<p>").fill(words::CHANGED_FROM, &[first, last]).raw("</p>\n");
    for (title, positions) in [(words::BETTER, &contents.better), (words::WORSE, &contents.worse)] {
        h.raw("<h3>").say(title).raw("</h3>\n<ol>\n");
        for &i in positions {
            let sample = &c.samples[i];
            h.raw("<li><a href=\"#s").text(&sample.index.to_string()).raw("\">");
            h.fill(words::CHANGED, &[&sample.index, &format!("{:+.1}", sample.gain())]).raw("</a></li>\n");
        }
        h.raw("</ol>\n");
        if positions.is_empty() {
            h.raw("<p>").say(words::NOTHING_CHANGED).raw("</p>\n");
        }
    }
}

fn sample(h: &mut Html, shown: &Shown, models: &[String]) {
    let s = shown.sample;
    h.raw("<section id=\"s").text(&s.index.to_string()).raw("\"><h3>").fill(words::SAMPLE, &[&s.index]);
    h.raw("</h3>\n<div class=\"pictures\">");
    for (i, picture) in shown.pictures.iter().enumerate() {
        match picture {
            Ok(jpeg) => {
                let data = base64::engine::general_purpose::STANDARD.encode(jpeg);
                h.raw("<img src=\"data:image/jpeg;base64,").text(&data).raw("\" alt=\"");
                match s.images.get(i) {
                    Some(path) => h.text(path),
                    None => h.fill(words::PICTURE, &[&(i + 1)]),
                };
                h.raw("\">");
            }
            Err(why) => drop(h.raw("<p class=\"lost\">").text(why).raw("</p>")),
        }
    }
    h.raw("</div>\n<p class=\"question\">").text(&question(&s.prompt));
    h.raw("</p>\n<div class=\"answers\"><div><h4>").say(words::LABEL).raw("</h4><p>");
    h.text(&s.label).raw("</p></div>\n");
    for (model, answer) in models.iter().zip(&s.answers) {
        h.raw("<div><h4>").text(model).raw("</h4><p>");
        for (text, differs) in marks::marked(&s.label, &answer.predict) {
            match differs {
                true => h.raw("<mark>").text(&text).raw("</mark>"),
                false => h.text(&text),
            };
        }
        let scores = super::markdown::scores(answer, h.lang);
        h.raw("</p><p class=\"scores\">").text(&scores).raw("</p></div>\n");
    }
    h.raw("</div></section>\n");
}

/// For tests of the other formats, too.
#[cfg(test)]
pub(super) fn escaped(text: &str) -> String {
    let mut h = Html { page: String::new(), lang: Lang::En };
    h.text(text);
    h.page
}
