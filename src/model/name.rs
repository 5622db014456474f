//! What may be called a model or a version: names become folders, URL segments and metric labels.

/// The longest name of a model, in bytes.
pub const MAX_NAME_LENGTH: usize = 128;

/// Whether `name` can name a model: letters, digits, `.`, `_` and `-`, starting with a letter or digit.
#[must_use]
pub fn is_model_name(name: &str) -> bool {
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    starts_well && name.len() <= MAX_NAME_LENGTH && name.bytes().all(rest)
}

/// The number of a version's folder: a positive integer without leading zeros.
#[must_use]
pub fn parse_version(name: &str) -> Option<u64> {
    let number = name.parse().ok().filter(|&number: &u64| number > 0)?;
    (number.to_string() == name).then_some(number)
}

/// Whether `name` can be a label: what a model can be called, and no number, so that it is never taken for a version.
#[must_use]
pub fn is_label(name: &str) -> bool {
    is_model_name(name) && !name.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_repository_are_refused() {
        for name in [
            "",
            "..",
            ".hidden",
            "a/b",
            "a\\b",
            "a b",
            "ä",
            "-x",
            &"x".repeat(129),
        ] {
            assert!(!is_model_name(name), "{name}");
        }
        for name in ["iris", "digits-mlp", "resnet50_v1.5", "7"] {
            assert!(is_model_name(name), "{name}");
        }
    }

    #[test]
    fn versions_are_positive_integers() {
        assert_eq!(parse_version("12"), Some(12));
        for name in ["0", "01", "+1", "-1", "1.0", "v1", "", "99999999999999999999"] {
            assert_eq!(parse_version(name), None, "{name}");
        }
    }

    #[test]
    fn a_label_is_never_taken_for_a_version() {
        for name in ["stable", "canary-2", "2b"] {
            assert!(is_label(name), "{name}");
        }
        for name in ["2", "007", "", "a/b", ".."] {
            assert!(!is_label(name), "{name}");
        }
    }
}
