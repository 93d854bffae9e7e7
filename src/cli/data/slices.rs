//! `lightbox data slices`

use super::options::{DrawnQuestionArgs, write_asked};
use super::print_summary;
use crate::cli::progress::Progress;
use crate::cli::table::table;
use crate::image::print;
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use lightbox_core::data::Questions;
use lightbox_core::exit::{Because, Exit};
use lightbox_core::medical::window::{PRESETS, WindowChoice};
use lightbox_core::medical::{Axis, Bad, PictureFormat, SliceError, SliceOptions, SliceReport, slices};
use lightbox_core::safe_text::{clean, clean_line};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A window says which values are seen; slices.jsonl says which one each picture was made with. Names, dates, numbers and
/// texts of patients are not read; UIDs become hashes. An interrupted run goes on where it was when the same command is
/// given again.
#[derive(Args)]
#[command(after_help = presets())]
pub struct SlicesArgs {
    /// Files and folders: DICOM (told by its content), NIfTI (.nii, .nii.gz, .hdr with .img), 16-bit grey PNG and TIFF
    #[arg(value_name = "SOURCE", required = true)]
    sources: Vec<PathBuf>,
    /// Folder for images/ and slices.jsonl; with --question a dataset_dir
    #[arg(long, value_name = "DIR", required_unless_present = "sheet")]
    out: Option<PathBuf>,
    /// file: the file's own, percentiles where it has none; auto: from the 1st to the 99th percentile; a preset; or two numbers
    #[arg(long, value_name = "file|auto|PRESET|CENTER,WIDTH", default_value = "file", allow_hyphen_values = true)]
    window: WindowChoice,
    /// How NIfTI volumes are cut: by the patient's axes, or along a voxel axis (0, 1, 2)
    #[arg(long, value_enum, default_value = "axial")]
    axis: AxisArg,
    /// Slices A to B-1 of each series, from 0; either end may be left out
    #[arg(long, value_name = "A:B", default_value = ":", value_parser = range)]
    range: Range<usize>,
    /// Every N-th of them
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    every: u32,
    /// Frames A to B-1 of files that have several (cine, 4-D NIfTI, TIFF pages), from 0
    #[arg(long, value_name = "A:B", default_value = ":", value_parser = range)]
    frames: Range<usize>,
    /// Most pixels of a side; larger pictures are shrunk
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..))]
    size: Option<u32>,
    /// png loses nothing; jpg has quality 95
    #[arg(long, value_enum, default_value = "png")]
    format: FormatArg,
    /// Copy a DICOM field into the table, by its keyword (PatientAge); `source` is the source's file name
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    keep: Vec<String>,
    /// Write a data set too: this question to every picture. {modality}, {body_part}, {plane}, {slice}, {slices},
    /// {position_mm}, {window}, {kind} and the fields of --keep stand for their values
    #[arg(long, id = "questions", value_name = "TEXT")]
    question: Option<String>,
    #[command(flatten)]
    drawn: DrawnQuestionArgs,
    /// The answer, with the same names in braces; without it answers are empty, for somebody to fill in
    #[arg(long, value_name = "TEXT", conflicts_with = "answer_from")]
    answer: Option<String>,
    /// Take the answer from a DICOM field (which is kept, too)
    #[arg(long, value_name = "FIELD")]
    answer_from: Option<String>,
    /// The data set's name in dataset_info.json
    #[arg(long, default_value = "scans")]
    name: String,
    /// A contact sheet of up to 48 slices: a PNG file, or - for the terminal
    #[arg(long, value_name = "FILE|-")]
    sheet: Option<PathBuf>,
    /// Replace slices of other sources or settings in --out, and another data set of that name
    #[arg(long)]
    overwrite: bool,
    /// The closing summary as one JSON object
    #[arg(long)]
    json: bool,
}

fn presets() -> String {
    let presets: Vec<String> =
        PRESETS.iter().map(|(name, width, center)| format!("{name} (W {width} L {center})")).collect();
    format!("Presets, in Hounsfield units: {}", presets.join(", "))
}

