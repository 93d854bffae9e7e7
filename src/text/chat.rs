//! The words of the Chat screen.
use crate::texts;

texts! {
    YOU = "You", "您";
    PICTURES = "Pictures", "图片";
    QUESTION = "Question", "问题";
    QUESTION_KEYS = "enter sends · alt-enter new line · alt-a picture", "回车发送 · alt-回车换行 · alt-a 图片";
    PLACEHOLDER = "Ask about the picture…", "就图片提问……";
    EMPTY = "Nothing has been asked yet.", "还没有提问。";
    EMPTY_NEXT = "Write a question below and press enter. alt-a adds a picture (or drop or paste its path), alt-m chooses the model, alt-c puts the same question to a second one.",
        "在下方输入问题后按回车。alt-a 添加图片（或拖入、粘贴路径），alt-m 选择模型，alt-c 把同一问题交给第二个模型。";
    NO_MODEL_SHORT = "no model chosen", "未选择模型";
    NO_MODEL = "Choose a model first", "请先选择模型";
    NO_MODEL_NEXT = "Press alt-m (or m) to choose one. The Models screen (5) gets models from the Hub; the tour (F8) brings a small one along.",
        "按 alt-m（或 m）选择模型。第 5 屏可从 Hub 下载模型；导览（F8）自带一个小模型。";
    STILL_ANSWERING = "The model is still answering; esc stops it", "模型仍在回答；按 Esc 停止";
    STARTING = "starting the worker…", "正在启动工作进程……";
    LOADING_BASE = "loading the model…", "正在加载模型……";
    LOADING_ADAPTER = "putting on the adapter…", "正在装上适配器……";
    LOADING_MERGE = "loading and merging…", "正在加载并合并……";
    WAITING = "waits its turn… {0} s", "排队中……{0} 秒";
    READING = "reads the question… {0} s", "正在阅读问题……{0} 秒";
    MEMORY = "{0} in memory on {1}, {2}", "{1} 上占用 {0} 内存，{2}";
    STATS = "{0} tokens · {1} tok/s · first after {2} s", "{0} 个词元 · {1} tok/s · 首个用时 {2} 秒";
    CUT = "cut at max_new_tokens", "在 max_new_tokens 处截断";
    STOPPED = "stopped", "已停止";
    ANSWERED = "The model has answered", "模型已回答";
    ASK_AGAIN = "alt-r asks again and starts a new worker", "alt-r 重新提问并启动新的工作进程";
    ATTACH_TITLE = "Pictures for the question", "为问题选择图片";
    NOT_HERE = "{0}: there is no such file on this machine. If it lies on your own: scp '{0}' {1}:", "{0}：本机没有该文件。如果它在您自己的电脑上：scp '{0}' {1}:";
    NO_PICTURE = "{0}: {1}", "{0}：{1}";
    MODEL_TITLE = "Which model answers?", "由哪个模型回答？";
    SECOND_TITLE = "Which model answers beside it?", "由哪个模型同时回答？";
    MODEL_FOLDER = "A file of the model's folder (config.json)", "模型文件夹中的文件（config.json）";
    OTHER_FOLDER = "another folder…", "其他文件夹……";
    OTHER_FOLDER_HELP = "choose its config.json", "选择其中的 config.json";
    BASE_MODEL = "base model", "基础模型";
    ADAPTER_OF = "adapter on {0}", "适配器，基于 {0}";
    CHECKPOINT_OF = "checkpoint, adapter on {0}", "检查点，适配器基于 {0}";
    CLEARED = "A new conversation; u (or alt-u) brings the old one back", "新对话；u（或 alt-u）恢复旧对话";
    OPTIONS_TITLE = "How answers are chosen", "回答的生成方式";
    BAD_OPTION = "{1} is no value for {0}", "{1} 不是 {0} 的有效值";
    O_MAX = "longest answer, in tokens", "回答的最大长度（词元数）";
    O_SAMPLE = "draw tokens at random (true), or always take the most likely (false)", "随机采样（true），或总取最可能的词元（false）";
    O_TEMPERATURE = "below 1 sharper, above 1 flatter", "小于 1 更确定，大于 1 更发散";
    O_TOP_P = "draw among the most likely tokens that together have this probability (0 to 1)", "在累计概率达到该值的最可能词元中采样（0 到 1）";
    O_TOP_K = "draw among so many most likely tokens; 0: all", "在最可能的若干词元中采样；0 表示全部";
    O_PENALTY = "above 1: what was said becomes less likely", "大于 1 时，已出现的内容更不易重复";
    O_SEED = "seed of the drawing", "采样的随机种子";
    O_MAX_PIXELS = "larger pictures are made smaller (e.g. 768*768); auto: as the adapter was trained", "更大的图片会被缩小（如 768*768）；auto：与适配器训练时相同";
    O_MIN_PIXELS = "smaller pictures are made larger; auto: as the adapter was trained", "更小的图片会被放大；auto：与适配器训练时相同";
    SYSTEM_TITLE = "System prompt", "系统提示词";
    SYSTEM_LABEL = "Told before everything else. Empty: the model's own (You are a helpful assistant.)", "在一切之前告诉模型的话。留空则用模型自带的（You are a helpful assistant.）";
    SAVE_TITLE = "Save the conversation", "保存对话";
    SAVE_LABEL = "File", "文件";
    MARKDOWN_HELP = "to read, with links to the pictures", "便于阅读，附图片链接";
    JSON_HELP = "for programs, with models, options and times", "供程序使用，含模型、选项与用时";
    NOTHING_SAID = "There is no answer to save yet", "还没有可保存的回答";
    SAVED = "Saved: {0}", "已保存：{0}";
    EXISTS = "{0} exists already and was left as it is; choose another name", "{0} 已存在，未作改动；请换一个名称";
    ADD_TITLE = "Add to a data set", "加入数据集";
    ADD_LABEL = "Name of the data set in dataset_info.json (a new one is made)", "dataset_info.json 中的数据集名称（没有则新建）";
    ADDED = "Added to {0} ({1})", "已加入 {0}（{1}）";
    NOT_OURS = "{0} in {1} has another layout than a chat's; choose another name", "{1} 中的 {0} 与对话格式不同；请换一个名称";
}
