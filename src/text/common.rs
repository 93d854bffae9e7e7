//! Words that belong to no single screen.
use crate::texts;

texts! {
    DATA = "Data", "数据";
    TRAIN = "Train", "训练";
    RUNS = "Runs", "运行";
    CHAT = "Chat", "对话";
    MODELS = "Models", "模型";

    HELP = "Help", "帮助";
    HELP_FILTER = "type to search · enter runs it · esc closes", "输入以搜索 · 回车执行 · Esc 关闭";
    PALETTE = "Commands", "命令";
    PALETTE_HINT = "what would you like to do?", "想做什么？";
    NOTHING_FITS = "nothing fits", "没有匹配项";
    MESSAGES = "Messages", "消息";
    NO_MESSAGES = "There have been no messages.", "还没有消息。";
    TASKS = "Work in progress", "进行中的任务";
    NO_TASKS = "Nothing is being done in the background.", "后台没有任务。";
    SETTINGS = "Settings", "设置";
    CONFIRM_YES = "yes", "是";
    CONFIRM_NO = "no", "否";
    CANCEL = "cancel", "取消";
    CANCELLED = "cancelled", "已取消";
    DONE = "done", "完成";
    FAILED = "failed", "失败";
    RUNNING = "running", "进行中";
    LOADING = "loading…", "加载中…";
    TOO_SMALL = "The window is too small: {0}×{1}. At least 40×12 is needed.", "窗口太小：{0}×{1}，至少需要 40×12。";
    COPIED = "Sent to your terminal's clipboard", "已发送到终端剪贴板";
    COPY_TOO_LONG = "Too long for a terminal's clipboard ({0} bytes)", "内容过长，终端剪贴板放不下（{0} 字节）";
    LEFT = "{0} left", "剩余 {0}";
    OF = "{0} of {1}", "{0} / {1}";
    FILTER = "filter", "筛选";
    EMPTY_FOLDER = "There is nothing to choose here.", "这里没有可选的内容。";
    PICKER_HINT = "enter opens · space marks · tab completes · esc closes", "回车打开 · 空格标记 · Tab 补全 · Esc 关闭";
    THIS_FOLDER = "./  take this folder", "./  选择此文件夹";
    QUIT_RUNNING = "Quit? Runs go on without the workbench; unfinished work of the workbench itself ({0}) is given up.", "退出？训练会继续；工作台自身未完成的任务（{0} 个）将被放弃。";
    QUIT_CHANGED = "Quit? The profile on the Train screen has changes that are not saved.", "退出？训练界面的配置有未保存的更改。";
    QUIT_TITLE = "Quit", "退出";

    SET_LANGUAGE = "Language", "语言";
    SET_THEME = "Colours", "配色";
    SET_IMAGES = "Pictures", "图片";
    SET_MOUSE = "Mouse", "鼠标";
    SET_AUTO = "automatic", "自动";
    SET_ON = "on", "开";
    SET_OFF = "off", "关";
    SET_TERMINAL = "the terminal's own 16", "终端自带 16 色";
    SET_DARK = "dark", "深色";
    SET_LIGHT = "light", "浅色";
    SET_MONO = "none", "无颜色";
    SET_BLOCKS = "half blocks", "半块字符";
    SETTINGS_HINT = "enter changes · esc closes", "回车更改 · Esc 关闭";
    SETTINGS_NOT_SAVED = "The settings hold until you quit, but could not be saved: {0}", "设置在退出前有效，但无法保存：{0}";
}
