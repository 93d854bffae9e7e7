//! What each key of a profile does, in Simplified Chinese. The English texts are the keys' own documentation in
//! `lightbox_core::profile::keys`; a test makes sure that no key is missing here.

/// Effect and unit of a key, in a few sentences.
pub fn doc(key: &str) -> Option<&'static str> {
    DOCS.iter().find(|(name, _)| *name == key).map(|(_, text)| *text)
}

/// Why setting a key changes nothing here, for keys that tune LLaMA-Factory's own machinery.
pub fn note(key: &str) -> Option<&'static str> {
    NOTES.iter().find(|(name, _)| *name == key).map(|(_, text)| *text)
}

const DOCS: &[(&str, &str)] = &[
    ("stage", "训练内容：`sft`（对话微调），或 `vision`（Lightbox 独有：让新的视觉编码器学会说出属性）。"),
    ("do_train", "执行训练。需要设置 `dataset`。"),
    ("do_eval", "训练结束后评估。需要设置 `eval_dataset` 或 `val_size`。"),
    ("finetuning_type", "训练对象：适配器（`lora`）或全部权重（`full`）。"),
    ("template", "对话的文本格式；Qwen2-VL 需要 `qwen2_vl`。"),
    ("model_name_or_path", "基础模型：本地文件夹，或模型库中的仓库名（如 `Qwen/Qwen2-VL-2B-Instruct`）。"),
    (
        "adapter_name_or_path",
        "叠加在基础模型之上的适配器，按顺序排列。除最后一个外都会合并进基础模型；最后一个继续训练（以其自身的秩、alpha 和模块为准）。启用 `create_new_adapter` 时全部合并。可以是文件夹，或模型库中的仓库名。",
    ),
    ("create_new_adapter", "先将给定的适配器合并进基础模型，再新建一个适配器训练。"),
    ("train_from_scratch", "从随机权重开始；模型文件夹只提供配置和分词器。"),
    ("flash_attn", "注意力计算的实现方式。"),
    ("freeze_vision_tower", "不训练视觉编码器。"),
    ("freeze_multi_modal_projector", "不训练视觉编码器与语言模型之间的投影器（Qwen2-VL 的 merger）。"),
    ("freeze_language_model", "不训练语言模型。"),
    ("cache_dir", "下载的模型的存放位置，代替模型库的默认缓存。"),
    ("model_revision", "模型库中模型的分支、标签或提交号。"),
    ("hf_hub_token", "模型库的访问令牌。建议放在环境变量中：配置文件会被复制和展示。"),
    ("trust_remote_code", "LLaMA-Factory：执行随模型附带的代码。"),
    ("use_fast_tokenizer", "LLaMA-Factory：使用 Rust 分词器和 torchvision 图像处理器，而非较慢的版本。"),
    ("dataset_dir", "存放 `dataset_info.json` 和数据文件的文件夹。"),
    (
        "dataset",
        "用于训练的数据集：`dataset_info.json` 中的名称，或文件，或数据集库中的仓库名（`组织/名称`、`组织/名称:配置`），多个用逗号分隔。",
    ),
    ("eval_dataset", "用于评估的数据集：`dataset_info.json` 中的名称。与 `val_size` 互斥。"),
    ("media_dir", "图片相对路径的起始文件夹；未设置时为 `dataset_dir`。"),
    ("val_size", "从训练数据中划出用于评估的部分：小于 1 为比例，大于 1 为样本数。"),
    (
        "cutoff_len",
        "训练样本的最大长度，以词元计，图片也计算在内。更长的文本会被截断；若图片会被截断，则该样本不参与训练并予以报告。",
    ),
    ("max_samples", "每个数据集只使用前若干个样本。"),
    ("mix_strategy", "多个数据集的混合方式。"),
    (
        "interleave_probs",
        "每个数据集被抽到的比例，总和为 1，顺序同 `dataset`；不设则轮流取。例如影像与对话取 `0.9,0.1`，就有十分之一的样本留给对话。需要交错式的 `mix_strategy`。",
    ),
    ("train_on_prompt", "对提示词也计算损失。与 `mask_history` 互斥。"),
    ("mask_history", "只对最后一个回答计算损失。与 `train_on_prompt` 互斥。"),
    ("default_system", "样本自身没有系统提示词时使用的文本；空文本表示不要系统段。"),
    ("ignore_pad_token_for_loss", "将填充部分的标签设为 -100（不计损失）。设为 false 会对填充计算损失。"),
    ("disable_shuffling", "按文件顺序遍历数据，而不是每轮重新随机打乱。"),
    ("packing", "将多个样本拼成一行。仅支持 `false`。"),
    ("streaming", "立即开始训练，样本轮到时才检查，而不是先全部检查一遍。需要 `max_steps`。"),
    ("buffer_size", "配合 `streaming`：样本只与数据中相距不超过这么多的样本互换位置。"),
    (
        "on_bad_sample",
        "Lightbox 独有。遇到有问题的样本（图片缺失、轮次错误等）时：跳过并报告（`skip`），或拒绝开始训练（`refuse`）。",
    ),
    ("preprocessing_num_workers", "LLaMA-Factory：对数据分词的进程数。"),
    ("overwrite_cache", "LLaMA-Factory：重新分词，不使用缓存。"),
    ("dataloader_num_workers", "模型计算时在后台准备图片的线程数；0 和 1 都是一个线程。"),
    ("dataloader_pin_memory", "LLaMA-Factory：批次数据使用锁页内存。"),
    ("image_max_pixels", "更大的图片先缩小到这么多像素，再交给模型自己的处理器（约 28*28 像素一个词元）。"),
    ("image_min_pixels", "更小的图片放大到这么多像素。"),
    ("lora_rank", "适配器的秩 r：决定其大小和容量。"),
    ("lora_alpha", "适配器的输出乘以 alpha / 秩；未设置或为 0 时取 2 × 秩。"),
    ("lora_dropout", "训练时将适配器输入随机置零的比例。"),
    ("lora_target", "加装适配器的模块名称；`all` 表示未冻结部分的所有线性层。"),
    ("use_rslora", "缩放系数用 alpha / sqrt(秩)，而非 alpha / 秩。"),
    ("num_train_epochs", "遍历数据的轮数；可以是小数。"),
    ("max_steps", "更新步数，优先于 `num_train_epochs`；小于 0 表示不设置。"),
    ("per_device_train_batch_size", "一次前向计算的样本数。"),
    ("gradient_accumulation_steps", "一次更新包含的前向计算次数。每次更新的样本数 = 批大小 × 此值。"),
    ("bf16", "以 bfloat16 计算；适配器、梯度和优化器保持 32 位。"),
    ("pure_bf16", "全部使用 bfloat16，包括适配器和优化器。与 `bf16` 互斥。"),
    ("disable_gradient_checkpointing", "保留所有中间结果：更快，但显存需求大得多。"),
    ("use_reentrant_gc", "LLaMA-Factory：PyTorch 较旧的梯度检查点方式。"),
    (
        "loss_weighting",
        "Lightbox 独有。一次更新中各微批次的加权方式：`micro_batch`（与 LLaMA-Factory 相同）或 `token`（按词元加权）。",
    ),
    ("seed", "所有随机过程的种子：适配器初始化、样本顺序、dropout。"),
    ("data_seed", "仅用于样本顺序的种子；未设置时与 `seed` 相同。"),
    (
        "max_nonfinite_steps",
        "Lightbox 独有。损失或梯度连续出现非有限值的更新次数上限：每次都会跳过并报告，达到上限则训练失败。",
    ),
    ("full_determinism", "只使用确定性算子：同样的训练得到逐位相同的结果，但更慢。"),
    (
        "resume_from_checkpoint",
        "从这个 `checkpoint-N` 文件夹继续。未设置时：若 `output_dir` 中有检查点，则从最新的一个继续。",
    ),
    ("optim", "优化器。"),
    ("learning_rate", "学习率的峰值。"),
    ("lr_scheduler_type", "学习率的变化曲线。"),
    ("lr_scheduler_kwargs", "该曲线的参数，例如 `{min_lr: 1e-6}`。"),
    ("warmup_steps", "学习率从 0 上升所用的更新步数；小于 1 的数表示占总步数的比例。"),
    ("warmup_ratio", "`warmup_steps` 按比例的旧写法；与 transformers 一样优先于它。"),
    ("max_grad_norm", "范数更大的梯度会被缩小到此值；0 表示从不缩小。"),
    ("weight_decay", "使权重趋向 0（AdamW 的解耦衰减）；偏置和归一化层除外。"),
    ("adam_beta1", "AdamW 梯度均值的衰减系数。"),
    ("adam_beta2", "AdamW 梯度平方均值的衰减系数。"),
    ("adam_epsilon", "加在 AdamW 分母上的数。"),
    ("eval_strategy", "训练中何时评估。需要设置 `eval_dataset` 或 `val_size`。"),
    ("eval_steps", "两次评估之间的更新步数；小于 1 的数表示占总步数的比例；未设置时取 `logging_steps`。"),
    ("eval_on_start", "在第一次更新之前也评估一次。"),
    ("per_device_eval_batch_size", "评估时一次前向计算的样本数。"),
    (
        "predict_with_generate",
        "每次评估时还让模型作答，并与数据中的答案比较：BLEU-4、ROUGE、完全匹配。需要设置 `eval_dataset` 或 `val_size`。取概率最大的词元，除非配置设置了抽样的键。",
    ),
    (
        "eval_generate_samples",
        "Lightbox 独有。`predict_with_generate` 回答的评估样本数：均匀分布，每次都是同样的样本；0 表示全部。每次评估的回答都保存在 `samples/step-N/`，每张图片最多约 10 KB。",
    ),
    ("output_dir", "训练运行的文件夹：适配器、检查点、日志。"),
    ("overwrite_output_dir", "若文件夹中已有旧的训练，重新开始而不是继续。"),
    ("run_name", "此次训练的名称。"),
    ("logging_steps", "两次日志之间的更新步数（损失为其间的平均值）；小于 1 的数表示占总步数的比例。"),
    ("logging_first_step", "第一次更新也写日志。"),
    ("save_strategy", "何时写检查点。训练结束时总会写出适配器。"),
    ("save_steps", "两个检查点之间的更新步数；小于 1 的数表示占总步数的比例。"),
    ("save_total_limit", "只保留最新的若干个检查点，至少两个；最佳检查点和固定的检查点另外保留。"),
    ("load_best_model_at_end", "结束时载入最佳检查点（评估样本上损失最低），作为最终的适配器。"),
    ("save_only_model", "检查点不含优化器：更小，但不能继续训练。"),
    ("plot_loss", "绘制损失曲线（`training_loss.png`）。"),
    ("include_num_input_tokens_seen", "统计输入词元数，并记录每秒词元数。"),
    ("report_to", "实验跟踪工具。仅支持 `none`。"),
    ("do_sample", "随机抽取下一个词元，而不是取概率最大的。"),
    ("temperature", "小于 1 更集中，大于 1 更分散；0 表示取概率最大的词元。"),
    ("top_p", "在累计概率达到此值的最可能词元中抽取。"),
    ("top_k", "在这么多个最可能的词元中抽取；0 表示在全部词元中抽取。"),
    ("max_new_tokens", "回答的最大长度，以词元计。"),
    ("repetition_penalty", "大于 1 会降低已出现过的词元的概率。"),
    ("skip_special_tokens", "回答的文本中不包含特殊词元。"),
    ("infer_dtype", "生成时的权重类型；`auto` 表示与模型保存时相同。"),
    ("device", "Lightbox 独有。`auto`（第一块 GPU，没有则 CPU）、`cpu`、`cuda` 或 `cuda:N`。"),
    ("use_cpu", "即使有 GPU 也使用 CPU。"),
    ("num_threads", "Lightbox 独有。模型使用的 CPU 线程数；未设置时由 libtorch 决定。"),
    ("max_restarts", "Lightbox 独有。GPU 丢失后，监护进程从最新检查点重新启动训练的次数上限。"),
    ("ddp_timeout", "LLaMA-Factory：进程之间互相等待的秒数。"),
];

