//! NIfTI-1 and NIfTI-2: header, orientation, and slices of a volume as a radiologist looks at them.
//!
//! i, j, k are voxel axes; R, A, S are patient axes (towards right, anterior, superior), in millimetres. The affine of the
//! header takes voxels to R, A, S; each patient axis is given the voxel axis nearest to it, and slices are cut along voxel
//! axes, never between. Display is radiological:
//! ```text
//! axial     columns R → L, rows A → P (seen from the feet)
//! coronal   columns R → L, rows S → I (seen from the front)
//! sagittal  columns A → P, rows S → I (seen from the patient's left)
//! ```
//! Source: the headers nifti1.h and nifti2.h of the NIfTI Data Format Working Group.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::{Fault, MAX_PIXELS, MAX_VOXELS, Plane, Values, kind};
use crate::vision::{MAX_SIDE, Size};

/// Which way slices are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Axis {
    #[default]
    Axial,
    Coronal,
    Sagittal,
    /// Along the voxel axis of this number, shown as the plane it is nearest to.
    #[serde(untagged)]
    Voxel(usize),
}

const HEADER: usize = 540; // NIfTI-2; NIfTI-1 has 348

/// A header, as far as pictures need it.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// Voxels along i, j, k.
    pub dim: [usize; 3],
    pub frames: usize,
    /// NIFTI_TYPE_*
    datatype: i16,
    big_endian: bool,
    /// Where the voxels begin in their file.
    offset: u64,
    slope: f64,
    inter: f64,
    /// `cal_min`, `cal_max`: what the writer wants to be black and white.
    pub window: Option<(f64, f64)>,
    /// Rows R, A, S; columns i, j, k, origin.
    affine: [[f64; 4]; 3],
    /// Neither sform nor qform: i, j, k are taken for R, A, S.
    pub unoriented: bool,
    /// The voxels are in a file of their own (.img).
    apart: bool,
}

/// Whether these first bytes of a file (inflated) are a NIfTI header.
pub fn is_nifti(start: &[u8]) -> bool {
    let magic = |at: usize, magics: [&[u8; 4]; 2]| magics.iter().any(|m| start.get(at..at + 4) == Some(m.as_slice()));
    let size = start.first_chunk::<4>().map(|b| (i32::from_le_bytes(*b), i32::from_be_bytes(*b)));
    match size {
        Some((348, _) | (_, 348)) => magic(344, [b"n+1\0", b"ni1\0"]),
        Some((540, _) | (_, 540)) => magic(4, [b"n+2\0", b"ni2\0"]),
        _ => false,
    }
}

/// The first bytes of a file, inflated where it is gzip.
pub fn start_of(file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut raw = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.by_ref().take(64 << 10).read_to_end(&mut raw)?;
    if !raw.starts_with(&[0x1f, 0x8b]) {
        raw.truncate(HEADER);
        return Ok(raw);
    }
    let mut start = Vec::new();
    // What came out before an error is enough to tell.
    let _ = MultiGzDecoder::new(raw.as_slice()).take(HEADER as u64).read_to_end(&mut start);
    Ok(start)
}

