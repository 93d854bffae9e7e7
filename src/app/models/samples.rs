//! Models and adapters for tests.
use super::entry::{AdapterFacts, BaseFacts, Disk, Entry, Facts, Kind, Lack, Origin};
use lightbox_core::hub::{self, Cached};
use lightbox_core::runs::state::Status;
use lightbox_core::safe_text::clean_line;
use std::path::PathBuf;

pub fn base(name: &str, origin: Origin) -> Entry {
    let facts = BaseFacts {
        architecture: "Qwen2VLForConditionalGeneration".into(),
        known: true,
        hidden: Some(1536),
        layers: Some(28),
        vocabulary: Some(151_936),
        tokenizer: true,
        processor: true,
        chat_template: true,
    };
    Entry {
        kind: Kind::Base,
        name: clean_line(name, 200),
        path: PathBuf::from("/models").join(name),
        bytes: 4_429_000_000,
        origin,
        dtype: "bf16".into(),
        lack: None,
        parameters: 2_208_985_600,
        files: vec![
            ("config.json".into(), 1_203),
            ("model-00001-of-00002.safetensors".into(), 3_988_609_112),
            ("model-00002-of-00002.safetensors".into(), 429_441_656),
            ("tokenizer.json".into(), 7_031_645),
        ],
        licence: "apache-2.0".into(),
        readme: true,
        facts: Facts::Base(facts),
    }
}

pub fn adapter(name: &str, kind: Kind, step: u64, base: Option<&Entry>) -> Entry {
    let facts = AdapterFacts {
        base: base.map_or("Qwen/Qwen2-VL-7B-Instruct".into(), |base| base.path.display().to_string()),
        base_path: base.map(|base| base.path.clone()),
        method: "LoRA".into(),
        rank: Some(8),
        alpha: Some(16.0),
        targets: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
            .map(String::from)
            .to_vec(),
        step,
        total: 300,
        epoch: step as f64 / 100.0,
        loss: Some(0.0865),
        state: (kind == Kind::Adapter).then_some(Status::Finished),
    };
    Entry {
        kind,
        path: PathBuf::from("/runs").join(name),
        bytes: 37_000_000,
        origin: Origin::Run { name: "receipts".into(), dir: "/runs/receipts".into() },
        dtype: "f32".into(),
        parameters: 9_232_384,
        files: vec![("adapter_config.json".into(), 812), ("adapter_model.safetensors".into(), 36_981_072)],
        licence: String::new(),
        facts: Facts::Adapter(facts),
        ..self::base(name, Origin::Folder)
    }
}

pub fn cached(id: &str, complete: bool) -> Origin {
    Origin::Hub(Box::new(Cached {
        kind: hub::Kind::Model,
        id: id.into(),
        revision: "main".into(),
        commit: "895c3a49bc3fa70a340399125c650a463535e71c".into(),
        path: PathBuf::from("/models").join(id),
        bytes: 11_000_000,
        half_bytes: 900_000_000,
        asked_bytes: Some(16_600_000_000),
        complete,
    }))
}

pub fn disk() -> Disk {
    Disk {
        dir: "/home/someone/.cache/huggingface/hub".into(),
        used: 9_100_000_000,
        free: 812_000_000_000,
        total: 2_000_000_000_000,
    }
}

/// A list of every kind.
pub fn all() -> Vec<Entry> {
    let whole = base("Qwen/Qwen2-VL-2B-Instruct", cached("Qwen/Qwen2-VL-2B-Instruct", true));
    let mut half = base("Qwen/Qwen2-VL-7B-Instruct", cached("Qwen/Qwen2-VL-7B-Instruct", false));
    half.lack = Some(Lack::Half { here: 911_000_000, of: Some(16_600_000_000) });
    let export = Entry { kind: Kind::Export, ..base("receipts-merged", Origin::Folder) };
    let mut damaged = base("古い \u{1b}[2J模型 with a name that is much longer than any column", Origin::Folder);
    damaged.lack = Some(Lack::Files(vec!["model-00002-of-00002.safetensors".into(), "tokenizer.json".into()]));
    let adapters = [
        adapter("receipts", Kind::Adapter, 300, Some(&whole)),
        adapter("receipts/checkpoint-200", Kind::Checkpoint, 200, Some(&whole)),
        adapter("医学图像", Kind::Adapter, 120, None),
    ];
    [whole, half, export, damaged].into_iter().chain(adapters).collect()
}
