//! GPUs, through NVML where there is a driver. A call that the driver refuses leaves its field empty; nothing here fails.
use super::super::record::{Gpu, GpuProcess, GpuProcessKind};
use crate::safe_text::clean_line;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, Nvml};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A file with a JSON array of [`Gpu`] records that is shown instead of what the driver says, read anew at each look: for
/// tests and pictures of the GPU panel on machines without one.
pub const FAKE: &str = "LIGHTBOX_FAKE_GPUS";

/// Where figures come from.
pub enum Gpus {
    None,
    Nvml(Box<Nvml>),
    File(PathBuf),
}

impl Gpus {
    /// Asks once whether there is a driver; one that is installed later is found by the next process.
    pub fn find() -> Self {
        match std::env::var_os(FAKE).filter(|file| !file.is_empty()) {
            Some(file) => Self::File(file.into()),
            None => driver().map_or(Self::None, |nvml| Self::Nvml(Box::new(nvml))),
        }
    }

    /// All that the driver shows now. Takes as long as the driver does.
    pub fn look(&self) -> Vec<Gpu> {
        match self {
            Self::None => Vec::new(),
            Self::Nvml(nvml) => {
                let count = nvml.device_count().unwrap_or(0);
                (0..count).filter_map(|index| Some(gpu(nvml, index, &nvml.device_by_index(index).ok()?))).collect()
            }
            Self::File(file) => {
                std::fs::read(file).ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
            }
        }
    }
}

/// The NVIDIA driver's version and the names of the GPUs; nothing where there is none.
pub fn installed() -> (Option<String>, Vec<String>) {
    let Some(nvml) = driver() else { return (None, Vec::new()) };
    let names = (0..nvml.device_count().unwrap_or(0)).filter_map(|i| nvml.device_by_index(i).ok()?.name().ok());
    (nvml.sys_driver_version().ok(), names.collect())
}

fn driver() -> Option<Nvml> {
    // the name without `.1` comes with development packages only
    Nvml::builder().lib_path("libnvidia-ml.so.1".as_ref()).init().ok()
}

fn gpu(nvml: &Nvml, index: u32, device: &Device) -> Gpu {
    let memory = device.memory_info().ok();
    let watts = |milliwatts: u32| f64::from(milliwatts) / 1000.0;
    let processes = processes(nvml, device);
    let own = std::process::id();
    Gpu {
        index,
        name: device.name().unwrap_or_default(),
        util_percent: device.utilization_rates().ok().map(|rates| rates.gpu),
        mem_used_bytes: memory.as_ref().map(|memory| memory.used),
        mem_total_bytes: memory.as_ref().map(|memory| memory.total),
        mem_worker_bytes: processes.iter().find(|process| process.pid == own).and_then(|process| process.mem_bytes),
        temp_c: device.temperature(TemperatureSensor::Gpu).ok(),
        power_w: device.power_usage().ok().map(watts),
        power_limit_w: device.enforced_power_limit().ok().map(watts),
        sm_clock_mhz: device.clock_info(Clock::SM).ok(),
        mem_clock_mhz: device.clock_info(Clock::Memory).ok(),
        fan_percent: device.fan_speed(0).ok(),
        throttle: device
            .current_throttle_reasons()
            .map(|reasons| reasons.iter_names().map(|(name, _)| name.to_owned()).collect())
            .unwrap_or_default(),
        processes,
    }
}

/// Who uses it, by pid. Inside a container the driver may show none, or the host's numbers.
fn processes(nvml: &Nvml, device: &Device) -> Vec<GpuProcess> {
    let mut found: BTreeMap<u32, GpuProcess> = BTreeMap::new();
    let compute = device.running_compute_processes().unwrap_or_default();
    let graphics = device.running_graphics_processes().unwrap_or_default();
    let mut add = |process: ProcessInfo, kind| {
        let mem_bytes = match process.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        };
        let entry = found.entry(process.pid);
        let known = matches!(entry, std::collections::btree_map::Entry::Occupied(_));
        let process =
            entry.or_insert_with(|| GpuProcess { pid: process.pid, name: name(nvml, process.pid), mem_bytes, kind });
        if known {
            process.kind = GpuProcessKind::Both;
            process.mem_bytes = process.mem_bytes.max(mem_bytes);
        }
    };
    compute.into_iter().for_each(|process| add(process, GpuProcessKind::Compute));
    graphics.into_iter().for_each(|process| add(process, GpuProcessKind::Graphics));
    found.into_values().collect()
}

/// The program's name without its folder; empty where the driver does not tell.
fn name(nvml: &Nvml, pid: u32) -> String {
    const LONGEST: usize = 256;
    let path = nvml.sys_process_name(pid, LONGEST).unwrap_or_default();
    clean_line(path.rsplit('/').next().unwrap_or(&path), 64)
}