const NOTES: &[(&str, &str)] = &[
    ("trust_remote_code", "Lightbox 从不执行模型文件夹中的代码"),
    ("use_fast_tokenizer", "Lightbox 只有一种分词器和图像处理器，与快速版本一致"),
    ("preprocessing_num_workers", "只有文本和图片文件头会预先读取，由一个进程完成"),
    ("overwrite_cache", "Lightbox 不缓存分词结果"),
    ("dataloader_pin_memory", "批次如何传到 GPU 由 Lightbox 决定"),
    ("use_reentrant_gc", "两种方式的计算结果相同"),
    ("ddp_timeout", "只在多进程时有意义"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use lightbox_core::profile::KEYS;

    #[test]
    fn every_key_has_a_chinese_text_and_every_text_a_key() {
        for key in KEYS {
            assert!(doc(key.name).is_some_and(|text| text.ends_with('。')), "{} has no Chinese text", key.name);
            assert_eq!(note(key.name).is_some(), key.note.is_some(), "{}: the note", key.name);
        }
        assert_eq!(DOCS.len(), KEYS.len());
        for (name, _) in DOCS.iter().chain(NOTES) {
            assert!(KEYS.iter().any(|key| key.name == *name), "{name} is no key");
        }
    }

    /// Words of a profile stand in backquotes in both languages.
    #[test]
    fn both_languages_name_the_same_keys() {
        let named = |text: &str| {
            let words = text.split('`').skip(1).step_by(2).map(str::to_owned);
            let mut keys: Vec<_> = words.filter(|word| KEYS.iter().any(|key| key.name == word)).collect();
            keys.sort();
            keys.dedup();
            keys
        };
        for key in KEYS {
            assert_eq!(named(&key.doc()), named(doc(key.name).unwrap_or_default()), "{}", key.name);
        }
    }
}
