//! How long names may be, and what they may contain.

/// The longest name of a model, routing group, tenant or adapter, in bytes.
pub(in crate::service) const MAX_NAME: usize = 256;

/// The longest endpoint, topic or URL, in bytes.
pub(in crate::service) const MAX_ADDRESS: usize = 1024;

/// Checks a name that the service keeps, or looks up: `field` is what it is the name of.
///
/// # Errors
/// It is longer than [`MAX_NAME`], or would break a line of the log.
pub(in crate::service) fn check_name(field: &'static str, name: &str) -> Result<(), NameError> {
    check(field, name, MAX_NAME)
}

/// Checks an endpoint, topic or URL like a name, with [`MAX_ADDRESS`] as its longest length.
///
/// # Errors
/// It is too long, or would break a line of the log.
pub(in crate::service) fn check_address(field: &'static str, address: &str) -> Result<(), NameError> {
    check(field, address, MAX_ADDRESS)
}

fn check(field: &'static str, text: &str, most: usize) -> Result<(), NameError> {
    if text.len() > most {
        return Err(NameError::TooLong { field, bytes: text.len(), most });
    }
    // These two end a line for some readers of logs, and are no control characters.
    let breaks = |of: char| of.is_control() || matches!(of, '\u{2028}' | '\u{2029}');
    if text.contains(breaks) { Err(NameError::Control { field }) } else { Ok(()) }
}

/// Why a name is not accepted. The message does not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// There is no name.
    #[error("{field} is empty")]
    Empty {
        /// What has no name.
        field: &'static str,
    },
    /// It has too many bytes.
    #[error("{field} has {bytes} bytes; the most is {most}")]
    TooLong {
        /// What it is the name of.
        field: &'static str,
        /// Its length.
        bytes: usize,
        /// The longest that is accepted.
        most: usize,
    },
    /// It has a line break, or another control character.
    #[error("{field} contains a control character")]
    Control {
        /// What it is the name of.
        field: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_has_one_line() {
        assert_eq!(check_name("model_name", &"x".repeat(MAX_NAME)), Ok(()));
        let long = check_name("model_name", &"x".repeat(MAX_NAME + 1)).expect_err("too long");
        assert_eq!(long.to_string(), "model_name has 257 bytes; the most is 256");
        for text in ["a\nb", "\r", "\0", "\u{1b}[2J", "\u{7f}", "\u{85}", "\u{2028}", "\u{2029}"] {
            assert_eq!(check_address("topic", text), Err(NameError::Control { field: "topic" }), "{text:?}");
        }
        for text in ["", "Qwen/Qwen3-8B", "modèle 模型", "a:b%c"] {
            assert_eq!(check_name("model_name", text), Ok(()), "{text:?}");
        }
    }
}
