//! CUDA through libtorch's device-generic interfaces: nothing of it is needed to build or to run without a GPU.
use std::fmt;
use std::sync::OnceLock;

use tch::TchError;

use crate::ffi;

/// Why CUDA cannot be used. The sentences name the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unavailable {
    /// There is no libtorch_cuda.so beside libtorch_cpu.so.
    CpuOnly(String),
    /// It is there but cannot be opened; the loader's words.
    Loader(String),
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::CpuOnly(text) => f.write_str(text),
            Self::Loader(text) => write!(f, "the CUDA half of libtorch cannot be loaded: {text}"),
        }
    }
}

impl std::error::Error for Unavailable {}

/// Opens libtorch_cuda.so beside the libtorch_cpu.so of this process.
///
/// Nothing links it (the linker's `--as-needed` drops it: tch-rs issue 980), which is what lets one binary run with
/// and without a GPU. Call it first in `main`: after the first question about CUDA libtorch has decided that there
/// is none. It takes about 0.3 s and succeeds without a GPU or driver too: then `tch::Cuda::is_available()` is false.
/// Later calls return the first answer.
pub fn load() -> Result<(), Unavailable> {
    static ANSWER: OnceLock<Result<(), Unavailable>> = OnceLock::new();
    ANSWER
        .get_or_init(|| match ffi::shim_load_cuda() {
            0 => Ok(()),
            1 => Err(Unavailable::CpuOnly(ffi::error_text())),
            _ => Err(Unavailable::Loader(ffi::error_text())),
        })
        .clone()
}

/// The caching allocator's figures of one GPU, in bytes unless said otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// Held by tensors now.
    pub allocated: u64,
    /// The most that tensors held since the last [`reset_peak_memory`].
    pub allocated_peak: u64,
    /// Taken from the GPU by the allocator: tensors and its cache.
    pub reserved: u64,
    pub reserved_peak: u64,
    /// Free on the whole GPU, other processes considered.
    pub free: u64,
    pub total: u64,
    /// How often an allocation succeeded only after the cache was emptied (a number; above 0 the memory is tight).
    pub retries: u64,
    /// How often an allocation failed (a number).
    pub out_of_memory: u64,
}

/// `torch.cuda.memory_stats` and `mem_get_info` of GPU `device`. An error before the first tensor is put there.
pub fn memory_stats(device: usize) -> Result<MemoryStats, TchError> {
    let mut s = [0i64; 8];
    // SAFETY: eight writable numbers, as the declaration says.
    ffi::check(unsafe { ffi::shim_memory_stats(index(device)?, s.as_mut_ptr()) })?;
    let [allocated, allocated_peak, reserved, reserved_peak, free, total, retries, out_of_memory] =
        s.map(|x| u64::try_from(x).unwrap_or(0));
    Ok(MemoryStats { allocated, allocated_peak, reserved, reserved_peak, free, total, retries, out_of_memory })
}

/// Peaks of [`MemoryStats`] start again from the present values.
pub fn reset_peak_memory(device: usize) -> Result<(), TchError> {
    ffi::check(ffi::shim_reset_peak_memory(index(device)?))
}

/// Gives cached memory back to the GPU, for other processes or after an out-of-memory error.
pub fn empty_cache() -> Result<(), TchError> {
    ffi::check(ffi::shim_empty_cache())
}

/// Waits until all work queued on GPU `device` is done. Before a clock is read; never inside the training loop.
pub fn synchronize(device: usize) -> Result<(), TchError> {
    ffi::check(ffi::shim_synchronize(index(device)?))
}

/// libtorch's device index is a signed byte.
fn index(device: usize) -> Result<i32, TchError> {
    i8::try_from(device).map(i32::from).map_err(|_| TchError::Torch(format!("no GPU has the index {device}")))
}
