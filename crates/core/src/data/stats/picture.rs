//! `data stats --picture`: histograms of a data set in one picture, to be looked at and passed on.
//!
//! Long tails are cut where they would squeeze the rest, and the picture says what lies beyond. Labels are English: the
//! built-in font has no Chinese letters.

use super::super::Bar;
use super::{Stats, Summary};
use crate::plot::{self, Axis, Canvas, Drawn, GREY, PALE, SECOND, STRONG};
use anyhow::bail;
use plotters::backend::DrawingBackend;
use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{BLACK, RGBColor};
use std::path::Path;

/// One histogram with its title and labels, in pixels.
const PANEL: (i32, i32) = (640, 420);
/// Above the panels.
const HEADER: i32 = 96;
/// Most bars of a histogram.
const BARS: u64 = 60;
/// From one line of notes to the next.
const NOTE: i32 = 26;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Png,
    Svg,
}

impl Format {
    /// By the file's extension.
    pub fn of(path: &Path) -> anyhow::Result<Self> {
        let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        match extension.as_str() {
            "png" => Ok(Self::Png),
            "svg" => Ok(Self::Svg),
            _ => bail!("{}: a picture of statistics is a .png or .svg file", path.display()),
        }
    }
}

/// Draws what `stats` counted. `title`: the data set's name, clean; `cutoff_len`: marked among the lengths.
///
/// # Errors
/// No sample could be read, so that there is nothing to draw.
pub fn picture(stats: &Stats, title: &str, cutoff_len: usize, format: Format) -> anyhow::Result<Vec<u8>> {
    let panels = panels(stats, cutoff_len as u64);
    if panels.is_empty() {
        bail!(
            "there is nothing to draw: none of the {} samples could be read; `lightbox data check` says why",
            stats.samples
        );
    }
    let columns = panels.len().min(2) as i32;
    let rows = panels.len().div_ceil(2) as i32;
    let size = ((PANEL.0 * columns) as u32, (HEADER + PANEL.1 * rows) as u32);
    let header = (plot::shorten(title, 36 * columns as usize), about(stats, cutoff_len));
    Ok(match format {
        Format::Png => plot::png(size, |canvas| draw(canvas, &header, &panels, columns))?,
        Format::Svg => plot::svg(size, |canvas| draw(canvas, &header, &panels, columns))?,
    })
}

struct Panel<'a> {
    title: &'static str,
    /// What a bar counts.
    unit: &'static str,
    /// One, or two that are told apart by their names.
    series: Vec<(&'static str, &'a Summary)>,
    mark: Option<u64>,
}

fn panels(s: &Stats, cutoff_len: u64) -> Vec<Panel<'_>> {
    let sizes = s.image_width.as_ref().zip(s.image_height.as_ref()).map(|(width, height)| Panel {
        title: "size of a picture, in pixels",
        unit: "pictures",
        series: vec![("width", width), ("height", height)],
        mark: None,
    });
    // With a model answers are measured in what is learned of them.
    let answers = one("learned tokens of a sample (its answers)", "samples", &s.label_tokens, None)
        .or_else(|| one("answers of a sample, in characters", "samples", &s.answer_characters, None));
    [
        one("tokens of a sample", "samples", &s.tokens, Some(cutoff_len)),
        one("tokens of a picture", "pictures", &s.picture_tokens, None),
        sizes,
        answers,
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn one<'a>(
    title: &'static str,
    unit: &'static str,
    summary: &'a Option<Summary>,
    mark: Option<u64>,
) -> Option<Panel<'a>> {
    summary.as_ref().map(|summary| Panel { title, unit, series: vec![("", summary)], mark })
}

/// The line below the title.
fn about(s: &Stats, cutoff_len: usize) -> String {
    let mut parts = vec![format!("{} samples", thousands(s.samples as u64))];
    if s.text_only > 0 {
        parts.push(format!("{} text only", thousands(s.text_only as u64)));
    }
    if s.good < s.samples {
        parts.push(format!("{} cannot be used", thousands((s.samples - s.good) as u64)));
    }
    if let Some(truncated) = s.truncated {
        parts.push(format!("{} lose text at cutoff_len {}", thousands(truncated as u64), thousands(cutoff_len as u64)));
    }
    parts.join(", ")
}

