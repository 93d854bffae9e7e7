//! What is wrong with a profile, in Simplified Chinese. The checks themselves (`lightbox_core::profile`) speak English, on
//! the command line and in logs; here are the same sentences for a screen. One that is not here is shown in English.

use super::Lang;
use crate::app::train::draft::Found;
use crate::app::train::form;
use lightbox_core::profile::Key;
use lightbox_core::safe_text::clean_line;

/// A problem in the user's language, safe to show.
pub fn message(lang: Lang, found: &Found) -> String {
    let english = clean_line(&found.message, 400);
    if lang == Lang::En {
        return english;
    }
    if let Some((_, chinese)) = CONFLICTS.iter().find(|(start, _)| english.starts_with(start)) {
        return (*chinese).to_owned();
    }
    let key = found.key.as_deref().and_then(Key::find);
    if let Some(key) = key
        && let Some((value, _)) = english.split_once(" is not allowed; needs ")
    {
        return format!("不允许 {value}；需要{}", form::allowed(lang, key));
    }
    let quoted = |text: &str| text.split('`').nth(1).unwrap_or_default().to_owned();
    if let Some((_, meant)) = english.split_once(" is not a key of a profile; did you mean ") {
        return format!("`{}` 不是配置的键；是否想写 `{}`？", quoted(&english), quoted(meant));
    }
    if english.ends_with(" is not a key of a profile") {
        return format!("`{}` 不是配置的键", quoted(&english));
    }
    if let Some((_, default)) =
        english.split_once("is not supported by Lightbox yet; remove it or set it to its default, ")
    {
        return format!("Lightbox 尚不支持 LLaMA-Factory 的键 `{}`；请删除，或设为默认值 {default}", quoted(&english));
    }
    if english.contains(" is set twice") {
        return format!("`{}` 重复设置；请删除其中一个", quoted(&english));
    }
    if let Some(why) = english.strip_prefix("not valid YAML: ") {
        return format!("不是有效的 YAML：{why}");
    }
    english
}

