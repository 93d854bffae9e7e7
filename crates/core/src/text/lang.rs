//! The two languages that captions, questions and answers come in here, and that this program speaks; telling which a text
//! is in.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Language of a caption, a question or an answer, of the workbench or of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Lang {
    #[default]
    En,
    Zh,
}

impl Lang {
    pub const ALL: &[Self] = &[Self::En, Self::Zh];

    /// ISO 639-1.
    pub fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh",
        }
    }

    /// Its English name, for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::En => "English",
            Self::Zh => "Chinese",
        }
    }

    /// The user's, by the locale's variables in the order in which libc asks them.
    pub fn of_locale(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set =
            ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().find_map(|name| variable(name).filter(|v| !v.is_empty()));
        if set.is_some_and(|locale| locale.to_ascii_lowercase().starts_with("zh")) { Self::Zh } else { Self::En }
    }

    /// Chinese if there are at least as many Han characters as words in other letters, so that neither "CT 示左肺结节" nor
    /// "a nodule (结节) in the left lung" is taken for the other. A text without letters counts as English.
    pub fn of(text: &str) -> Self {
        let han = text.chars().filter(|&c| is_han(c)).count();
        let other = text.split(|c: char| !c.is_alphanumeric() || is_han(c));
        let words = other.filter(|word| word.chars().any(char::is_alphabetic)).count();
        if han > 0 && han >= words { Self::Zh } else { Self::En }
    }
}

/// Unicode's blocks of unified and compatibility ideographs.
fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{323AF}')
}

#[cfg(test)]
mod tests {
    use super::Lang;

    #[test]
    fn the_first_variable_that_is_set_decides_on_the_language() {
        let lang = |set: &'static [(&str, &str)]| {
            Lang::of_locale(|name| set.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned()))
        };
        assert_eq!(lang(&[("LANG", "zh_CN.UTF-8")]), Lang::Zh);
        assert_eq!(lang(&[("LANG", "zh_CN.UTF-8"), ("LC_ALL", "C")]), Lang::En);
        assert_eq!(lang(&[("LC_ALL", ""), ("LC_MESSAGES", "zh_TW")]), Lang::Zh);
        assert_eq!(lang(&[]), Lang::En);
    }

    #[test]
    fn a_text_is_chinese_where_han_characters_outnumber_words() {
        for chinese in
            ["左肺上叶结节。", "CT 平扫：未见异常", "MRI T2 FLAIR 高信号", "胸部X线片", "𠮷", "双肺 COVID-19 改变"]
        {
            assert_eq!(Lang::of(chinese), Lang::Zh, "{chinese}");
        }
        let english =
            ["A nodule (结节) in the left upper lobe.", "T2-weighted MRI", "", "5 mm, 12:30", "脑 is the brain"];
        for english in english {
            assert_eq!(Lang::of(english), Lang::En, "{english}");
        }
    }
}
