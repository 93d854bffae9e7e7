//! The small files of a run folder, as a command or a screen reads them.
#![no_main]
use libfuzzer_sys::fuzz_target;
use lightbox_core::runs::RunDir;
use lightbox_core::runs::state::RunState;
use lightbox_core::runs::trainer_state::TrainerState;

fuzz_target!(|input: &[u8]| {
    lightbox_fuzz::file(RunDir::STATE, input);
    let trainer_state = lightbox_fuzz::file(RunDir::TRAINER_STATE, input);
    let dir = RunDir::open(lightbox_fuzz::folder()).expect("the folder");
    lightbox_fuzz::bounded(input, 0, || {
        drop(RunState::read(&dir));
        if let Ok(state) = TrainerState::read(&trainer_state) {
            state.to_json().expect("a state that was read can be written");
        }
    });
});
