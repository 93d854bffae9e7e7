//! Tokenizer, template, labels, positions and batches against golden data of tokenizers, transformers and LLaMA-Factory.

mod batching;
mod encoding;
mod seen;
mod tokenizer;

use lightbox_core::text::*;
use lightbox_core::vision::Grid;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::LazyLock;

fn golden(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden")).join(path)
}

fn json(path: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(golden(path)).unwrap()).unwrap()
}

fn json_lines(path: &str) -> Vec<Value> {
    std::fs::read_to_string(golden(path)).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn ids(v: &Value) -> Vec<i64> {
    v.as_array().unwrap().iter().map(|x| x.as_i64().unwrap()).collect()
}

fn matrix(v: &Value) -> Vec<Vec<i64>> {
    v.as_array().unwrap().iter().map(ids).collect()
}

fn grids(v: &Value) -> Vec<Grid> {
    matrix(v).iter().map(|g| <Grid>::try_from(g.as_slice()).unwrap()).collect()
}

/// Qwen2-VL's own tokenizer.json, rebuilt from its ranks.
static REAL_JSON: LazyLock<Value> = LazyLock::new(|| {
    ranks::tokenizer_json_from_ranks(std::fs::File::open(golden("tokenizer/qwen2_vl.ranks.gz")).unwrap()).unwrap()
});
static REAL: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::from_json(REAL_JSON.to_string().as_bytes()).unwrap());
static TINY: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::from_dir(&golden("models/tiny-tied")).unwrap());

const KEEP_ALL: EncodeOptions =
    EncodeOptions { cutoff_len: 100_000, train_on_prompt: false, mask_history: false, default_system: None };

fn message(role: Role, content: &str) -> Message {
    Message { role, content: content.into() }
}

fn chat(contents: &[&str]) -> Conversation {
    let messages =
        contents.iter().zip([Role::User, Role::Assistant].into_iter().cycle()).map(|(c, r)| message(r, c)).collect();
    Conversation { messages, ..Default::default() }
}

/// A sample in LLaMA-Factory's words: `messages` of role and content (a leading system message too), `system`, `tools`.
fn conversation(v: &Value) -> Conversation {
    let text = |v: &Value| v.as_str().map(str::to_owned);
    let mut c = Conversation { system: text(&v["system"]), tools: text(&v["tools"]), messages: vec![] };
    for m in v["messages"].as_array().unwrap() {
        let content = text(&m["content"]).unwrap();
        let role = match m["role"].as_str().unwrap() {
            "system" => {
                c.system = Some(content);
                continue;
            }
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "observation" => Role::Observation,
            "function" => Role::Function,
            other => panic!("{other}"),
        };
        c.messages.push(Message { role, content });
    }
    c
}