impl Header {
    /// # Errors
    /// Damage, limits, and kinds of voxels that are no picture.
    pub fn parse(start: &[u8]) -> Result<Self, Fault> {
        let broken = |what: &str| Fault::new(kind::NIFTI_BROKEN, format!("damaged: {what}"));
        if !is_nifti(start) {
            return Err(broken("no NIfTI header"));
        }
        let big_endian = start[0] == 0;
        let two = start[if big_endian { 2 } else { 1 }] == 2; // 540 = 0x21c, 348 = 0x15c
        if start.len() < if two { HEADER } else { 348 } {
            return Err(broken("it ends within its header"));
        }
        let f = Fields { bytes: start, big_endian };
        // Offsets of NIfTI-1 and NIfTI-2, in this order.
        let at = |one: usize, second: usize| if two { second } else { one };
        let dim = |i: usize| if two { f.i64(16 + 8 * i) } else { f.i16(40 + 2 * i).into() };
        let real = |one: usize, second: usize| if two { f.f64(second) } else { f.f32(one).into() };
        let row = |one: usize, second: usize| [0, 1, 2, 3].map(|c| real(one + 4 * c, second + 8 * c));
        let pixdim = |i: usize| real(76 + 4 * i, 104 + 8 * i);

        let n = dim(0);
        if !(1..=7).contains(&n) {
            return Err(broken("its number of dimensions is not 1 to 7"));
        }
        let sizes = [1, 2, 3, 4, 5, 6, 7].map(|i: i64| if i <= n { dim(i as usize) } else { 1 });
        if sizes.iter().any(|&s| s < 1) {
            return Err(broken("a dimension has no voxels"));
        }
        if sizes[4..].iter().any(|&s| s != 1) {
            return Err(Fault::new(
                kind::NIFTI_UNSUPPORTED,
                "more than four dimensions (vectors, tensors) are not supported",
            ));
        }
        let voxels = sizes[..3].iter().try_fold(1u64, |all, &s| all.checked_mul(s as u64)).filter(|&v| v <= MAX_VOXELS);
        if voxels.is_none() || sizes[3] > 1_000_000 {
            let what = format!(
                "{}x{}x{} voxels, {} frames; at most {} million voxels are read",
                sizes[0],
                sizes[1],
                sizes[2],
                sizes[3],
                MAX_VOXELS >> 20
            );
            return Err(Fault::new(kind::TOO_LARGE, what));
        }
        let offset = if two { f.i64(168) as f64 } else { f.f32(108).into() };
        let apart = matches!(start.get(at(344, 4)..at(344, 4) + 3), Some(b"ni1" | b"ni2"));
        let least = if apart {
            0.0
        } else if two {
            544.0
        } else {
            352.0
        };
        if !(offset >= least || offset == 0.0) || offset > (1u64 << 30) as f64 {
            return Err(broken("its voxels begin at an impossible place"));
        }
        let (sform, qform) = if two { (f.i32(348), f.i32(344)) } else { (f.i16(254).into(), f.i16(252).into()) };
        let affine = if sform > 0 {
            [row(280, 400), row(296, 432), row(312, 464)]
        } else if qform > 0 {
            let q = [0, 1, 2].map(|i| real(256 + 4 * i, 352 + 8 * i));
            let origin = [0, 1, 2].map(|i| real(268 + 4 * i, 376 + 8 * i));
            quaternion_affine(q, origin, [pixdim(1), pixdim(2), pixdim(3)], pixdim(0))
        } else {
            let spacing = |i: usize| if pixdim(i) > 0.0 { pixdim(i) } else { 1.0 };
            [[spacing(1), 0.0, 0.0, 0.0], [0.0, spacing(2), 0.0, 0.0], [0.0, 0.0, spacing(3), 0.0]]
        };
        if affine.iter().flatten().any(|v| !v.is_finite() || v.abs() > 1e6) {
            return Err(broken("its orientation is no matrix of numbers"));
        }
        let (slope, inter) = (real(112, 176), real(116, 184));
        let scaled = slope != 0.0 && slope.is_finite() && inter.is_finite();
        let (cal_max, cal_min) = (real(124, 192), real(128, 200));
        let header = Self {
            dim: [sizes[0] as usize, sizes[1] as usize, sizes[2] as usize],
            frames: sizes[3] as usize,
            datatype: f.i16(at(70, 12)),
            big_endian,
            offset: offset.max(least) as u64,
            slope: if scaled { slope } else { 1.0 },
            inter: if scaled { inter } else { 0.0 },
            window: (cal_max > cal_min && cal_max.is_finite() && cal_min.is_finite()).then_some((cal_min, cal_max)),
            affine,
            unoriented: sform <= 0 && qform <= 0,
            apart,
        };
        match header.voxel_bytes() {
            0 => Err(Fault::new(
                kind::NIFTI_UNSUPPORTED,
                format!("voxels of type {} (colour, complex or bits) are not supported", header.datatype),
            )),
            _ => Ok(header),
        }
    }

    /// 0 for types that are not read.
    fn voxel_bytes(&self) -> usize {
        match self.datatype {
            2 | 256 => 1,
            4 | 512 => 2,
            8 | 16 | 768 => 4,
            64 | 1024 | 1280 => 8,
            _ => 0,
        }
    }

    fn voxels(&self) -> usize {
        self.dim.iter().product()
    }

    /// Millimetres from a voxel to the next along i, j, k.
    fn spacing(&self) -> [f64; 3] {
        [0, 1, 2].map(|v| {
            let length = self.affine.iter().map(|row| row[v] * row[v]).sum::<f64>().sqrt();
            if length > 0.0 { length } else { 1.0 }
        })
    }

    /// For R, A, S: the voxel axis nearest to it, and whether it runs the other way.
    fn nearest(&self) -> [(usize, bool); 3] {
        let spacing = self.spacing();
        let mut pairs: Vec<(usize, usize)> = (0..9).map(|i| (i / 3, i % 3)).collect();
        pairs.sort_by(|&(r, v), &(s, w)| {
            (self.affine[s][w].abs() / spacing[w]).total_cmp(&(self.affine[r][v].abs() / spacing[v]))
        });
        let (mut found, mut used) = ([None; 3], [false; 3]);
        for (r, v) in pairs {
            if found[r].is_none() && !used[v] {
                (found[r], used[v]) = (Some((v, self.affine[r][v] < 0.0)), true);
            }
        }
        found.map(Option::unwrap_or_default) // three axes of each kind: all are found
    }

