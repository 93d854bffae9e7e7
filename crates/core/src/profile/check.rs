//! Combinations of keys that make no sense: LLaMA-Factory's own checks (`hparams/parser.py`, `get_train_args`, the
//! `__post_init__` of its argument classes and of transformers' TrainingArguments), and a few more.
//!
//! What depends on the machine (bf16 on this GPU?) or on files (an old run in `output_dir`?) is checked by the worker.
use super::choices::*;
use super::keys::Profile;
use crate::runs::schedule::LrSchedule;

/// Something wrong between `keys`; the first one is the one to blame.
pub(super) struct Conflict {
    pub keys: Vec<&'static str>,
    pub message: String,
}

/// All conflicts in a profile whose single values are in order.
pub(super) fn check(p: &Profile) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    let mut refuse = |wrong: bool, keys: &[&'static str], message: &str| {
        if wrong {
            conflicts.push(Conflict { keys: keys.to_vec(), message: message.to_owned() });
        }
    };
    let has_eval_data = !p.eval_dataset.is_empty() || p.val_size > 0.0;
    let lora = p.finetuning_type == FinetuningType::Lora;
    let all_linear = p.lora_target == ["all"];

    // Data
    refuse(
        p.do_train && p.dataset.is_empty(),
        &["dataset", "do_train"],
        "`do_train` needs `dataset`: names in dataset_info.json",
    );
    refuse(
        !p.interleave_probs.is_empty() && p.mix_strategy == MixStrategy::Concat,
        &["interleave_probs", "mix_strategy"],
        "`interleave_probs` needs `mix_strategy: interleave_under`, `interleave_over` or `interleave_once`",
    );
    for names in [&p.dataset, &p.eval_dataset] {
        refuse(
            !p.interleave_probs.is_empty() && !names.is_empty() && names.len() != p.interleave_probs.len(),
            &["interleave_probs", "dataset", "eval_dataset"],
            "`interleave_probs` needs one share for each name in `dataset`, and in `eval_dataset` if there is one",
        );
    }
    refuse(
        p.do_eval && !has_eval_data,
        &["do_eval", "eval_dataset", "val_size"],
        "`do_eval` needs data to evaluate on: set `eval_dataset` or `val_size`",
    );
    refuse(
        p.eval_strategy != IntervalStrategy::No && !has_eval_data,
        &["eval_strategy", "eval_dataset", "val_size"],
        "`eval_strategy` needs data to evaluate on: set `eval_dataset` or `val_size`",
    );
    refuse(
        p.eval_on_start && !has_eval_data,
        &["eval_on_start", "eval_dataset", "val_size"],
        "`eval_on_start` needs `eval_dataset` or `val_size`",
    );
    refuse(
        p.predict_with_generate && !has_eval_data,
        &["predict_with_generate", "eval_dataset", "val_size"],
        "`predict_with_generate` needs samples to answer: set `eval_dataset` or `val_size`",
    );
    refuse(
        !p.eval_dataset.is_empty() && p.val_size > 0.0,
        &["val_size", "eval_dataset"],
        "`val_size` and `eval_dataset` exclude each other: data to evaluate on is either split off or named",
    );
    refuse(
        p.val_size == 1.0 || (p.val_size > 1.0 && p.val_size.fract() != 0.0),
        &["val_size"],
        "`val_size` must be a share below 1 or a whole number above 1",
    );
    refuse(
        p.train_on_prompt && p.mask_history,
        &["mask_history", "train_on_prompt"],
        "`mask_history` and `train_on_prompt` exclude each other",
    );
    refuse(p.packing, &["packing"], "`packing: true` is not supported by Lightbox yet; remove it or set it to false");
    refuse(
        p.streaming && p.max_steps_set().is_none(),
        &["streaming", "max_steps"],
        "`streaming` needs `max_steps`: how many samples can be used is not known beforehand",
    );
    refuse(
        p.streaming && p.max_samples.is_some(),
        &["streaming", "max_samples"],
        "`streaming` and `max_samples` exclude each other: `max_steps` says how many samples are used",
    );
    refuse(
        p.streaming && p.val_size > 0.0 && p.val_size < 1.0,
        &["streaming", "val_size"],
        "with `streaming`, `val_size` must be a whole number: a share of samples that are not counted is not known",
    );
    refuse(
        p.streaming && p.stage == Stage::Vision,
        &["streaming", "stage"],
        "`stage: vision` has to know all `image_labels` beforehand: remove `streaming`",
    );
    refuse(
        p.image_min_pixels > p.image_max_pixels,
        &["image_min_pixels", "image_max_pixels"],
        "`image_min_pixels` must not be larger than `image_max_pixels`",
    );

    refuse(
        !p.ignore_pad_token_for_loss,
        &["ignore_pad_token_for_loss"],
        "`ignore_pad_token_for_loss: false` would train on padding, which Lightbox does not do; remove it",
    );
    refuse(
        p.stage == Stage::Vision && (has_eval_data || p.finetuning_type == FinetuningType::Lora),
        &["stage", "finetuning_type", "eval_dataset", "val_size"],
        "`stage: vision` trains whole weights and has no evaluation: set `finetuning_type: full`, and no `val_size` or `eval_dataset`",
    );

    // Model
    refuse(
        p.do_train && p.model_name_or_path.is_none(),
        &["model_name_or_path", "do_train"],
        "`do_train` needs `model_name_or_path`",
    );
    refuse(
        p.do_train && p.stage == Stage::Sft && p.template.is_none(),
        &["template", "do_train", "stage"],
        "`template: qwen2_vl` is missing; without it LLaMA-Factory would take a template that knows no pictures",
    );
    refuse(
        !p.adapter_name_or_path.is_empty() && !lora,
        &["adapter_name_or_path", "finetuning_type"],
        "`adapter_name_or_path` needs `finetuning_type: lora`",
    );
    refuse(
        lora && p.lora_target.is_empty(),
        &["lora_target"],
        "`lora_target` names no module; `all` means every linear layer",
    );
    refuse(
        p.freeze_language_model
            && p.freeze_vision_tower
            && (p.freeze_multi_modal_projector || (lora && all_linear))
            && p.stage == Stage::Sft,
        &["freeze_language_model", "freeze_vision_tower", "freeze_multi_modal_projector", "lora_target", "stage"],
        "nothing is left to train: language model and vision tower are frozen",
    );

    refuse(
        p.load_best_model_at_end
            && (p.eval_strategy == IntervalStrategy::No || p.save_strategy == IntervalStrategy::No),
        &["load_best_model_at_end", "eval_strategy", "save_strategy"],
        "`load_best_model_at_end` needs evaluations and checkpoints: set `eval_strategy` and `save_strategy`",
    );

    // Training
    refuse(
        p.max_steps == 0,
        &["max_steps"],
        "`max_steps: 0` would train nothing; set it above 0, or to -1 to go by `num_train_epochs`",
    );
    refuse(
        p.pure_bf16 && p.bf16,
        &["bf16", "pure_bf16"],
        "`bf16` and `pure_bf16` exclude each other: mixed precision or bfloat16 throughout",
    );
    refuse(
        p.use_cpu && matches!(p.device, Device::Cuda(_)),
        &["use_cpu", "device"],
        "`use_cpu: true` and a GPU as `device` contradict each other",
    );
    for (key, steps) in [
        ("logging_steps", p.logging_steps),
        ("save_steps", p.save_steps),
        ("eval_steps", p.eval_steps.unwrap_or(1.0)),
        ("warmup_steps", p.warmup_steps),
    ] {
        let message = format!("`{key}` must be a share below 1 or a whole number");
        refuse(steps > 1.0 && steps.fract() != 0.0, &[key], &message);
    }
    // The numbers of updates are not known yet and do not matter for what is checked here.
    if let Err(message) = LrSchedule::new(p.lr_scheduler_type, p.learning_rate, 1, 0, p.lr_scheduler_kwargs.as_ref()) {
        refuse(
            true,
            &["lr_scheduler_kwargs", "lr_scheduler_type", "learning_rate"],
            &format!("`lr_scheduler_kwargs`: {message}"),
        );
    }
    conflicts
}
