//! LLaMA-Factory's keys that Lightbox does not have: 346 keys in 0.9.5 less those in [`super::keys`].
//!
//! A key with a note only tunes machinery that Lightbox does not have: any value is accepted, and the note tells the
//! user so. Any other key changes the result of a training and is refused unless it has LLaMA-Factory's default.
use super::setting::{Setting, read_bool};
use serde_yaml::Value;

/// A key of LLaMA-Factory that Lightbox does not have.
#[derive(Debug, Clone, Copy)]
pub struct OtherKey {
    pub name: &'static str,
    default: &'static str,
    pub note: Option<&'static str>,
}

impl OtherKey {
    pub fn find(name: &str) -> Option<Self> {
        let index = OTHER_KEYS.binary_search_by_key(&name, |key| key.0).ok()?;
        let (name, default, note) = OTHER_KEYS[index];
        Some(Self { name, default, note })
    }

    /// All of them, by name: a search for one must find what became of it.
    pub fn all() -> impl Iterator<Item = Self> {
        OTHER_KEYS.iter().map(|&(name, default, note)| Self { name, default, note })
    }

    /// LLaMA-Factory's default, as it is written in YAML.
    pub fn default_text(&self) -> &'static str {
        self.default
    }

    /// `value` means what LLaMA-Factory does anyway.
    pub(super) fn is_default(&self, value: &Value) -> bool {
        // The defaults are words of the table below, checked by a test.
        let default: Value = serde_yaml::from_str(self.default).unwrap_or_default();
        match (&default, value) {
            (Value::Bool(b), v) => read_bool(v) == Some(*b),
            (Value::Number(_), v) => f64::read(v).is_some() && f64::read(v) == f64::read(&default),
            (d, v) => d == v,
        }
    }
}