    /// How slices along `axis` are cut.
    pub fn cut(&self, axis: Axis) -> Result<Cut, Fault> {
        let nearest = self.nearest();
        let across = match axis {
            Axis::Sagittal => 0,
            Axis::Coronal => 1,
            Axis::Axial => 2,
            Axis::Voxel(v) => nearest.iter().position(|&(axis, _)| axis == v).unwrap_or(2),
        };
        let (columns, rows) = [(1, 2), (0, 2), (0, 1)][across];
        let spacing = self.spacing();
        let cut = Cut {
            plane: ["sagittal", "coronal", "axial"][across],
            across,
            slice: nearest[across],
            column: nearest[columns],
            row: nearest[rows],
            size: Size { width: self.dim[nearest[columns].0] as u32, height: self.dim[nearest[rows].0] as u32 },
            slices: self.dim[nearest[across].0],
            pixel_mm: [spacing[nearest[rows].0], spacing[nearest[columns].0]],
        };
        let pixels = cut.size.pixels();
        if pixels > MAX_PIXELS as u64 || u64::from(cut.size.width.max(cut.size.height)) > MAX_SIDE {
            return Err(Fault::new(
                kind::TOO_LARGE,
                format!("slices of {}x{} pixels", cut.size.width, cut.size.height),
            ));
        }
        Ok(cut)
    }

    /// Where slice `n` of a cut lies, in millimetres towards left, posterior or superior (DICOM's axes).
    pub fn position_mm(&self, cut: &Cut, n: usize) -> f64 {
        let mut voxel = self.dim.map(|d| (d as f64 - 1.0) / 2.0);
        voxel[cut.slice.0] = cut.voxel_of_slice(n) as f64;
        let row = self.affine[cut.across];
        let mm = row[0] * voxel[0] + row[1] * voxel[1] + row[2] * voxel[2] + row[3];
        if cut.across == 2 { mm } else { -mm }
    }
}

/// Slices along one patient axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Cut {
    pub plane: &'static str,
    /// 0 R, 1 A, 2 S
    across: usize,
    /// Voxel axis, and whether it runs against R, A or S.
    slice: (usize, bool),
    column: (usize, bool),
    row: (usize, bool),
    pub size: Size,
    pub slices: usize,
    /// Between rows, between columns.
    pub pixel_mm: [f64; 2],
}

impl Cut {
    /// Slices are counted towards left, posterior and superior, as those of a DICOM series.
    fn voxel_of_slice(&self, n: usize) -> usize {
        let backwards = self.slice.1 != (self.across != 2);
        if backwards { self.slices - 1 - n } else { n }
    }

    /// Slice `n` of a volume.
    pub fn plane(&self, header: &Header, volume: &[f32], n: usize) -> Plane {
        let step = [1, header.dim[0], header.dim[0] * header.dim[1]];
        // Columns and rows run against R, A and S: forwards along a voxel axis that does so too.
        let along =
            |(axis, against): (usize, bool), i: usize| step[axis] * if against { i } else { header.dim[axis] - 1 - i };
        let start = step[self.slice.0] * self.voxel_of_slice(n);
        let columns: Vec<usize> = (0..self.size.width as usize).map(|x| along(self.column, x)).collect();
        let rows = (0..self.size.height as usize).map(|y| start + along(self.row, y));
        let values = rows.flat_map(|row| columns.iter().map(move |column| f64::from(volume[row + column]))).collect();
        Plane { size: self.size, values: Values::Grey(values) }
    }
}

/// The quaternion of method 2 (`nifti_quatern_to_mat44`): rotation, spacing, and qfac for the third axis.
fn quaternion_affine([b, c, d]: [f64; 3], origin: [f64; 3], spacing: [f64; 3], qfac: f64) -> [[f64; 4]; 3] {
    let mut square = 1.0 - (b * b + c * c + d * d);
    let (mut b, mut c, mut d) = (b, c, d);
    if square < 1e-7 {
        // A half turn: b, c, d are the axis, of length one.
        let length = 1.0 / (b * b + c * c + d * d).sqrt();
        (b, c, d) = (b * length, c * length, d * length);
        square = 0.0;
    }
    let a = square.sqrt();
    let [x, y, z] = spacing.map(|s| if s > 0.0 { s } else { 1.0 });
    let z = if qfac < 0.0 { -z } else { z };
    [
        [(a * a + b * b - c * c - d * d) * x, 2.0 * (b * c - a * d) * y, 2.0 * (b * d + a * c) * z, origin[0]],
        [2.0 * (b * c + a * d) * x, (a * a + c * c - b * b - d * d) * y, 2.0 * (c * d - a * b) * z, origin[1]],
        [2.0 * (b * d - a * c) * x, 2.0 * (c * d + a * b) * y, (a * a + d * d - c * c - b * b) * z, origin[2]],
    ]
}

