//! Any bytes as a parquet file of captioned pictures.
#![no_main]
use libfuzzer_sys::fuzz_target;
use lightbox_core::data::{Dataset, DatasetOptions};

fuzz_target!(|input: &[u8]| {
    let path = lightbox_fuzz::file("rows.parquet", input);
    lightbox_fuzz::bounded(input, 0, || {
        let options = DatasetOptions {
            dataset_dir: lightbox_fuzz::folder(),
            media_dir: None,
            names: vec![path.to_string_lossy().into_owned()],
            max_samples: None,
            seed: 0,
            mix: Default::default(),
        };
        let Ok(set) = Dataset::open(&options) else { return };
        for i in (0..set.len().min(64)).chain(set.len().checked_sub(1)) {
            if let Ok(sample) = set.get(i) {
                sample.images.iter().for_each(|image| drop(image.load()));
            }
        }
    });
});
