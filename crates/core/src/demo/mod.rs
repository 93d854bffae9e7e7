//! The demo's own content: pictures with known truths, and what is said about them, all made from a seed.
//!
//! Two kinds of pictures. *Head phantoms* ([`phantom`], texts in [`report`]) stand in for a medical data set: they are
//! what the user fine-tunes on, written in MedTrinity's parquet layout ([`dataset`]). *Coloured shapes* ([`shapes`],
//! texts in [`captions`]) are what the tiny base model in assets/demo-model was trained on ([`base`]). [`score`]
//! compares what a model said with the truth.
//!
//! Everything is a pure function of (seed, set, index): picture 4711 does not depend on picture 4710. Read [`rng`]
//! and [`phantom`] first.

pub mod base;
pub mod captions;
pub mod chat;
pub mod dataset;
pub mod draw;
pub mod phantom;
pub mod report;
pub mod rng;
pub mod score;
pub mod shapes;
pub mod words;

/// Raised whenever the same seed gives other pictures or texts than before; golden tests below notice.
pub const GENERATOR_VERSION: u32 = 1;

/// A question and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    pub question: String,
    pub answer: String,
}

fn turn(question: impl Into<String>, answer: impl Into<String>) -> Turn {
    Turn { question: question.into(), answer: answer.into() }
}

/// A row of a sharegpt data set with LLaMA-Factory's OpenAI-like tags; a picture opens the first question.
fn sharegpt_row(turns: &[Turn], image: Option<&str>) -> serde_json::Value {
    let mut messages = Vec::with_capacity(2 * turns.len());
    for (i, turn) in turns.iter().enumerate() {
        let mark = if i == 0 && image.is_some() { "<image>" } else { "" };
        messages.push(serde_json::json!({ "role": "user", "content": format!("{mark}{}", turn.question) }));
        messages.push(serde_json::json!({ "role": "assistant", "content": turn.answer }));
    }
    serde_json::json!({ "messages": messages, "images": Vec::from_iter(image) })
}

/// Entry of dataset_info.json for a file of [`sharegpt_row`]s; `columns` besides `messages`.
fn sharegpt_entry(file_name: &str, columns: &[&str]) -> serde_json::Value {
    let columns: serde_json::Map<_, _> =
        ["messages"].iter().chain(columns).map(|&c| (c.to_owned(), c.into())).collect();
    serde_json::json!({
        "file_name": file_name,
        "formatting": "sharegpt",
        "columns": columns,
        "tags": { "role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant" },
    })
}

/// `f` of every index in `range`, in order, computed on all cores.
fn parallel<T: Send>(range: std::ops::Range<usize>, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = range.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let f = &f;
        let starts = range.clone().step_by(share);
        let workers: Vec<_> = starts
            .map(|start| scope.spawn(move || (start..range.end.min(start + share)).map(f).collect::<Vec<T>>()))
            .collect();
        workers.into_iter().flat_map(|w| w.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// SHA-256 in hexadecimal of all parts, each preceded by its length, so that ("ab", "c") and ("a", "bc") differ.
pub fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parallel_keeps_the_order() {
        assert_eq!(parallel(3..103, |i| i * i), (3..103).map(|i| i * i).collect::<Vec<_>>());
        assert_eq!(parallel(5..5, |i| i), Vec::<usize>::new());
    }

    #[test]
    fn digest_tells_where_parts_end() {
        assert_ne!(digest([b"ab".as_slice(), b"c"]), digest([b"a".as_slice(), b"bc"]));
        assert_eq!(digest([]), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    /// The pictures themselves, to the byte. If this fails, raise [`GENERATOR_VERSION`] and say so in the changelog.
    #[test]
    fn pictures_and_texts_never_drift() {
        let phantoms = parallel(0..40, |i| phantom::draw(42, "train", i as u64).pixels);
        let shapes = parallel(0..40, |i| shapes::Scene::at(42, "base", i as u64).draw(42, "base", i as u64).pixels);
        let texts: Vec<String> = (0..40).map(|i| dataset::Row::at(42, "train", i, words::Lang::ALL).caption).collect();
        let got = [
            digest(phantoms.iter().map(Vec::as_slice)),
            digest(shapes.iter().map(Vec::as_slice)),
            digest(texts.iter().map(String::as_bytes)),
        ];
        assert_eq!(got, PINNED);
    }

    const PINNED: [&str; 3] = [
        "94582f1a1faac02c03798c3460b67c5cdb522bc02fa63dbc7767b242c803ca95",
        "73ee54bfe16f6e88a3f538af3ac8e543594210d0518c9120ca79cc204cc830c2",
        "639e3dbf06cc69afabe494bb31fc9844692bdfc3ecae52af3fa757bbe9b62898",
    ];
}