/// How a conflict between keys begins in English, and all of it in Chinese.
const CONFLICTS: &[(&str, &str)] = &[
    ("`do_train` needs `dataset`", "`do_train` 需要 `dataset`：dataset_info.json 中的名称"),
    ("`do_eval` needs data", "`do_eval` 需要评估数据：请设置 `eval_dataset` 或 `val_size`"),
    ("`eval_strategy` needs data", "`eval_strategy` 需要评估数据：请设置 `eval_dataset` 或 `val_size`"),
    ("`eval_on_start` needs", "`eval_on_start` 需要 `eval_dataset` 或 `val_size`"),
    (
        "`predict_with_generate` needs samples",
        "`predict_with_generate` 需要可回答的样本：请设置 `eval_dataset` 或 `val_size`",
    ),
    (
        "`val_size` and `eval_dataset` exclude",
        "`val_size` 与 `eval_dataset` 互斥：评估数据要么从训练数据划出，要么指定名称",
    ),
    ("`streaming` needs `max_steps`", "`streaming` 需要 `max_steps`：事先不知道有多少样本可用"),
    ("`streaming` and `max_samples` exclude", "`streaming` 与 `max_samples` 互斥：用多少样本由 `max_steps` 决定"),
    ("with `streaming`, `val_size` must be", "使用 `streaming` 时 `val_size` 必须是整数：样本未计数，比例无从得知"),
    ("`stage: vision` has to know", "`stage: vision` 须事先知道所有 `image_labels`：请删除 `streaming`"),
    ("`val_size` must be", "`val_size` 必须是小于 1 的比例，或大于 1 的整数"),
    ("`mask_history` and `train_on_prompt` exclude", "`mask_history` 与 `train_on_prompt` 互斥"),
    ("`packing: true` is not supported", "Lightbox 尚不支持 `packing: true`；请删除或设为 false"),
    ("`image_min_pixels` must not", "`image_min_pixels` 不能大于 `image_max_pixels`"),
    (
        "`ignore_pad_token_for_loss: false`",
        "`ignore_pad_token_for_loss: false` 会对填充计算损失，Lightbox 不支持；请删除",
    ),
    (
        "`stage: vision` trains",
        "`stage: vision` 训练全部权重且没有评估：请设置 `finetuning_type: full`，不要设置 `val_size` 或 `eval_dataset`",
    ),
    ("`do_train` needs `model_name_or_path`", "`do_train` 需要 `model_name_or_path`"),
    ("`template: qwen2_vl` is missing", "缺少 `template: qwen2_vl`；否则 LLaMA-Factory 会使用不支持图片的模板"),
    ("`adapter_name_or_path` needs", "`adapter_name_or_path` 需要 `finetuning_type: lora`"),
    ("`lora_target` names no module", "`lora_target` 没有指定模块；`all` 表示所有线性层"),
    ("nothing is left to train", "没有可训练的部分：语言模型和视觉编码器均已冻结"),
    (
        "`load_best_model_at_end` needs",
        "`load_best_model_at_end` 需要评估和检查点：请设置 `eval_strategy` 和 `save_strategy`",
    ),
    ("`max_steps: 0` would", "`max_steps: 0` 不会训练任何内容；请设为大于 0，或设为 -1 以使用 `num_train_epochs`"),
    ("`pure_bf16` and `bf16` exclude", "`bf16` 与 `pure_bf16` 互斥：混合精度，或全程 bfloat16"),
    ("`bf16` and `pure_bf16` exclude", "`bf16` 与 `pure_bf16` 互斥：混合精度，或全程 bfloat16"),
    ("`use_cpu: true` and a GPU", "`use_cpu: true` 与指定 GPU 的 `device` 矛盾"),
    ("`logging_steps` must be", "`logging_steps` 必须是小于 1 的比例或整数"),
    ("`save_steps` must be", "`save_steps` 必须是小于 1 的比例或整数"),
    ("`eval_steps` must be", "`eval_steps` 必须是小于 1 的比例或整数"),
    ("`warmup_steps` must be", "`warmup_steps` 必须是小于 1 的比例或整数"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::train::draft::Draft;

    /// Profiles that are wrong in every way there is: none of the messages stays English.
    #[test]
    fn every_kind_of_problem_is_told_in_chinese() {
        let texts = [
            "do_train: true\ndo_eval: true\neval_strategy: steps\neval_on_start: true\npredict_with_generate: true\nmask_history: true\ntrain_on_prompt: true\n",
            "val_size: 1.5\neval_dataset: a\npacking: true\nstreaming: true\nimage_min_pixels: 999999999\nlora_target: []\n",
            "ignore_pad_token_for_loss: false\nstage: vision\nadapter_name_or_path: a\nfinetuning_type: full\nval_size: 0.1\n",
            "freeze_language_model: true\nload_best_model_at_end: true\nmax_steps: 0\npure_bf16: true\nbf16: true\n",
            "use_cpu: true\ndevice: cuda:0\nlogging_steps: 1.5\nsave_steps: 1.5\neval_steps: 1.5\nwarmup_steps: 1.5\n",
            "streaming: true\nmax_samples: 9\nval_size: 0.1\nstage: vision\nfinetuning_type: full\n",
            "lora_rank: x\nlearning_rat: 1\nnonsense_qqq: 1\nuse_dora: true\nseed: 1\nseed: 2\n",
            "seed: [1\n",
        ];
        for text in texts {
            let draft = Draft::new(text.to_owned());
            assert!(!draft.problems().is_empty());
            for found in draft.problems() {
                let chinese = message(Lang::Zh, found);
                assert!(!chinese.is_ascii() && chinese != found.message, "{}", found.message);
            }
        }
    }

    #[test]
    fn a_value_that_is_not_allowed_is_told_with_what_is() {
        let draft = Draft::new("lora_rank: 0\n".to_owned());
        assert_eq!(message(Lang::Zh, &draft.problems()[0]), "不允许 `lora_rank: 0`；需要整数，不小于 1");
    }
}
