//! Builds Qwen2-VL's tokenizer.json (7 MB) from its tokens in rank order (0.7 MB): for tests and for checks on machines
//! that reach no model hub. A real model brings its own tokenizer.json; nothing else needs this.
//!
//! In byte-level BPE the rank of a token is also the priority of the merge that makes it, so the merges follow from the
//! ranks: the merge of a token is the two parts that are left when BPE with only lower ranks runs on its bytes. The result
//! equals the published file (vocabulary, 151,387 merges, split rule, added tokens).
use super::byte_level::spell;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::io::{self, Read};

/// Qwen2's split rule: each digit alone, at most one leading character before letters, runs of spaces kept together.
const SPLIT: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The special tokens of Qwen2-VL; their ids follow the vocabulary in this order.
const SPECIAL_TOKENS: [&str; 14] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
];

/// The tokenizer.json of Qwen2-VL for the vocabulary in `ranks_gz`: gzip of all tokens in rank order, each as one length
/// byte and its raw bytes (`tests/golden/tokenizer/qwen2_vl.ranks.gz`).
///
/// # Errors
/// If the stream is broken, a token is empty or repeated, or a token does not come from merging two others.
pub fn tokenizer_json_from_ranks(ranks_gz: impl Read) -> io::Result<Value> {
    let mut packed = Vec::new();
    flate2::read::GzDecoder::new(ranks_gz).read_to_end(&mut packed)?;
    let tokens = unpack(&packed)?;
    let mut ranks = HashMap::with_capacity(tokens.len());
    for (rank, &token) in tokens.iter().enumerate() {
        if ranks.insert(token, rank).is_some() {
            return Err(invalid(rank, "is there twice"));
        }
    }
    let mut merges = Vec::with_capacity(tokens.len());
    for (rank, token) in tokens.iter().enumerate().filter(|(_, t)| t.len() > 1) {
        let (left, right) =
            split_pair(token, rank, &ranks).ok_or_else(|| invalid(rank, "is no merge of two tokens of lower rank"))?;
        merges.push(Value::from(format!("{} {}", spell(left), spell(right))));
    }
    let vocab: Map<String, Value> =
        tokens.iter().enumerate().map(|(rank, token)| (spell(token), Value::from(rank))).collect();
    let added_tokens: Vec<Value> = SPECIAL_TOKENS
        .iter()
        .zip(tokens.len()..)
        .map(|(content, id)| json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}))
        .collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    let split = json!({"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": false});
    let mut model = json!({"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false});
    model["vocab"] = Value::Object(vocab); // moved in: `json!` would copy 150,000 entries
    model["merges"] = Value::Array(merges);
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added_tokens, "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": byte_level, "decoder": byte_level, "model": model,
    }))
}

/// The tokens, without their length bytes.
fn unpack(mut packed: &[u8]) -> io::Result<Vec<&[u8]>> {
    let mut tokens = Vec::new();
    while let Some((&len, rest)) = packed.split_first() {
        if len == 0 || rest.len() < len as usize {
            return Err(invalid(tokens.len(), "is empty or cut off"));
        }
        let (token, rest) = rest.split_at(len as usize);
        tokens.push(token);
        packed = rest;
    }
    Ok(tokens)
}

/// The two parts that remain of `token` after every merge of a rank below its own.
fn split_pair<'t>(token: &'t [u8], rank: usize, ranks: &HashMap<&[u8], usize>) -> Option<(&'t [u8], &'t [u8])> {
    // part i is token[bounds[i]..bounds[i + 1]]
    let mut bounds: Vec<usize> = (0..=token.len()).collect();
    loop {
        let best = (0..bounds.len() - 2)
            .filter_map(|i| Some((*ranks.get(&token[bounds[i]..bounds[i + 2]])?, i)))
            .filter(|&(r, _)| r < rank)
            .min();
        match best {
            Some((_, i)) => bounds.remove(i + 1),
            None => break,
        };
    }
    match bounds[..] {
        [_, middle, _] => {
            Some(token.split_at(middle)).filter(|(left, right)| ranks.contains_key(left) && ranks.contains_key(right))
        }
        _ => None,
    }
}

fn invalid(rank: usize, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("token {rank} of the rank file {what}"))
}
