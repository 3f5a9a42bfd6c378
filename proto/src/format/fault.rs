//! What is wrong with a kind of value, in both languages; never with the value itself.

/// What is wrong with this *kind* of value and how to mend it.
///
/// Static text only: a fault cannot hold a personal value, so it may stand in logs, reports and refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{en}")]
pub struct Fault {
    /// Stable identifier, `format.reason`; what tests and translations hang on.
    pub code: &'static str,
    /// What is wrong and how to mend it, in Chinese.
    pub zh: &'static str,
    /// The same in English, lowercase.
    pub en: &'static str,
}

impl Fault {
    /// A fault with its two texts.
    pub const fn new(code: &'static str, zh: &'static str, en: &'static str) -> Self {
        Self { code, zh, en }
    }
}
