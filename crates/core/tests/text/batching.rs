//! Positions and padding.
use super::*;

#[test]
fn positions_equal_transformers() {
    let rows = json("tables/rope_index.json");
    let mut checked = 0;
    for row in rows.as_array().unwrap() {
        let (images, videos) = (grids(&row["image_grid_thw"]), grids(&row["video_grid_thw"]));
        // the same rule serves videos, whose pad is another token
        let (grids, pad) = match (images.is_empty(), videos.is_empty()) {
            (_, true) => (images, 1022),
            (true, false) => (videos, 1023),
            (false, false) => continue, // both kinds in one row do not occur here
        };
        let (positions, delta) = rope_index(&ids(&row["input_ids"]), &grids, pad);
        assert_eq!(positions.to_vec(), matrix(&row["position_ids"]));
        assert_eq!(delta, row["rope_delta"].as_i64().unwrap());
        checked += 1;
    }
    assert!(checked >= 5, "{checked}");
}

#[test]
fn left_padded_prompts_equal_transformers() {
    let bytes = std::fs::read(golden("tiny-tied/batch_left.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |name: &str| -> Vec<i64> {
        let view = file.tensor(name).unwrap();
        view.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let cases: Vec<Value> = ids_of_cases();
    let rows: Vec<(Vec<i64>, Vec<Grid>)> = cases
        .iter()
        .map(|c| {
            (ids(&c["input_ids"]), if c["image_grid_thw"].is_array() { grids(&c["image_grid_thw"]) } else { vec![] })
        })
        .collect();
    let rows: Vec<(&[i64], &[Grid])> = rows.iter().map(|(i, g)| (i.as_slice(), g.as_slice())).collect();
    let batch = collate_left(&rows, &TINY);
    assert_eq!((batch.rows, batch.len), (3, 116));
    assert_eq!(batch.input_ids, tensor("input_ids"));
    assert_eq!(batch.attention_mask, tensor("attention_mask"));
    assert_eq!(batch.position_ids, tensor("position_ids"));
    assert_eq!(batch.rope_deltas, tensor("rope_deltas"));
}

fn ids_of_cases() -> Vec<Value> {
    let batch = json("tiny-tied/batch_left.json");
    batch["cases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| json(&format!("tiny-tied/{}.json", c.as_str().unwrap())))
        .collect()
}

fn text_only(contents: &[&str]) -> Encoded {
    encode_conversation(&REAL, &chat(contents), &[], &KEEP_ALL).unwrap()
}

#[test]
fn a_batch_without_pictures_gets_a_masked_invented_one_behind_row_0() {
    let (a, b) = (text_only(&["q", "a"]), text_only(&["q", "a longer answer than the other"]));
    for (rows, len) in [([&a, &b], b.input_ids.len().max(a.input_ids.len() + 6)), ([&b, &a], b.input_ids.len() + 6)] {
        let batch = collate(&rows, &REAL, 1);
        assert!(batch.fake_image);
        assert_eq!(batch.len, len, "the invented picture can lengthen the batch");
        let n = rows[0].input_ids.len();
        let pad = REAL.image_pad;
        assert_eq!(batch.input_ids[n..n + 6], [REAL.vision_start, pad, pad, pad, pad, REAL.vision_end]);
        assert!(
            batch.attention_mask[..n].iter().all(|&m| m == 1) && batch.attention_mask[n..len].iter().all(|&m| m == 0)
        );
        assert!(batch.labels[n..len].iter().all(|&l| l == IGNORE_INDEX));
        assert!(batch.position_ids[n..len].iter().all(|&p| p == 0));
        assert!(!batch.input_ids[len..].contains(&pad), "only row 0 has it");
    }
}

#[test]
fn a_text_only_row_beside_a_picture_gets_nothing() {
    let picture = encode_conversation(&REAL, &chat(&["<image>", "a"]), &[[1, 2, 2]], &KEEP_ALL).unwrap();
    let text = text_only(&["q", "a"]);
    let batch = collate(&[&text, &picture], &REAL, 8);
    assert!(!batch.fake_image);
    assert_eq!(batch.len % 8, 0);
    assert_eq!(batch.input_ids.iter().filter(|&&id| id == REAL.image_pad).count(), 1);
}

#[test]
fn an_empty_batch_is_empty() {
    let batch = collate(&[], &REAL, 8);
    assert_eq!((batch.rows, batch.len, batch.fake_image), (0, 0, false));
    assert_eq!(collate_left(&[], &REAL).len, 0);
}

#[test]
fn tokens_of_a_picture_are_its_merged_patches() {
    assert_eq!(image_tokens(&[1, 16, 22]), Some(88));
    for grid in [[0, 2, 2], [1, 0, 2], [1, 2, 3], [1, -2, 2], [i64::MAX, 4, 4]] {
        assert_eq!(image_tokens(&grid), None, "{grid:?}");
    }
}
