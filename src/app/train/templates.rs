//! The profiles that come with the program.

/// Name and text.
pub const TEMPLATES: &[(&str, &str)] = &[
    ("medtrinity-qwen2vl-2b.yaml", include_str!("../../../profiles/medtrinity-qwen2vl-2b.yaml")),
    ("demo.yaml", include_str!("../../../profiles/demo.yaml")),
    ("demo-base-1-vision.yaml", include_str!("../../../profiles/demo-base-1-vision.yaml")),
    ("demo-base-2-language.yaml", include_str!("../../../profiles/demo-base-2-language.yaml")),
    ("demo-base-3-mixed.yaml", include_str!("../../../profiles/demo-base-3-mixed.yaml")),
];

/// The first line of a profile's head, without its mark: what it is for.
pub fn about(text: &str) -> &str {
    text.lines().next().and_then(|line| line.strip_prefix('#')).unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::train::draft::Draft;

    #[test]
    fn every_profile_that_comes_with_the_program_is_there_and_sound() {
        let mut files: Vec<_> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/profiles"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let mut names: Vec<_> = TEMPLATES.iter().map(|(name, _)| (*name).to_owned()).collect();
        files.sort();
        names.sort();
        assert_eq!(files, names);
        for (name, text) in TEMPLATES {
            assert!(Draft::new((*text).to_owned()).problems().is_empty(), "{name}");
            assert!(!about(text).is_empty(), "{name}");
        }
    }
}
