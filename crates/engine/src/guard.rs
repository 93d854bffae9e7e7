//! tch's plain operations panic where libtorch throws. Here such a panic becomes an error with an exit code and words
//! that help; a panic of our own becomes one, too, so that a run's state is written whatever happens.

use anyhow::{Result, anyhow};
use lightbox_core::exit::{self, Because, Exit};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `work`; a panic inside is an error of its own kind: [`Exit::OutOfMemory`], [`Exit::Device`] or [`Exit::Internal`].
pub fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    guarded_as(explain, work)
}

/// [`guarded`], with nothing in the error but what happened: advice about training does not help who asks a question.
pub fn guarded_bare<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    guarded_as(|text| what(text).to_owned(), work)
}

fn guarded_as<T>(words: fn(&str) -> String, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let panic = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(outcome) => return outcome.map_err(|error| name_out_of_memory(error, words)),
        Err(panic) => panic,
    };
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default();
    Err(anyhow!(words(&text))).because(exit_of(&text))
}

/// No Rust backtrace and no C++ one: [`guarded`] reports what happened. A line for developers says where.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|info| {
        if let Some(place) = info.location().filter(|_| std::env::var_os("RUST_BACKTRACE").is_some()) {
            eprintln!("panic at {place}\n{}", std::backtrace::Backtrace::capture());
        }
    }));
}

/// libtorch's failures that came back as an error rather than as a panic.
fn name_out_of_memory(error: anyhow::Error, words: fn(&str) -> String) -> anyhow::Error {
    let text = format!("{error:#}");
    if exit::code(&error) == Exit::Failed && exit_of(&text) != Exit::Internal {
        return exit::coded(anyhow!(words(&text)), exit_of(&text));
    }
    error
}

fn exit_of(text: &str) -> Exit {
    let text = text.to_lowercase();
    if ["out of memory", "not enough memory", "can't allocate memory"].iter().any(|w| text.contains(w)) {
        Exit::OutOfMemory
    } else if text.contains("cuda error") {
        Exit::Device
    } else {
        Exit::Internal
    }
}

/// libtorch's own sentence.
fn what(text: &str) -> &str {
    // `called Result::unwrap() on an Err value: Torch("…\nException raised from …")`
    let inner = text.split_once("Torch(\"").map_or(text, |(_, rest)| rest);
    let cut = ["\\nException raised from", "\nException raised from", "\\n"].iter().filter_map(|m| inner.find(m)).min();
    inner[..cut.unwrap_or(inner.len())].trim_end_matches("\")")
}

fn explain(text: &str) -> String {
    let what = what(text);
    match exit_of(text) {
        Exit::OutOfMemory => format!(
            "{what} Lower per_device_train_batch_size (and raise gradient_accumulation_steps to make up for it), \
             image_max_pixels or cutoff_len, keep gradient checkpointing on, or close what else uses the memory; checkpoints are as they were"
        ),
        Exit::Device => {
            format!("{what} The GPU cannot be used any more by this process; start again from the newest checkpoint")
        }
        _ => format!(
            "a fault inside the program: {what}. Please report it with the command line; checkpoints are as they were"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lightbox_core::exit::code;
    use tch::{Device, Kind, Tensor};

    #[test]
    fn memory_that_is_not_there_is_an_error_with_advice() {
        let error = guarded(|| Ok(Tensor::zeros([1 << 52], (Kind::Float, Device::Cpu)).size())).unwrap_err();
        let text = format!("{error:#}");
        assert_eq!(code(&error), Exit::OutOfMemory, "{text}");
        assert!(text.contains("per_device_train_batch_size") && !text.contains("Exception raised"), "{text}");
    }

    #[test]
    fn shapes_that_do_not_fit_are_a_fault_inside() {
        let cpu = (Kind::Float, Device::Cpu);
        let error = guarded(|| Ok(Tensor::zeros([2, 3], cpu).matmul(&Tensor::zeros([2, 3], cpu)).size())).unwrap_err();
        assert_eq!(code(&error), Exit::Internal);
        assert!(format!("{error:#}").contains("mat1 and mat2"), "{error:#}");
    }

    #[test]
    fn errors_with_a_code_pass_unchanged() {
        let error = guarded(|| Err::<(), _>(anyhow!("no such file")).because(Exit::Data)).unwrap_err();
        assert_eq!((code(&error), format!("{error:#}").as_str()), (Exit::Data, "no such file"));
    }
}
