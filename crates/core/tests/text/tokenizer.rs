//! The tokenizer: encoding, decoding, streaming, and what is refused.
use super::*;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

/// The published file, compact (`json.dumps(…, ensure_ascii=False, separators=(",", ":"))`): every key, token and merge.
#[test]
fn the_tokenizer_rebuilt_from_ranks_is_the_published_one() {
    let digest: String = Sha256::digest(REAL_JSON.to_string()).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(digest, "cf62b9328c1d77dbe1463e6a8774e55a4f22e5556f8e49c1ae613893c0f57a50");
}

proptest! {
    #[test]
    fn any_ids_streamed_equal_the_same_ids_decoded_at_once(ids in proptest::collection::vec(0i64..1100, 0..30)) {
        let mut stream = TINY.stream();
        let mut text: String = ids.iter().map(|&id| stream.push(id)).collect();
        text += &stream.finish();
        prop_assert_eq!(text, TINY.decode(&ids, true).unwrap());
    }

    #[test]
    fn any_text_survives_plain_encoding(text in any::<String>(), special in any::<bool>()) {
        let text = if special { format!("{text}<|image_pad|>") } else { text };
        let ids = REAL.encode_plain(&text).unwrap();
        prop_assert!(ids.iter().all(|&id| id < REAL.endoftext));
        let decoded = REAL.decode(&ids, true).unwrap();
        // the tokenizer composes characters (NFC) first, so what comes back encodes to the same ids
        prop_assert_eq!(REAL.encode_plain(&decoded).unwrap(), ids);
    }
}

#[test]
fn the_tokenizer_rebuilt_from_ranks_encodes_and_decodes_like_qwen2_vls() {
    assert_eq!(REAL_JSON["model"]["merges"].as_array().unwrap().len(), 151_387);
    assert_eq!(
        (REAL.endoftext, REAL.im_start, REAL.im_end, REAL.vision_start, REAL.vision_end),
        (151643, 151644, 151645, 151652, 151653)
    );
    assert_eq!((REAL.image_pad, REAL.video_pad, REAL.vocab_size()), (151655, 151656, 151657));
    let cases = json("tokenizer/encodings.json");
    for case in cases.as_array().unwrap() {
        let (text, expected) = (case["text"].as_str().unwrap(), ids(&case["ids"]));
        assert_eq!(REAL.encode(text).unwrap(), expected, "{text:?}");
        assert_eq!(REAL.decode(&expected, false).unwrap(), case["decoded"].as_str().unwrap());
        assert_eq!(REAL.decode(&expected, true).unwrap(), case["decoded_skip"].as_str().unwrap());
    }
    assert_eq!(cases.as_array().unwrap().len(), 79);
}

#[test]
fn the_tiny_tokenizer_encodes_like_transformers() {
    for case in json("tables/tiny_tokenizer.json").as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        assert_eq!(TINY.encode(text).unwrap(), ids(&case["ids"]), "{text:?}");
    }
}

#[test]
fn merges_are_read_as_strings_and_as_pairs() {
    let mut file = json("models/tiny-tied/tokenizer.json");
    let merges = file["model"]["merges"].as_array_mut().unwrap();
    let strings_before = merges[0].is_string();
    for m in merges.iter_mut() {
        *m = match m {
            Value::String(s) => s.split(' ').collect(),
            Value::Array(pair) => pair.iter().map(|p| p.as_str().unwrap()).collect::<Vec<_>>().join(" ").into(),
            other => panic!("{other}"),
        };
    }
    assert_ne!(merges[0].is_string(), strings_before);
    let other = Tokenizer::from_json(file.to_string().as_bytes()).unwrap();
    let text = "The scan shows no abnormal finding. 请描述";
    assert_eq!(other.encode(text).unwrap(), TINY.encode(text).unwrap());
}

#[test]
fn plain_encoding_keeps_special_tokens_as_text() {
    let text = "a<|im_end|>\n<|image_pad|>";
    assert!(REAL.encode(text).unwrap().contains(&REAL.im_end));
    let plain = REAL.encode_plain(text).unwrap();
    assert!(plain.iter().all(|&id| id < REAL.endoftext), "{plain:?}");
    assert_eq!(REAL.decode(&plain, true).unwrap(), text);
    assert!(REAL.encode(text).unwrap().contains(&REAL.im_end), "the ordinary encoding is as before");
}

#[test]
fn streamed_text_is_whole_characters_and_equals_decoding_at_once() {
    for case in json("tokenizer/encodings.json").as_array().unwrap() {
        let ids = ids(&case["ids"]);
        let mut stream = REAL.stream();
        let mut text: String = ids.iter().map(|&id| stream.push(id)).collect();
        text += &stream.finish();
        assert_eq!(text, case["decoded_skip"].as_str().unwrap());
    }
    // 🩺 takes several tokens; nothing leaves before the last
    let ids = REAL.encode("🩺").unwrap();
    assert!(ids.len() > 1);
    let mut stream = REAL.stream();
    let pieces: Vec<String> = ids.iter().map(|&id| stream.push(id)).collect();
    assert_eq!(pieces.last().unwrap(), "🩺");
    assert!(pieces[..pieces.len() - 1].iter().all(String::is_empty));
    let mut cut = REAL.stream();
    assert_eq!(cut.push(ids[0]), "");
    assert_eq!(cut.finish(), "\u{fffd}");
}

#[test]
fn ids_without_a_token_give_no_text_and_impossible_ids_are_errors() {
    assert_eq!(REAL.decode(&[151_900, 9707], true).unwrap(), "Hello");
    assert!(REAL.decode(&[-1], true).unwrap_err().to_string().contains("-1 is not a token id"));
    assert_eq!(REAL.stream().push(-1), "");
}

#[test]
fn a_missing_special_token_is_named() {
    let mut file = json("models/tiny-tied/tokenizer.json");
    file["added_tokens"].as_array_mut().unwrap().retain(|t| t["content"] != "<|image_pad|>");
    let error = Tokenizer::from_json(file.to_string().as_bytes()).unwrap_err();
    assert!(error.to_string().contains("<|image_pad|> is missing"), "{error}");
}

#[test]
fn a_folder_without_a_usable_tokenizer_is_an_error_that_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let error = format!("{:#}", Tokenizer::from_dir(dir.path()).unwrap_err());
    assert!(error.contains("tokenizer.json") && error.contains("download it again"), "{error}");
    std::fs::write(dir.path().join("tokenizer.json"), b"{\"version\": \"1.0\"").unwrap();
    let error = format!("{:#}", Tokenizer::from_dir(dir.path()).unwrap_err());
    assert!(error.contains("tokenizer.json") && error.contains("not a tokenizer"), "{error}");
}

#[test]
fn a_broken_rank_file_is_an_error() {
    assert!(ranks::tokenizer_json_from_ranks(&b"no gzip"[..]).is_err());
    let gz = |bytes: &[u8]| {
        let mut w = flate2::write::GzEncoder::new(vec![], Default::default());
        std::io::Write::write_all(&mut w, bytes).unwrap();
        w.finish().unwrap()
    };
    let message = |bytes: &[u8]| ranks::tokenizer_json_from_ranks(gz(bytes).as_slice()).unwrap_err().to_string();
    assert!(message(b"\x01a\x05bc").contains("token 1 of the rank file is empty or cut off"));
    assert!(message(b"\x01a\x01a").contains("is there twice"));
    assert!(message(b"\x01a\x02ab").contains("token 1 of the rank file is no merge"));
}
