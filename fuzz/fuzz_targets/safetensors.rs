//! Any bytes as a file of weights: the check of checkpoints reads the header only.
#![no_main]
use libfuzzer_sys::fuzz_target;
use lightbox_core::runs::checkpoints::check_safetensors;

fuzz_target!(|input: &[u8]| {
    let path = lightbox_fuzz::file("adapter_model.safetensors", input);
    lightbox_fuzz::bounded(input, 0, || drop(check_safetensors(&path)));
});