#[derive(Clone, Copy, ValueEnum)]
enum AxisArg {
    Axial,
    Coronal,
    Sagittal,
    #[value(name = "0")]
    I,
    #[value(name = "1")]
    J,
    #[value(name = "2")]
    K,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatArg {
    Png,
    Jpg,
}

/// `A:B`, `A:`, `:B`, or one number for one slice.
fn range(text: &str) -> Result<Range<usize>, String> {
    let number = |s: &str, otherwise| match s.trim() {
        "" => Ok(otherwise),
        s => s.parse().map_err(|_| format!("\"{s}\" is not a whole number")),
    };
    let range = match text.split_once(':') {
        Some((a, b)) => number(a, 0)?..number(b, usize::MAX)?,
        None => {
            let one: usize = number(text, 0)?;
            one..one.saturating_add(1)
        }
    };
    if range.is_empty() { Err("nothing lies between these two".into()) } else { Ok(range) }
}

/// Bad files named on standard error; all are counted, and all are in --json.
const NAMED: usize = 20;

pub fn run(args: SlicesArgs) -> Result<Exit> {
    let mut keep = args.keep;
    let answer = match args.answer_from {
        Some(field) => {
            let answer = format!("{{{field}}}");
            if !keep.contains(&field) {
                keep.push(field);
            }
            Some(answer)
        }
        None => args.answer,
    };
    if args.sheet.as_deref() == Some(Path::new("-")) && args.json {
        bail!("--sheet - and --json would both write to standard output; name a file for the sheet");
    }
    let questions = match args.question {
        Some(question) => Some(Questions::InTurn(vec![question])),
        None => args.drawn.questions()?,
    };
    if answer.is_some() && questions.is_none() {
        bail!("an answer needs a question: give --question or --questions");
    }
    let options = SliceOptions {
        sources: args.sources,
        out: args.out,
        window: args.window,
        axis: match args.axis {
            AxisArg::Axial => Axis::Axial,
            AxisArg::Coronal => Axis::Coronal,
            AxisArg::Sagittal => Axis::Sagittal,
            AxisArg::I => Axis::Voxel(0),
            AxisArg::J => Axis::Voxel(1),
            AxisArg::K => Axis::Voxel(2),
        },
        range: args.range,
        every: args.every as usize,
        frames: args.frames,
        size: args.size,
        format: match args.format {
            FormatArg::Png => PictureFormat::Png,
            FormatArg::Jpg => PictureFormat::Jpg,
        },
        keep,
        questions,
        question_seed: args.drawn.question_seed,
        answer,
        name: args.name,
        sheet: args.sheet.is_some(),
        overwrite: args.overwrite,
    };
    let mut progress = Progress::new("slicing")?;
    let mut named = 0;
    let result = slices(&options, &mut |step| {
        if let Some(bad) = step.bad {
            named += 1;
            if named <= NAMED {
                progress.say(&format!("left out: {}", describe(bad)));
            }
        }
        progress.set(step.done, step.total)
    });
    let seconds = progress.finish();
    let report = match result {
        Err(e @ SliceError::Stopped { .. }) => return Err(e).because(Exit::Stopped),
        other => other?,
    };
    if named > NAMED {
        eprintln!("… and {} more; --json names them all", named - NAMED);
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        print_summary(&report, seconds)?;
    } else {
        human(&mut out, &report, &options, seconds)?;
    }
    if let (Some(path), Some(sheet)) = (&args.sheet, &report.sheet) {
        let page =
            image::RgbImage::from_raw(sheet.width, sheet.height, sheet.data.clone()).context("an empty sheet")?;
        if path == Path::new("-") {
            write!(out, "\n{}", print::half_blocks(&page))?;
        } else {
            let mut png = std::io::Cursor::new(Vec::new());
            page.write_to(&mut png, image::ImageFormat::Png)?;
            lightbox_core::fs::write_atomic(path, png.get_ref())?;
            if !args.json {
                writeln!(out, "sheet     {}", clean(&path.display().to_string()))?;
            }
        }
    }
    Ok(if report.bad.is_empty() { Exit::Finished } else { Exit::Data })
}

fn describe(bad: &Bad) -> String {
    let frame = bad.frame.map_or(String::new(), |frame| format!(", frame {frame}"));
    clean_line(&format!("{}{frame}: {}: {}", bad.file.display(), bad.kind, bad.reason), 500)
}

/// What a note means for the reader.
fn meaning(note: &str) -> &'static str {
    match note {
        "window_from_percentiles" => {
            "have no window of their own: the 1st to 99th percentile was taken; choose one with --window"
        }
        "file_window_unusable" => "name a window that cannot be; it was passed over",
        "preset_without_hu" => "are not CT, and presets are in Hounsfield units: use --window auto or two numbers",
        "burned_in_annotation" => "say that writing is burned into their pixels: look for names before you share them",
        "orientation_unknown" => "come from volumes without orientation: left and right are a guess",
        "made_square" => "had pixels that are not square; they were made square",
        _ => "",
    }
}

