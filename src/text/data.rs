//! The words of the Data screen.
use crate::texts;

texts! {
    SETS = "Data sets", "数据集";
    SAMPLES = "Samples", "样本";
    PROBLEMS = "Problems", "问题";
    SAMPLE = "Sample {0}", "样本 {0}";
    STATISTICS = "Statistics", "统计";
    SEEN = "What the model sees · sample {0}", "模型看到的内容 · 样本 {0}";
    TOKENS = "Tokens · sample {0}", "词元 · 样本 {0}";

    LOOKING = "Looking for data sets …", "正在查找数据集……";
    NO_SETS = "No data sets here.", "此处没有数据集。";
    NO_SETS_NEXT = "o opens a folder with a dataset_info.json, or a JSON, JSONL or parquet file (a path can also be pasted or dropped here). D downloads a set from the Hub. C converts captioned pictures in parquet once they are chosen. F8 makes a small demo to look around in.",
        "按 o 打开包含 dataset_info.json 的文件夹，或 JSON、JSONL、parquet 文件（也可粘贴或拖入路径）。按 D 从 Hub 下载数据集。选中 parquet 图文数据后按 C 转换。按 F8 生成小型演示内容。";
    CHOOSE = "No set is open.", "尚未打开数据集。";
    CHOOSE_NEXT = "Choose one on the left and press enter. o opens another folder or file, D downloads one from the Hub.",
        "在左侧选择一个并按回车。按 o 打开其他文件夹或文件，按 D 从 Hub 下载。";
    OPENING = "Opening {0} …", "正在打开 {0}……";
    OPENING_NEXT = "Finding its rows; esc cancels.", "正在定位各行；按 Esc 取消。";
    NOT_OPENED = "{0} could not be opened.", "无法打开 {0}。";
    NOT_OPENED_NEXT = "esc puts this away · o opens another file or folder", "Esc 关闭此提示 · o 打开其他文件或文件夹";
    MORE_SETS = "There is more here than was looked at: o opens a folder below.", "此处内容过多，未全部查看：按 o 打开下级文件夹。";
    NO_SAMPLES = "The set has no samples.", "该数据集没有样本。";
    NO_MATCHES = "No sample fits. esc shows all again.", "没有匹配的样本。按 Esc 显示全部。";
    SEARCHING = "{2} found · {0} of {1} · x stops", "找到 {2} · 已查看 {0} / {1} · x 停止";
    FOUND = "{0} found", "找到 {0} 个";
    FOUND_PART = "{0} found in the first {1}", "前 {1} 个中找到 {0} 个";
    SEARCH_FAILED = "The search ended: {0}", "搜索中止：{0}";
    SET_LINE = "{0} samples · {1}", "{0} 个样本 · {1}";
    SET_PROBLEMS = "{0} problems", "{0} 个问题";
    SET_GOOD = "no problems", "无问题";
    KIND_NAMED = "dataset_info.json", "dataset_info.json";
    KIND_PARQUET = "parquet", "parquet";
    KIND_JSON = "JSON", "JSON";

    SYSTEM = "System", "系统";
    TOOLS = "Tools", "工具";
    USER = "Question", "提问";
    ASSISTANT = "Answer", "回答";
    OBSERVATION = "Tool's answer", "工具结果";
    FUNCTION = "Tool call", "工具调用";
    MORE_TEXT = "… {0} more characters, which are too many for the screen", "……还有 {0} 个字符，屏幕无法全部显示";
    PICTURE_OF = "picture {0} of {1}", "图片 {0} / {1}";
    CANNOT_USE = "This sample cannot be used:", "该样本无法使用：";

    LOADING_MODEL = "Loading the tokenizer …", "正在加载分词器……";
    NO_MODEL = "No model folder is known.", "尚无可用的模型文件夹。";
    NO_MODEL_NEXT = "m chooses one (tokenizer and picture settings are read, no weights); F8 makes the demo with its tiny model; screen 5 downloads models.",
        "按 m 选择（只读取分词器与图片设置，不读权重）；按 F8 生成含微型模型的演示；第 5 屏可下载模型。";
    NOT_SEEN = "Training could not use this sample.", "训练无法使用该样本。";
    COUNTS = "{0} tokens: {1} of pictures, {2} trained on", "{0} 个词元：图片 {1}，训练 {2}";
    COUNT_CUT = "{0} cut off", "截断 {0}";
    COUNT_LEN = "cutoff_len {0}", "cutoff_len {0}";
    REFUSED = "Training leaves this sample out: {0}", "训练会跳过该样本：{0}";
    LEGEND_TRAINED = "trained on", "训练";
    LEGEND_CONTEXT = "context", "上下文";
    LEGEND_PICTURE = "picture", "图片";
    LEGEND_CUT = "cut off", "截断";
    PICTURE_TOKENS = "[picture {0}: {1} tokens {2}×{3}]", "[图片 {0}：{1} 个词元 {2}×{3}]";

    SEARCH = "Search", "搜索";
    SEARCH_LABEL = "tumour · \"two words\" · -not · answer:x · question:x · origin:file · pictures:>1 · len:>400 · column.x:y · problem:   (all must hold; empty shows all)",
        "肿瘤 · \"词组\" · -排除 · answer:回答 · question:提问 · origin:文件 · pictures:>1 · len:>400 · column.列名:值 · problem:   （须同时满足；留空显示全部）";
    FILTER = "Show only", "仅显示";
    FILTER_NONE = "all samples", "全部样本";
    FILTER_PROBLEMS = "rows that cannot be read", "无法读取的行";
    FILTER_TEXT_ONLY = "without a picture", "无图片";
    FILTER_SEVERAL = "several pictures", "多张图片";
    FILTER_LONG = "long answers (over 1000 characters)", "长回答（超过 1000 字符）";
    FILTER_SHORT = "short answers (under 20 characters)", "短回答（少于 20 字符）";
    JUMP = "Jump", "跳转";
    JUMP_LABEL = "A sample's number, from 0 to {0} (as in messages and on the command line), or 50%", "样本编号，0 至 {0}（与消息和命令行一致），或如 50%";
    NO_SAMPLE = "There is no sample \"{0}\".", "没有样本“{0}”。";
    NO_NUMBER = "\"{0}\" is not a whole number above 0.", "“{0}”不是大于 0 的整数。";
    CUTOFF = "cutoff_len", "cutoff_len";
    CUTOFF_LABEL = "Most tokens of a sample, for what is shown here; empty: as the profile says, else 2048", "样本的最大词元数（仅影响此处显示）；留空则按训练配置，否则为 2048";

    STATS_OF = "{0} samples measured", "已统计 {0} 个样本";
    STATS_SPREAD = "{0} samples measured, spread over all {1}", "在全部 {1} 个样本中均匀抽取 {0} 个统计";
    STATS_PART = "stopped: {0} of {1} samples measured", "已停止：统计了 {0} / {1} 个样本";
    STATS_BAD = "{0} cannot be used", "{0} 个无法使用";
    STATS_TEXT_ONLY = "{0} text only", "{0} 个纯文本";
    STATS_TRUNCATED = "cutoff_len {0}: {1} samples lose text", "cutoff_len {0}：{1} 个样本会被截断";
    STATS_NO_MODEL = "With a model folder (m) also lengths in tokens.", "选择模型文件夹（m）后还可统计词元长度。";
    STATS_RUNNING = "Measuring …  x stops, esc goes back", "统计中……按 x 停止，Esc 返回";
    STATS_NUMBERS = "min {0} · median {1} · p90 {2} · p99 {3} · max {4}", "最小 {0} · 中位 {1} · p90 {2} · p99 {3} · 最大 {4}";
    H_TOKENS = "Tokens", "词元数";
    H_LABELS = "Tokens trained on", "训练词元数";
    H_ANSWER = "Characters of answers", "回答字符数";
    H_WIDTH = "Picture width", "图片宽度";
    H_HEIGHT = "Picture height", "图片高度";
    H_PICTURES = "Pictures per sample", "每样本图片数";
    H_TURNS = "Turns", "对话轮数";

    CHECK_RUNNING = "{2} problems · {0} of {1} checked · x stops", "{2} 个问题 · 已检查 {0} / {1} · x 停止";
    CHECK_NONE = "Nothing is wrong so far.", "目前没有发现问题。";
    CHECK_DONE_GOOD = "All samples and pictures can be used.", "所有样本与图片均可使用。";
    CHECK_PART = "stopped after {0} of {1}", "在 {0} / {1} 处停止";
    CHECK_GOOD = "{0} samples checked: nothing is wrong ({1} problems)", "已检查 {0} 个样本：没有问题（{1} 个）";
    CHECK_BAD = "{0} samples checked: {1} problems", "已检查 {0} 个样本：{1} 个问题";

    OPEN_TITLE = "Open a data file, or a folder by its .", "打开数据文件，或在文件夹内选 .";
    MODEL_TITLE = "Model folder: choose . in it", "模型文件夹：进入后选 .";
    PASTE_PATH = "A pasted or dropped path is opened; this is none.", "可粘贴或拖入路径来打开；这不是路径。";

    CONVERT = "Convert", "转换";
    CONVERT_OUT = "1/3  Folder for the result: it gets the pictures, the JSON and a dataset_info.json", "1/3  结果文件夹：将写入图片、JSON 与 dataset_info.json";
    CONVERT_NAME = "2/3  Name of the new data set", "2/3  新数据集的名称";
    CONVERT_QUESTIONS = "3/3  Question put to every picture; several are divided by | and take turns", "3/3  对每张图片提出的问题；多个问题用 | 分隔，轮流使用";
    CONVERTED = "{0} samples written, {1} rows left out: {2}", "已写入 {0} 个样本，跳过 {1} 行：{2}";
    REGISTER = "Register", "注册";
    REGISTER_LABEL = "The name it gets in {0}", "在 {0} 中的名称";
    REGISTERED = "\"{0}\" is in {1} now", "“{0}”已注册到 {1}";
    REPLACE = "{0}\n\nReplace the entry?", "{0}\n\n替换该条目？";
    UNREGISTER = "Unregister", "取消注册";
    UNREGISTER_TEXT = "Take \"{0}\" out of {1}? The data stay where they are; u puts the entry back.", "从 {1} 中移除“{0}”？数据保持不变；按 u 可恢复条目。";
    UNREGISTERED = "\"{0}\" was taken out; u puts it back", "已移除“{0}”；按 u 恢复";
    DOWNLOAD = "Download from the Hub", "从 Hub 下载";
    DOWNLOAD_LABEL = "Name of the data set, like UCSC-VLAA/MedTrinity-25M", "数据集名称，如 UCSC-VLAA/MedTrinity-25M";
    NO_REPO = "\"{0}\" is no name on the Hub; they look like owner/name.", "“{0}”不是 Hub 上的名称；应形如 owner/name。";

    TASK_OPEN = "Opening {0}", "打开 {0}";
    TASK_SEARCH = "Searching {0}", "搜索 {0}";
    TASK_CHECK = "Checking the data", "检查数据";
    TASK_STATS = "Measuring the data", "统计数据";
    TASK_CONVERT = "Converting to {0}", "转换为 {0}";
    TASK_DOWNLOAD = "Downloading {0}", "下载 {0}";

    DIR = "Folder", "文件夹";
    NAME = "Name", "名称";
    FORMAT = "Format", "格式";
    ROWS = "Rows", "行数";
    FILE = "File", "文件";
    NOTE = "Note", "说明";
    PICTURE_COLUMN = "Pictures", "图片列";
    SIZE = "Size", "大小";
}
