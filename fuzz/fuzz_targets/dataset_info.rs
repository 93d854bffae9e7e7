//! dataset_info.json and every entry in it.
#![no_main]
use libfuzzer_sys::fuzz_target;
use lightbox_core::data::dataset_info::DatasetInfo;
use std::path::Path;

fuzz_target!(|input: &[u8]| {
    lightbox_fuzz::bounded(input, 0, || {
        if let Ok(info) = DatasetInfo::parse(Path::new("dataset_info.json"), input) {
            info.names().for_each(|name| drop(info.entry(name)));
        }
    });
});
