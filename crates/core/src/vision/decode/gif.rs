//! GIF, first frame only, with PIL's rules for the canvas around it.

use gif::{ColorOutput, DecodeOptions, DecodingError, Frame, MemoryLimit};

use super::super::raster::Pixels;
use super::{Format, ImageError, MAX_BYTES, Mode, Raster, Size};

pub(super) fn header(file: &[u8]) -> Result<(Size, Mode), ImageError> {
    let mut decoder = open(file)?;
    let (size, global) = screen(&decoder);
    let frame = decoder.next_frame_info().map_err(gif_error)?.ok_or_else(no_frame)?;
    Ok((canvas(size, frame), mode(palette(frame, &global))))
}

pub(super) fn decode(file: &[u8]) -> Result<Raster, ImageError> {
    let mut decoder = open(file)?;
    let (size, global) = screen(&decoder);
    let frame = decoder.read_next_frame().map_err(gif_error)?.ok_or_else(no_frame)?;
    let size = canvas(size, frame);
    let palette = palette(frame, &global);
    let mode = mode(palette);
    // The frame may be smaller than the screen; PIL fills the rest with the transparent index, else with index 0.
    let stride = size.width as usize;
    let mut indices = vec![frame.transparent.unwrap_or(0); stride * size.height as usize];
    let (left, top, width) = (usize::from(frame.left), usize::from(frame.top), usize::from(frame.width));
    if width > 0 {
        for (y, row) in frame.buffer.chunks_exact(width).enumerate() {
            indices[(top + y) * stride + left..][..width].copy_from_slice(row);
        }
    }
    let pixels = match (mode, palette) {
        (Mode::Palette, Some(palette)) => {
            let colours = lookup(palette);
            Pixels::Rgb(indices.iter().flat_map(|&i| colours[usize::from(i)]).collect())
        }
        _ => Pixels::Grey(indices),
    };
    Ok(Raster { size, mode, pixels })
}

type Decoder<'a> = gif::Decoder<&'a [u8]>;

fn open(file: &[u8]) -> Result<Decoder<'_>, ImageError> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    if let Some(limit) = std::num::NonZeroU64::new(MAX_BYTES) {
        options.set_memory_limit(MemoryLimit::Bytes(limit));
    }
    options.allow_unknown_blocks(true);
    options.read_info(file).map_err(gif_error)
}

/// The logical screen and its palette, if it is more than a grey ramp.
fn screen(decoder: &Decoder<'_>) -> (Size, Option<Vec<u8>>) {
    let size = Size { width: decoder.width().into(), height: decoder.height().into() };
    let global = decoder.global_palette().filter(|p| !is_grey_ramp(p)).map(<[u8]>::to_vec);
    (size, global)
}

/// PIL enlarges the screen when the frame reaches beyond it.
fn canvas(screen: Size, frame: &Frame<'_>) -> Size {
    Size {
        width: screen.width.max(u32::from(frame.left) + u32::from(frame.width)),
        height: screen.height.max(u32::from(frame.top) + u32::from(frame.height)),
    }
}

/// The palette in force; none when it is a grey ramp (index = level), even where the screen has colours.
fn palette<'a>(frame: &'a Frame<'_>, global: &'a Option<Vec<u8>>) -> Option<&'a [u8]> {
    match &frame.palette {
        Some(local) => Some(local.as_slice()).filter(|p| !is_grey_ramp(p)),
        None => global.as_deref(),
    }
}

fn mode(palette: Option<&[u8]>) -> Mode {
    if palette.is_some() { Mode::Palette } else { Mode::Grey }
}

fn is_grey_ramp(palette: &[u8]) -> bool {
    palette.as_chunks::<3>().0.iter().enumerate().all(|(i, colour)| *colour == [i as u8; 3])
}

/// 256 colours; PIL's palettes begin as a grey ramp, which shows through behind the end of a short one.
fn lookup(palette: &[u8]) -> [[u8; 3]; 256] {
    let mut colours: [[u8; 3]; 256] = std::array::from_fn(|i| [i as u8; 3]);
    for (slot, colour) in colours.iter_mut().zip(palette.as_chunks::<3>().0) {
        *slot = *colour;
    }
    colours
}

fn no_frame() -> ImageError {
    ImageError::truncated(Format::Gif, "no frame")
}

fn gif_error(error: DecodingError) -> ImageError {
    match error {
        DecodingError::UnexpectedEof | DecodingError::EndCodeNotFound => ImageError::truncated(Format::Gif, error),
        DecodingError::Io(e) => ImageError::from_io(Format::Gif, &e),
        e => ImageError::broken(Format::Gif, e),
    }
}