fn human(out: &mut impl Write, r: &SliceReport, o: &SliceOptions, seconds: f64) -> Result<()> {
    let rows: Vec<Vec<String>> = r
        .series
        .iter()
        .map(|s| {
            let window = s.window.as_ref().map_or(String::new(), |w| match (w.center, w.width) {
                (Some(center), Some(width)) => format!("{} (W {width:.0} L {center:.0})", w.from),
                _ => w.from.clone(),
            });
            let of = if s.chosen == s.slices { s.slices.to_string() } else { format!("{} of {}", s.chosen, s.slices) };
            let plane = s.plane.unwrap_or("-").to_owned();
            vec![s.name.clone(), s.body_part.clone().unwrap_or_else(|| "-".into()), plane, of, window]
        })
        .collect();
    write!(out, "{}", table(&["series", "body part", "plane", "slices#", "window"], &rows))?;
    for (note, count) in &r.notes {
        writeln!(out, "note      {count} pictures {}", meaning(note))?;
    }
    if r.duplicates > 0 {
        writeln!(out, "twice     {} DICOM files were there already, by their UID", r.duplicates)?;
    }
    if r.passed_over > 0 {
        writeln!(out, "other     {} files are no such pictures", r.passed_over)?;
    }
    if !r.bad.is_empty() {
        writeln!(out, "left out  {} files or frames that cannot be used", r.bad.len())?;
    }
    let earlier = if r.earlier > 0 { format!(", {} of them by an earlier run", r.earlier) } else { String::new() };
    writeln!(out, "pictures  {}{earlier}, in {seconds:.1} s", r.pictures)?;
    let Some(folder) = &o.out else { return Ok(()) };
    if let Some(table) = &r.table {
        writeln!(out, "table     {}", clean(&table.display().to_string()))?;
    }
    if let Some(info) = &r.dataset_info {
        writeln!(
            out,
            "entry     \"{}\" in {}: {} samples",
            clean(&o.name),
            clean(&info.display().to_string()),
            r.samples
        )?;
        write_asked(out, &r.questions)?;
        if r.left_out > 0 {
            writeln!(out, "          {} pictures lack what question or answer name, and are not in it", r.left_out)?;
        }
        if o.answer.is_none() {
            writeln!(out, "          their answers are empty: fill them in before training")?;
        }
        writeln!(
            out,
            "\nNext: lightbox data check {} --dataset-dir {}",
            clean(&o.name),
            clean(&folder.display().to_string())
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn ranges_leave_their_end_out() {
        assert_eq!(range("2:5"), Ok(2..5));
        assert_eq!(range("2:"), Ok(2..usize::MAX));
        assert_eq!(range(":"), Ok(0..usize::MAX));
        assert_eq!(range("7"), Ok(7..8));
        for bad in ["a", "5:2", "-1:3", "3:3"] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }
}