fn draw<DB: DrawingBackend>(
    canvas: &Canvas<DB>,
    (title, about): &(String, String),
    panels: &[Panel<'_>],
    columns: i32,
) -> Drawn {
    let middle = PANEL.0 * columns / 2;
    canvas.text(title, (middle, 20), 30, (HPos::Center, VPos::Top), BLACK)?;
    canvas.text(about, (middle, 58), 20, (HPos::Center, VPos::Top), GREY)?;
    for (i, panel) in (0..).zip(panels) {
        panel.draw(canvas, (PANEL.0 * (i % columns), HEADER + PANEL.1 * (i / columns)))?;
    }
    Ok(())
}

/// What a histogram spans.
#[derive(Debug, PartialEq)]
struct Span {
    first: u64,
    last: u64,
    /// Values a bar.
    width: u64,
}

impl Panel<'_> {
    /// The whole range, unless the last hundredth would take more than half of it; the mark, unless it lies far away.
    fn span(&self) -> Span {
        let min = self.series.iter().map(|(_, s)| s.min).min().unwrap_or(0);
        let p99 = self.series.iter().map(|(_, s)| s.p99).max().unwrap_or(0);
        let max = self.series.iter().map(|(_, s)| s.max).max().unwrap_or(0);
        let most = p99 - min;
        let mut last = if max - min > most.saturating_mul(2).saturating_add(BARS / 2) { p99 + most / 2 } else { max };
        if let Some(mark) = self.mark.filter(|&mark| mark >= min && mark <= last.saturating_add((last - min) / 2)) {
            last = last.max(mark.saturating_add((last - min) / 20));
        }
        let width = round_width((last - min) / BARS + 1);
        Span { first: min / width * width, last, width }
    }

    fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<DB>, (x, y): (i32, i32)) -> Drawn {
        let (left, top, right, bottom) = (x + 104, y + 66, x + PANEL.0 - 28, y + PANEL.1 - 56);
        canvas.text(self.title, ((left + right) / 2, y + 6), 24, (HPos::Center, VPos::Top), BLACK)?;
        canvas.text(&self.figures(), ((left + right) / 2, y + 36), 19, (HPos::Center, VPos::Top), GREY)?;

        let span = self.span();
        let bars: Vec<_> = self.series.iter().map(|(_, s)| s.bars(span.first, span.last, span.width)).collect();
        let (low, high) = (span.first as f64 - 0.5, bars[0].last().map_or(0.0, |bar| bar.last as f64 + 0.5));
        // A single bar stays a bar, with room on both sides.
        let room = ((high - low) * 0.03).max((10.0 * span.width as f64 - (high - low)) / 2.0);
        let x_axis = Axis::spanning(low - room, high + room, 1.0, 6.0);
        let cut = self.mark.map(|mark| x_axis.place(mark as f64 + 0.5, left, right));
        let cut = cut.filter(|&at| at > left && at < right);
        let notes = self.notes(&bars, cut.is_some());
        let names = if bars.len() > 1 { bars.len() as i32 } else { 0 };
        let lines = names + notes.len() as i32;
        // Room above the bars for what is written there.
        let share = f64::from(12 + NOTE * lines) / f64::from(bottom - top);
        let most = bars.iter().flatten().map(|bar| bar.count).max().unwrap_or(0).max(1) as f64;
        let y_axis = Axis::spanning(0.0, most / (0.96 - share), 1.0, 5.0);
        let edges = |bar: &Bar| {
            let [from, to] = [bar.first as f64 - 0.5, bar.last as f64 + 0.5].map(|v| x_axis.place(v, left, right));
            (from, y_axis.place(bar.count as f64, bottom, top), to)
        };

        for bar in bars[0].iter().filter(|bar| bar.count > 0) {
            let (from, height, to) = edges(bar);
            let beyond = self.mark.is_some_and(|mark| bar.first > mark);
            let colour = if beyond {
                SECOND
            } else if bars.len() > 1 {
                PALE
            } else {
                STRONG
            };
            let gap = i32::from(to - from > 4);
            // The least bar is seen.
            canvas.rect((from, height.min(bottom - 1), (to - gap).max(from + 1), bottom), colour)?;
        }
        if let Some(second) = bars.get(1) {
            let mut outline = Vec::with_capacity(2 * second.len() + 2);
            for (from, height, to) in second.iter().map(edges) {
                outline.extend([(from, height), (to, height)]);
            }
            if let (Some(&(from, _)), Some(&(to, _))) = (outline.first(), outline.last()) {
                outline.insert(0, (from, bottom));
                outline.push((to, bottom));
            }
            canvas.line(&outline, STRONG, 2)?;
        }

        canvas.frame((left, top, right, bottom), BLACK)?;
        for tick in x_axis.ticks().filter(|&tick| tick >= 0.0) {
            let at = x_axis.place(tick, left, right);
            canvas.line(&[(at, bottom), (at, bottom + 6)], BLACK, 1)?;
            canvas.text(&thousands(tick as u64), (at, bottom + 11), 19, (HPos::Center, VPos::Top), BLACK)?;
        }
        for tick in y_axis.ticks() {
            let at = y_axis.place(tick, bottom, top);
            canvas.line(&[(left - 6, at), (left, at)], BLACK, 1)?;
            canvas.text(&thousands(tick as u64), (left - 11, at), 19, (HPos::Right, VPos::Center), BLACK)?;
        }
        canvas.text_upwards(self.unit, (x + 20, (top + bottom) / 2), 20, BLACK)?;

        if let Some(at) = cut {
            dashes(canvas, at, top + 12 + NOTE * lines, bottom)?;
        }
        for (line, (text, colour)) in (names..).zip(notes) {
            canvas.text(&text, (right - 12, top + 12 + NOTE * line), 19, (HPos::Right, VPos::Top), colour)?;
        }
        if let [(first, _), (second, _)] = self.series[..] {
            legend(canvas, (right - 112, top + 12), (first, PALE), (second, STRONG))?;
        }
        Ok(())
    }

    /// Where texts are cut, and what the histogram does not show.
    fn notes(&self, bars: &[Vec<Bar>], cut_is_shown: bool) -> Vec<(String, RGBColor)> {
        let cut = self.mark.map(|mark| {
            let beyond = if cut_is_shown { "" } else { " lies beyond" };
            (format!("cutoff_len {}{beyond}", thousands(mark)), SECOND)
        });
        let shown = bars.iter().map(|bars| bars.iter().map(|bar| bar.count).sum::<usize>());
        let beyond = self.series.iter().zip(shown).map(|((_, s), shown)| s.count - shown).max().unwrap_or(0);
        let max = self.series.iter().map(|(_, s)| s.max).max().unwrap_or(0);
        let tail = (beyond > 0).then(|| (format!("{} more, up to {}", thousands(beyond as u64), thousands(max)), GREY));
        cut.into_iter().chain(tail).collect()
    }

    /// The order statistics, as far as they fit into a line.
    fn figures(&self) -> String {
        match self.series[..] {
            [(_, s)] => format!(
                "median {}, 90 % up to {}, 99 % up to {}, at most {}",
                thousands(s.median),
                thousands(s.p90),
                thousands(s.p99),
                thousands(s.max)
            ),
            _ => {
                let of = |(name, s): &(&str, &Summary)| {
                    format!("{name}: median {}, {} to {}", thousands(s.median), thousands(s.min), thousands(s.max))
                };
                self.series.iter().map(of).collect::<Vec<_>>().join("; ")
            }
        }
    }
}

