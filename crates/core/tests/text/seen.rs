//! What people are shown must be what is trained on: same tokens, same labels, same cut.
use super::*;

/// A sample of template.json with its options.
fn case(v: &Value) -> (Conversation, Vec<Grid>, EncodeOptions) {
    let options = EncodeOptions {
        cutoff_len: v["cutoff_len"].as_u64().unwrap_or(100_000) as usize,
        train_on_prompt: v["train_on_prompt"] == true,
        mask_history: v["mask_history"] == true,
        default_system: v["default_system"].as_str().map(str::to_owned),
    };
    (conversation(v), v.get("grids").map_or(vec![], grids), options)
}

fn joined(seen: &Seen) -> String {
    seen.pieces.iter().map(|piece| piece.text.as_str()).collect()
}

fn count(seen: &Seen, of: impl Fn(&Piece) -> bool) -> usize {
    seen.pieces.iter().filter(|piece| of(piece)).map(|piece| piece.tokens.len()).sum()
}

#[test]
fn tokens_labels_and_cuts_are_those_of_llamafactory() {
    let cases = json("text/template.json");
    for v in cases.as_array().unwrap() {
        let (c, grids, options) = case(v);
        let name = &v["name"];
        let seen = seen(&REAL, &c, &grids, &options).unwrap();
        let (mut ids_kept, mut labels) = (vec![], vec![]);
        for piece in &seen.pieces {
            let ids = seen.tokens[piece.tokens.clone()].iter().map(|token| token.id);
            if piece.kept {
                labels.extend(ids.clone().map(|id| if piece.trained { id } else { IGNORE_INDEX }));
                ids_kept.extend(ids);
            } else {
                assert!(!piece.trained, "{name}");
            }
        }
        assert_eq!((ids_kept, &labels), (ids(&v["input_ids"]), &ids(&v["labels"])), "{name}");
        assert_eq!(seen.n_target, labels.iter().filter(|&&label| label != IGNORE_INDEX).count(), "{name}");
        assert_eq!(seen.n_tokens, count(&seen, |p| p.kept), "{name}");
        assert_eq!(seen.cut, count(&seen, |p| !p.kept), "{name}");
        assert_eq!(seen.n_image, count(&seen, |p| p.kept && matches!(p.kind, PieceKind::Image { .. })), "{name}");
        assert_eq!(seen.refused, encode_conversation(&REAL, &c, &grids, &options).err(), "{name}");
        // Pieces follow each other without gap, and are as long as they can be.
        let mut at = 0;
        for piece in &seen.pieces {
            assert_eq!(piece.tokens.start, at, "{name}");
            at = piece.tokens.end;
        }
        let state = |p: &Piece| (p.kind, p.trained, p.kept);
        assert!(seen.pieces.windows(2).all(|pair| state(&pair[0]) != state(&pair[1])), "{name}");
    }
}

#[test]
fn all_pieces_joined_are_the_templates_text_whatever_is_cut() {
    let cases = json("text/template.json");
    for v in cases.as_array().unwrap() {
        let (c, grids, options) = case(v);
        let whole =
            EncodeOptions { cutoff_len: 100_000, train_on_prompt: true, mask_history: false, ..options.clone() };
        let ids = encode_conversation(&REAL, &c, &grids, &whole).unwrap().input_ids;
        let mut once = ids.clone();
        // A picture stands once in the template, and is repeated after tokenising.
        once.dedup_by(|a, b| a == b && *a == REAL.image_pad);
        let text = REAL.decode(&once, false).unwrap();
        for cutoff_len in [options.cutoff_len, 1, 17, 30, 100_000] {
            let seen = seen(&REAL, &c, &grids, &EncodeOptions { cutoff_len, ..options.clone() }).unwrap();
            assert_eq!(joined(&seen), text, "{} cut to {cutoff_len}", v["name"]);
            assert_eq!(seen.tokens.iter().map(|token| token.id).collect::<Vec<_>>(), ids);
        }
    }
    let plain = seen(&REAL, &chat(&["hi", "yes"]), &[], &KEEP_ALL).unwrap();
    let expected = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n";
    assert_eq!(joined(&plain), expected);
    let trained: String = plain.pieces.iter().filter(|p| p.trained).map(|p| p.text.as_str()).collect();
    assert_eq!(trained, "yes<|im_end|>\n");
}

#[test]
fn a_character_of_several_tokens_is_shown_once_and_its_tokens_by_their_bytes() {
    // A rare character, which the tokenizer spells in bytes.
    let rare = "\u{2a6d6}";
    let c = chat(&["x", &format!("a{rare}b")]);
    for cutoff_len in 1..60 {
        let seen = seen(&REAL, &c, &[], &EncodeOptions { cutoff_len, ..KEEP_ALL }).unwrap();
        assert_eq!(joined(&seen).matches(rare).count(), 1, "cut to {cutoff_len}");
        assert!(!joined(&seen).contains('\u{fffd}'));
    }
    let seen = seen(&REAL, &c, &[], &KEEP_ALL).unwrap();
    assert!(seen.tokens.iter().any(|token| token.text.contains("\\xF0")), "{:?}", seen.tokens);
}

#[test]
fn pictures_are_pieces_with_their_size_and_a_cut_one_is_refused_but_shown() {
    let c = chat(&["look <image> and <image>", "yes"]);
    let grids = [[1, 4, 4], [1, 4, 8]];
    let seen = |cutoff_len| seen(&REAL, &c, &grids, &EncodeOptions { cutoff_len, ..KEEP_ALL }).unwrap();
    let whole = seen(1000);
    let images: Vec<_> = whole.pieces.iter().filter(|p| matches!(p.kind, PieceKind::Image { .. })).collect();
    assert_eq!(images[0].kind, PieceKind::Image { tokens: 4, grid: grids[0], picture: 0 });
    assert_eq!(images[1].kind, PieceKind::Image { tokens: 8, grid: grids[1], picture: 1 });
    assert_eq!((whole.n_image, whole.cut, &whole.refused), (12, 0, &None));
    let mut refused = 0;
    for cutoff_len in 1..whole.n_tokens {
        let cut = seen(cutoff_len);
        assert_eq!((cut.n_tokens, cut.cut), (cutoff_len, whole.n_tokens - cutoff_len));
        assert_eq!(joined(&cut), joined(&whole), "cut to {cutoff_len}");
        refused += usize::from(cut.refused.is_some_and(|e| e.kind() == "too_long"));
    }
    assert!(refused > 0);
}