/// Name, default and, for keys that change nothing here, why. Sorted by name.
pub(super) static OTHER_KEYS: &[(&str, &str, Option<&str>)] = &[
    ("accelerator_config", "null", None),
    ("adapter_folder", "null", None),
    ("add_special_tokens", "null", None),
    ("add_tokens", "null", None),
    ("additional_target", "null", None),
    ("apollo_layerwise", "false", None),
    ("apollo_proj", "random", None),
    ("apollo_proj_type", "std", None),
    ("apollo_rank", "16", None),
    ("apollo_scale", "32.0", None),
    ("apollo_scale_front", "false", None),
    ("apollo_scale_type", "channel", None),
    ("apollo_target", "all", None),
    ("apollo_update_interval", "200", None),
    ("asft_alpha", "0.1", None),
    ("audio_sampling_rate", "16000", None),
    ("auto_find_batch_size", "false", None),
    ("average_tokens_across_devices", "true", Some("it matters only with several devices")),
    ("badam_mask_mode", "adjacent", None),
    ("badam_mode", "layer", None),
    ("badam_start_block", "null", None),
    ("badam_switch_interval", "50", None),
    ("badam_switch_mode", "ascending", None),
    ("badam_update_ratio", "0.05", None),
    ("badam_verbose", "0", None),
    ("batch_eval_metrics", "false", None),
    ("bf16_full_eval", "false", None),
    ("compute_accuracy", "false", None),
    ("crop_to_patches", "false", None),
    ("data_shared_file_system", "false", Some("it matters only with several machines")),
    ("dataloader_drop_last", "false", None),
    ("dataloader_persistent_workers", "false", Some("there are no data processes here")),
    ("dataloader_prefetch_factor", "null", Some("there are no data processes here")),
    ("ddp_backend", "null", Some("it matters only with several devices")),
    ("ddp_broadcast_buffers", "null", Some("it matters only with several devices")),
    ("ddp_bucket_cap_mb", "null", Some("it matters only with several devices")),
    ("ddp_find_unused_parameters", "null", Some("it matters only with several devices")),
    ("ddp_static_graph", "null", Some("it matters only with several devices")),
    ("debug", "''", None),
    ("deepspeed", "null", None),
    ("disable_tqdm", "null", Some("progress has its own display here")),
    ("do_predict", "false", None),
    ("double_quantization", "true", None),
    ("dpo_label_smoothing", "0.0", None),
    ("eaft_alpha", "1.0", None),
    ("early_stopping_steps", "null", None),
    ("enable_jit_checkpoint", "false", None),
    ("enable_liger_kernel", "false", None),
    ("enable_thinking", "true", Some("Qwen2-VL does not think")),
    ("enable_torch_profiler", "false", None),
    ("eval_accumulation_steps", "null", Some("an evaluation computes the loss")),
    ("eval_delay", "0", None),
    ("eval_do_concat_batches", "true", Some("an evaluation computes the loss")),
    ("eval_num_beams", "null", None),
    ("eval_on_each_dataset", "false", None),
    ("eval_use_gather_object", "false", None),
    ("export_device", "cpu", None),
    ("export_dir", "null", None),
    ("export_hub_model_id", "null", None),
    ("export_legacy_format", "false", None),
    ("export_quantization_bit", "null", None),
    ("export_quantization_dataset", "null", None),
    ("export_quantization_maxlen", "1024", None),
    ("export_quantization_nsamples", "128", None),
    ("export_size", "5", None),
    ("fp16", "false", None),
    ("fp16_full_eval", "false", None),
    ("fp8", "false", None),
    ("fp8_backend", "auto", None),
    ("fp8_enable_fsdp_float8_all_gather", "false", None),
    ("freeze_extra_modules", "null", None),
    ("freeze_trainable_layers", "2", None),
    ("freeze_trainable_modules", "all", None),
    ("fsdp", "null", None),
    ("fsdp_config", "null", None),
    ("galore_layerwise", "false", None),
    ("galore_proj_type", "std", None),
    ("galore_rank", "16", None),
    ("galore_scale", "2.0", None),
    ("galore_target", "all", None),
    ("galore_update_interval", "200", None),
    ("generation_config", "null", None),
    ("generation_max_length", "null", None),
    ("generation_num_beams", "null", None),
    ("gradient_checkpointing", "false", None),
    ("gradient_checkpointing_kwargs", "null", None),
    ("greater_is_better", "null", None),
    ("hub_always_push", "false", None),
    ("hub_model_id", "null", None),
    ("hub_private_repo", "null", None),
    ("hub_revision", "null", None),
    ("hub_strategy", "every_save", None),
    ("hub_token", "null", None),
    ("hyper_parallel_args", "null", None),
    ("ignore_data_skip", "false", None),
    ("image_do_pan_and_scan", "false", None),
    ("include_effective_tokens_per_second", "false", None),
    ("include_for_metrics", "[]", None),
    ("infer_backend", "huggingface", None),
    ("init_special_tokens", "noise_init", None),
    ("kt_expert_checkpoint_path", "null", None),
    ("kt_lora_expert_intermediate_size", "null", None),
    ("kt_lora_expert_num", "null", None),
    ("kt_use_lora_experts", "null", None),
    ("kt_weight_path", "null", None),
    ("kto_chosen_weight", "1.0", None),
    ("kto_rejected_weight", "1.0", None),
    ("label_names", "null", Some("labels have one name here")),
    ("label_smoothing_factor", "0.0", None),
    ("ld_alpha", "null", None),
    ("length_column_name", "length", Some("it matters only when grouping by length")),
    ("length_penalty", "1.0", None),
    ("liger_kernel_config", "null", None),
    ("local_rank", "-1", Some("it matters only with several devices")),
    ("log_level", "passive", Some("the run directory keeps the whole log")),
    ("log_level_replica", "warning", Some("the run directory keeps the whole log")),
    ("log_on_each_node", "true", Some("it matters only with several machines")),
    ("logging_dir", "null", Some("logs lie in `output_dir`")),
    ("logging_nan_inf_filter", "true", None),
    ("logging_strategy", "steps", None),
    ("loraplus_lr_embedding", "1e-06", None),
    ("loraplus_lr_ratio", "null", None),
    ("low_cpu_mem_usage", "true", Some("weights are memory-mapped here")),
    ("master_addr", "null", None),
    ("master_port", "null", None),
    ("max_length", "1024", None),
    ("metric_for_best_model", "null", None),
    ("mixture_of_depths", "null", None),
    ("module_dropout", "0.0", None),
    ("moe_aux_loss_coef", "null", None),
    ("ms_hub_token", "null", None),
    ("neat_packing", "false", None),
    ("neftune_noise_alpha", "null", None),
    ("new_special_tokens_config", "null", None),
    ("num_beams", "1", None),
    ("offload_folder", "offload", Some("nothing is offloaded to disk here")),
    ("oft_block_size", "32", None),
    ("oft_rank", "0", None),
    ("oft_target", "all", None),
    ("om_hub_token", "null", None),
    ("optim_args", "null", None),
    ("optim_target_modules", "null", None),
    ("parallelism_config", "null", None),
    ("pissa_convert", "false", None),
    ("pissa_init", "false", None),
    ("pissa_iter", "16", None),
    ("ppo_buffer_size", "1", None),
    ("ppo_epochs", "4", None),
    ("ppo_score_norm", "false", None),
    ("ppo_target", "6.0", None),
    ("ppo_whiten_rewards", "false", None),
    ("prediction_loss_only", "false", Some("an evaluation computes the loss")),
    ("pref_bco_weight", "0.0", None),
    ("pref_beta", "0.1", None),
    ("pref_ftx", "0.0", None),
    ("pref_loss", "sigmoid", None),
    ("preprocessing_batch_size", "1000", Some("samples are read one at a time here")),
    ("preserve_thinking", "false", Some("Qwen2-VL does not think")),
    ("print_param_status", "false", Some("`lightbox estimate` shows what is trained")),
    ("profile_modules", "null", None),
    ("profiler_active_steps", "1", None),
    ("profiler_output_dir", "null", None),
    ("profiler_profile_memory", "true", None),
    ("profiler_record_shapes", "true", None),
    ("profiler_repeat", "1", None),
    ("profiler_wait_steps", "1", None),
    ("profiler_warmup_steps", "1", None),
    ("profiler_with_stack", "true", None),
    ("project", "huggingface", Some("only trackers use it")),
    ("push_to_hub", "false", None),
    ("quantization_bit", "null", None),
    ("quantization_device_map", "null", None),
    ("quantization_method", "bnb", None),
    ("quantization_type", "nf4", None),
    ("ray_init_kwargs", "null", None),
    ("ray_num_workers", "1", None),
    ("ref_model", "null", None),
    ("ref_model_adapters", "null", None),
    ("ref_model_quantization_bit", "null", None),
    ("remove_unused_columns", "true", Some("only the columns that are needed are read")),
    ("resize_vocab", "false", None),
    ("restore_callback_states_from_checkpoint", "false", None),
    ("reward_model", "null", None),
    ("reward_model_adapters", "null", None),
    ("reward_model_quantization_bit", "null", None),
    ("reward_model_type", "lora", None),
    ("rope_scaling", "null", None),
    ("save_on_each_node", "false", Some("it matters only with several machines")),
    ("sglang_config", "null", None),
    ("sglang_lora_backend", "triton", None),
    ("sglang_maxlen", "4096", None),
    ("sglang_mem_fraction", "0.7", None),
    ("sglang_tp_size", "-1", None),
    ("shift_attn", "false", None),
    ("simpo_gamma", "0.5", None),
    ("skip_memory_metrics", "true", Some("memory is always logged here")),
    ("sortish_sampler", "false", None),
    ("split_special_tokens", "false", None),
    ("swanlab_api_key", "null", None),
    ("swanlab_lark_secret", "null", None),
    ("swanlab_lark_webhook_url", "null", None),
    ("swanlab_logdir", "null", None),
    ("swanlab_mode", "cloud", None),
    ("swanlab_project", "llamafactory", None),
    ("swanlab_run_name", "null", None),
    ("swanlab_workspace", "null", None),
    ("tf32", "null", None),
    ("tokenized_path", "null", None),
    ("tool_format", "null", None),
    ("torch_compile", "false", None),
    ("torch_compile_backend", "null", None),
    ("torch_compile_mode", "null", None),
    ("torch_empty_cache_steps", "null", Some("memory is managed by the allocator here")),
    ("trackio_bucket_id", "null", None),
    ("trackio_space_id", "null", None),
    ("trackio_static_space_id", "null", None),
    ("train_sampling_strategy", "random", None),
    ("upcast_layernorm", "false", None),
    ("upcast_lmhead_output", "false", None),
    ("use_adam_mini", "false", None),
    ("use_apollo", "false", None),
    ("use_asft_loss", "false", None),
    ("use_audio_in_video", "false", None),
    ("use_badam", "false", None),
    ("use_cache", "false", Some("generation always keeps its key-value cache")),
    ("use_dft_loss", "false", None),
    ("use_dora", "false", None),
    ("use_eaft_loss", "false", None),
    ("use_galore", "false", None),
    ("use_hyper_parallel", "false", None),
    ("use_kt", "false", None),
    ("use_kv_cache", "true", Some("generation always keeps its key-value cache")),
    ("use_liger_kernel", "false", None),
    ("use_llama_pro", "false", None),
    ("use_mca", "false", None),
    ("use_muon", "false", None),
    ("use_swanlab", "false", None),
    ("use_unsloth", "false", None),
    ("use_unsloth_gc", "false", None),
    ("use_v1_kernels", "false", None),
    ("video_fps", "2.0", Some("videos are not supported yet")),
    ("video_max_pixels", "65536", Some("videos are not supported yet")),
    ("video_maxlen", "128", Some("videos are not supported yet")),
    ("video_min_pixels", "256", Some("videos are not supported yet")),
    ("vllm_config", "null", None),
    ("vllm_enforce_eager", "false", None),
    ("vllm_gpu_util", "0.7", None),
    ("vllm_max_lora_rank", "32", None),
    ("vllm_maxlen", "4096", None),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_keys_are_sorted_readable_and_not_ours() {
        for pair in OTHER_KEYS.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{} must come after {}", pair[1].0, pair[0].0);
        }
        for (name, default, _) in OTHER_KEYS {
            let value: Value = serde_yaml::from_str(default).unwrap_or_else(|e| panic!("default of {name}: {e}"));
            assert!(OtherKey::find(name).is_some_and(|key| key.is_default(&value)), "{name}");
            assert!(super::super::KEYS.iter().all(|key| key.name != *name), "{name} is in both tables");
        }
    }

    #[test]
    fn the_two_tables_hold_all_346_keys_of_llamafactory_and_seven_of_our_own() {
        assert_eq!(OTHER_KEYS.len() + super::super::KEYS.len(), 346 + 7);
    }
}
