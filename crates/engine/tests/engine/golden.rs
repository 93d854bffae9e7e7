//! Reading goldens and comparing with them.

use lightbox_engine::config::Config;
use lightbox_engine::model::{Loader, Pictures, Qwen2Vl, Tokens, loader::Source};
use lightbox_engine::weights::Weights;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tch::{Device, Kind, Tensor};

pub const MODELS: [&str; 2] = ["tiny-tied", "tiny-untied"];

pub fn path(rel: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(rel)
}

pub fn json(rel: &str) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(path(rel)).unwrap_or_else(|e| panic!("{rel}: {e}"))).unwrap()
}

pub struct Golden(Weights, String);

impl Golden {
    pub fn open(rel: &str) -> Self {
        Self(Weights::open_files(&[path(rel)]).unwrap(), rel.to_owned())
    }
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }
    pub fn get(&self, name: &str) -> Tensor {
        self.0.get_any(name).unwrap_or_else(|e| panic!("{}: {e:#}", self.1))
    }
    pub fn names(&self) -> Vec<String> {
        self.0.names().map(str::to_owned).collect()
    }
}

pub fn load(model: &str, kind: Kind) -> Qwen2Vl {
    // One thread: gradients of two threads differ in the last bits (notes of the goldens).
    tch::set_num_threads(1);
    let dir = path(&format!("models/{model}"));
    let loader = Loader {
        source: Source::Files(Weights::open_model(&dir).unwrap()),
        kind,
        device: Device::Cpu,
        trained: Box::new(|_| false),
    };
    Qwen2Vl::load(Config::from_dir(&dir).unwrap(), &loader).unwrap()
}

pub fn grids(t: &Tensor) -> Vec<[i64; 3]> {
    Vec::<Vec<i64>>::try_from(t).unwrap().into_iter().map(|g| [g[0], g[1], g[2]]).collect()
}

/// pixel_values from the uint8 patches that the goldens keep: (u8 - mean·255) / (std·255), the frame doubled.
fn pixels_from_u8(patches: &Tensor) -> Tensor {
    let c = |v: [f32; 3]| (Tensor::from_slice(&v) * 255.0).view([3, 1, 1]);
    let (mean, std) = (c([0.48145466, 0.4578275, 0.40821073]), c([0.26862954, 0.261_302_6, 0.275_777_1]));
    let x = (patches.view([-1, 3, 14, 14]).to_kind(Kind::Float) - mean) / std;
    x.unsqueeze(2).expand([-1, -1, 2, -1, -1], false).reshape([-1, 1176])
}

pub fn pictures(g: &Golden) -> Option<Pictures> {
    if !g.has("image_grid_thw") {
        return None;
    }
    let pixel_values = if g.has("patches_u8") { pixels_from_u8(&g.get("patches_u8")) } else { g.get("pixel_values") };
    Some(Pictures { pixel_values, grids: grids(&g.get("image_grid_thw")) })
}

pub fn tokens(g: &Golden) -> Tokens {
    Tokens {
        input_ids: g.get("input_ids"),
        position_ids: g.get("position_ids"),
        attention_mask: g.has("attention_mask").then(|| g.get("attention_mask")),
    }
}

/// libtorch has one generator for the whole process. A test whose result depends on random numbers takes this …
pub fn random_alone() -> RwLockWriteGuard<'static, ()> {
    RANDOM.write().unwrap_or_else(PoisonError::into_inner)
}

/// … and one that only draws some takes this, so that it does not disturb the others.
pub fn random_among_others() -> RwLockReadGuard<'static, ()> {
    RANDOM.read().unwrap_or_else(PoisonError::into_inner)
}

static RANDOM: RwLock<()> = RwLock::new(());

/// Largest difference as a share of the golden's largest value.
pub fn distance(ours: &Tensor, golden: &Tensor) -> f64 {
    assert_eq!(ours.size(), golden.size());
    let (a, b) = (ours.to_kind(Kind::Double), golden.to_kind(Kind::Double));
    let max = b.abs().max().double_value(&[]).max(1e-30);
    let d = (a - b).abs().max().double_value(&[]) / max;
    assert!(!d.is_nan());
    d
}

/// fp32: 1e-5 of the maximum. bf16: 3 % of the maximum, which is what another CPU's kernels move it by.
pub fn assert_near(what: &str, ours: &Tensor, golden: &Tensor) {
    let bound = if golden.kind() == Kind::BFloat16 { 0.03 } else { 1e-5 };
    let d = distance(ours, golden);
    println!("{what}: {}", if d == 0.0 { "bit-equal".to_owned() } else { format!("{d:.1e} of max") });
    assert!(d <= bound, "{what}: {d:e} of the maximum, allowed {bound:e}");
}
