//! One slice → a picture and its row of the table.

use super::super::picture::Picture;
use super::super::read::Reader;
use super::super::row::Row;
use super::super::scan::{Origin, Series};
use super::super::{Fault, Values};
use super::SliceOptions;
use super::out::Entry;

/// The `i`-th slice of a series, `n`-th of the plan.
///
/// # Errors
/// What is wrong with its file.
pub fn make(
    reader: &mut Reader,
    series: &Series,
    i: usize,
    n: usize,
    o: &SliceOptions,
) -> Result<(Entry, Picture), Fault> {
    let slice = &series.slices[i];
    let plane = reader.plane(series, slice)?;
    let colour = matches!(plane.values, Values::Rgb(_));
    let view = reader.view(series, slice, &o.window, colour)?;
    let picture = Picture::of(plane, &view.window, view.inverted);
    let before = picture.size;
    let (picture, resampled) = picture.shaped(series.pixel_mm, o.size)?;
    let mut notes: Vec<String> = view.notes.iter().map(|&note| note.to_owned()).collect();
    if resampled {
        notes.push("made_square".to_owned());
    }
    let volume = matches!(series.origin, Origin::Nifti(..));
    let (slice_number, slices) = match &series.origin {
        Origin::Nifti(_, cut) => (slice.index, cut.slices),
        _ => (i, series.slices.len()),
    };
    let stem = if volume && series.frames > 1 {
        format!("{:04}-{:04}", slice.frame, slice.index)
    } else {
        format!("{slice_number:04}")
    };
    let round = |v: f64| (v * 1000.0).round() / 1000.0;
    let row = Row {
        image: format!("images/{}/{stem}.{}", series.name, o.format.extension()),
        series: series.id.clone(),
        kind: series.kind().to_owned(),
        modality: series.modality.clone(),
        body_part: series.body_part.clone(),
        plane: series.plane.map(str::to_owned),
        slice: slice_number,
        slices,
        frame: (series.frames > 1).then_some(slice.frame),
        position_mm: slice.position_mm.map(round),
        width: picture.size.width,
        height: picture.size.height,
        pixel_mm: series
            .pixel_mm
            .map(|[_, columns]| round(columns * f64::from(before.width) / f64::from(picture.size.width))),
        window: view.window_row,
        display: if volume { "radiological" } else { "as stored" }.to_owned(),
        resampled,
        burned_in: view.burned_in,
        kept: view.kept,
    };
    Ok((Entry { n, notes, row }, picture))
}