/// The voxels of a file, frame by frame, forwards.
pub struct Volumes {
    header: Header,
    source: Box<dyn Read>,
    next: usize,
}

impl Volumes {
    /// # Errors
    /// The file of voxels is not there or no regular file.
    pub fn open(path: &Path, header: &Header) -> Result<Self, Fault> {
        let path = if header.apart { voxel_file(path) } else { path.to_owned() };
        let (mut file, _) = crate::data::open_regular(&path)?;
        let io = |e: std::io::Error| Fault::new(crate::data::kind::IMAGE_UNREADABLE, e.to_string());
        let mut magic = [0; 2];
        let gzip = file.read(&mut magic).map_err(io)? == 2 && magic == [0x1f, 0x8b];
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        let file = BufReader::with_capacity(1 << 18, file);
        let mut source: Box<dyn Read> = if gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        skip(&mut source, header.offset)?;
        Ok(Self { header: header.clone(), source, next: 0 })
    }

    /// Whether `frame` is still ahead.
    pub fn reaches(&self, frame: usize) -> bool {
        frame >= self.next
    }

    /// The voxels of a frame, scaled; i runs fastest.
    ///
    /// # Errors
    /// The file ends before them.
    pub fn read(&mut self, frame: usize) -> Result<Vec<f32>, Fault> {
        let h = &self.header;
        let (bytes, voxels) = (h.voxel_bytes(), h.voxels());
        skip(&mut self.source, (frame - self.next) as u64 * (voxels * bytes) as u64)?;
        // Grows with what is really there: a header may promise anything.
        let mut volume = Vec::new();
        let mut chunk = vec![0; 1 << 20];
        while volume.len() < voxels {
            let want = (chunk.len() / bytes).min(voxels - volume.len()) * bytes;
            self.source.read_exact(&mut chunk[..want]).map_err(ended)?;
            volume.extend(chunk[..want].chunks_exact(bytes).map(|b| (number(h, b) * h.slope + h.inter) as f32));
        }
        self.next = frame + 1;
        Ok(volume)
    }
}

fn skip(source: &mut impl Read, bytes: u64) -> Result<(), Fault> {
    let skipped = std::io::copy(&mut source.take(bytes), &mut std::io::sink()).map_err(ended)?;
    if skipped == bytes { Ok(()) } else { Err(ended(std::io::ErrorKind::UnexpectedEof.into())) }
}

fn ended(e: std::io::Error) -> Fault {
    Fault::new(kind::NIFTI_BROKEN, format!("it cannot be read to the end of the voxels ({e}): fetch it again"))
}

/// `x.hdr` → `x.img`, or `x.img.gz` where only that is there.
fn voxel_file(header: &Path) -> PathBuf {
    let name = header.to_string_lossy();
    let stem = name.strip_suffix(".gz").unwrap_or(&name);
    let plain = Path::new(stem).with_extension("img");
    if plain.exists() { plain } else { PathBuf::from(format!("{}.gz", plain.display())) }
}

fn number(h: &Header, raw: &[u8]) -> f64 {
    let mut b = [0; 8];
    for (i, &byte) in raw.iter().enumerate() {
        b[if h.big_endian { raw.len() - 1 - i } else { i }] = byte;
    }
    let [b0, b1, b2, b3, ..] = b;
    match h.datatype {
        2 => b0.into(),
        256 => (b0 as i8).into(),
        4 => i16::from_le_bytes([b0, b1]).into(),
        512 => u16::from_le_bytes([b0, b1]).into(),
        8 => i32::from_le_bytes([b0, b1, b2, b3]).into(),
        768 => u32::from_le_bytes([b0, b1, b2, b3]).into(),
        16 => f32::from_le_bytes([b0, b1, b2, b3]).into(),
        64 => f64::from_le_bytes(b),
        1024 => i64::from_le_bytes(b) as f64,
        _ => u64::from_le_bytes(b) as f64,
    }
}

/// Numbers at fixed places of the header.
struct Fields<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

impl Fields<'_> {
    fn take<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut b: [u8; N] = std::array::from_fn(|i| self.bytes.get(at + i).copied().unwrap_or(0));
        if self.big_endian {
            b.reverse();
        }
        b
    }

    fn i16(&self, at: usize) -> i16 {
        i16::from_le_bytes(self.take(at))
    }

    fn i32(&self, at: usize) -> i32 {
        i32::from_le_bytes(self.take(at))
    }

    fn i64(&self, at: usize) -> i64 {
        i64::from_le_bytes(self.take(at))
    }

    fn f32(&self, at: usize) -> f32 {
        f32::from_le_bytes(self.take(at))
    }

    fn f64(&self, at: usize) -> f64 {
        f64::from_le_bytes(self.take(at))
    }
}