/// Two names with their colours: an area and a line.
fn legend<DB: DrawingBackend>(
    canvas: &Canvas<DB>,
    (x, y): (i32, i32),
    area: (&str, RGBColor),
    line: (&str, RGBColor),
) -> Drawn {
    canvas.rect((x, y + 4, x + 28, y + 18), area.1)?;
    canvas.text(area.0, (x + 38, y), 19, (HPos::Left, VPos::Top), BLACK)?;
    canvas.line(&[(x, y + NOTE + 11), (x + 28, y + NOTE + 11)], line.1, 2)?;
    canvas.text(line.0, (x + 38, y + NOTE), 19, (HPos::Left, VPos::Top), BLACK)
}

fn dashes<DB: DrawingBackend>(canvas: &Canvas<DB>, x: i32, top: i32, bottom: i32) -> Drawn {
    (top..bottom).step_by(12).try_for_each(|y| canvas.line(&[(x, y), (x, (y + 7).min(bottom))], SECOND, 2))
}

/// The next of 1, 2, 5, 10, 20, 25, 50, 100 …
fn round_width(at_least: u64) -> u64 {
    let mut power = 1u64;
    loop {
        let steps = [power, 2 * power, power / 2 * 5, 5 * power];
        if let Some(width) = steps.into_iter().find(|&width| width >= at_least) {
            return width;
        }
        power *= 10;
    }
}

fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|g| std::str::from_utf8(g).unwrap_or("")).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn stats(tokens: Vec<u64>, width: Vec<u64>) -> Stats {
        let (n, width) = (tokens.len(), Summary::of(width));
        Stats {
            samples: n + 1,
            complete: true,
            good: n,
            problems: BTreeMap::new(),
            text_only: 0,
            turns: None,
            images_per_sample: None,
            image_height: width.clone(),
            image_width: width,
            answer_characters: Summary::of(tokens.clone()),
            label_tokens: None,
            picture_tokens: None,
            tokens: Summary::of(tokens),
            truncated: Some(0),
        }
    }

    fn panel(values: Vec<u64>, mark: Option<u64>) -> Span {
        let summary = Summary::of(values).unwrap();
        Panel { title: "", unit: "", series: vec![("", &summary)], mark }.span()
    }

    #[test]
    fn a_histogram_spans_what_counts() {
        assert_eq!(panel((0..=400).collect(), None), Span { first: 0, last: 400, width: 10 });
        assert_eq!(panel(vec![512; 9], None), Span { first: 512, last: 512, width: 1 });
        let mut tail: Vec<u64> = (100..=300).cycle().take(2_010).collect();
        tail.push(90_000);
        assert_eq!(panel(tail.clone(), None), Span { first: 100, last: 398, width: 5 });
        assert_eq!(panel(tail.clone(), Some(420)).last, 434, "a mark that is near is shown");
        assert_eq!(panel(tail, Some(2048)).last, 398, "one that is far away is not");
        assert_eq!(panel(vec![7; 200].into_iter().chain([4_000]).collect(), None).last, 7);
    }

    #[test]
    fn numbers_are_grouped_and_widths_round() {
        assert_eq!([0, 999, 1_000, 24_800_123].map(thousands), ["0", "999", "1,000", "24,800,123"]);
        assert_eq!([1, 2, 3, 6, 11, 21, 51].map(round_width), [1, 2, 5, 10, 20, 25, 100]);
    }

    #[test]
    fn any_data_set_can_be_drawn_and_an_empty_one_says_why_not() {
        for (tokens, width) in [
            (vec![1], vec![1]),
            (vec![0, 0, 0], vec![]),
            (vec![3, 4_000_000], vec![28, 16_384]),
            (vec![1 << 40], vec![1 << 40, 0]),
        ] {
            let s = stats(tokens, width);
            for cutoff_len in [1, 2048, usize::MAX] {
                assert!(!picture(&s, "a set", cutoff_len, Format::Png).unwrap().is_empty());
                assert!(!picture(&s, "a set", cutoff_len, Format::Svg).unwrap().is_empty());
            }
        }
        let error = picture(&stats(vec![], vec![]), "", 1, Format::Png).unwrap_err().to_string();
        assert!(error.contains("none of the 1 samples"), "{error}");
        assert!(Format::of(Path::new("a.PNG")).is_ok() && Format::of(Path::new("a.jpg")).is_err());
    }

    #[test]
    fn the_cut_is_marked_and_what_lies_behind_it_has_its_colour() {
        let s = stats((100..=300).collect(), vec![512; 300]);
        let svg = |cutoff_len| String::from_utf8(picture(&s, "scans <1>", cutoff_len, Format::Svg).unwrap()).unwrap();
        let orange = |text: &str| text.matches("<rect").count() - text.matches("fill=\"#1F77B4\"").count();
        let (cut, whole) = (svg(200), svg(4096));
        assert!(cut.contains("cutoff_len 200") && whole.contains("cutoff_len 4,096 lies beyond"), "{whole}");
        assert!(cut.contains("fill=\"#FF7F0E\"") && orange(&cut) > orange(&whole));
        assert!(cut.contains("scans &lt;1&gt;") && cut.contains("202 samples"));
    }
}
