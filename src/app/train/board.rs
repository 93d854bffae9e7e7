//! The names that LLaMA Board has for our keys, in the order of its page: who knows that page finds its controls in the
//! first group of the form, under the labels they know, and by searching for those labels.

use crate::text::T;

/// Key, and LLaMA Board's label for it.
pub const BOARD: &[(&str, T)] = &[
    ("model_name_or_path", T("Model name / path", "模型名称 / 路径")),
    ("finetuning_type", T("Finetuning method", "微调方法")),
    ("adapter_name_or_path", T("Checkpoint path", "检查点路径")),
    ("template", T("Chat template", "对话模板")),
    ("flash_attn", T("Booster", "加速方式")),
    ("stage", T("Stage", "训练阶段")),
    ("dataset_dir", T("Data dir", "数据路径")),
    ("dataset", T("Dataset", "数据集")),
    ("learning_rate", T("Learning rate", "学习率")),
    ("num_train_epochs", T("Epochs", "训练轮数")),
    ("max_grad_norm", T("Maximum gradient norm", "最大梯度范数")),
    ("max_samples", T("Max samples", "最大样本数")),
    ("bf16", T("Compute type: bf16", "计算类型：bf16")),
    ("pure_bf16", T("Compute type: pure_bf16", "计算类型：pure_bf16")),
    ("cutoff_len", T("Cutoff length", "截断长度")),
    ("per_device_train_batch_size", T("Batch size", "批处理大小")),
    ("gradient_accumulation_steps", T("Gradient accumulation", "梯度累积")),
    ("val_size", T("Val size", "验证集比例")),
    ("lr_scheduler_type", T("LR scheduler", "学习率调节器")),
    ("lora_rank", T("LoRA rank", "LoRA 秩")),
    ("lora_alpha", T("LoRA alpha", "LoRA 缩放系数")),
    ("lora_dropout", T("LoRA dropout", "LoRA 随机丢弃")),
    ("lora_target", T("LoRA modules", "LoRA 作用模块")),
    ("create_new_adapter", T("Create new adapter", "新建适配器")),
    ("use_rslora", T("Use rslora", "使用 rslora")),
    ("freeze_vision_tower", T("Freeze vision tower", "冻结视觉编码器")),
    ("freeze_multi_modal_projector", T("Freeze multi-modal projector", "冻结多模态投影器")),
    ("freeze_language_model", T("Freeze language model", "冻结语言模型")),
    ("image_max_pixels", T("Image max pixels", "图像最大像素")),
    ("image_min_pixels", T("Image min pixels", "图像最小像素")),
    ("logging_steps", T("Logging steps", "日志间隔")),
    ("save_steps", T("Save steps", "保存间隔")),
    ("warmup_steps", T("Warmup steps", "预热步数")),
    ("optim", T("Extra arguments: optim", "额外参数：optim")),
    ("packing", T("Pack sequences", "序列打包")),
    ("train_on_prompt", T("Train on prompt", "学习提示词")),
    ("mask_history", T("Mask history", "不学习历史对话")),
    ("report_to", T("External logger", "外部记录面板")),
    ("output_dir", T("Output dir", "输出目录")),
    ("resume_from_checkpoint", T("Output dir: resume", "输出目录：继续训练")),
];

/// LLaMA Board's label of a key.
pub fn label(key: &str) -> Option<T> {
    BOARD.iter().find(|(name, _)| *name == key).map(|(_, label)| *label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lightbox_core::profile::Key;

    #[test]
    fn every_label_belongs_to_a_key() {
        for (name, label) in BOARD {
            assert!(Key::find(name).is_some(), "{name}");
            assert!(!label.0.is_empty() && !label.1.is_empty(), "{name}");
        }
    }
}
