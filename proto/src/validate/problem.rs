//! A fault with the field that has it.

use std::fmt;

use crate::format::Fault;
use crate::schema::{Field, Text};

/// What is wrong with one field of a record, in both languages. Static text only, so it never holds a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Problem {
    /// Tag of the field.
    pub tag: u32,
    /// What the field is called.
    pub label: Text,
    /// What is wrong and how to mend it.
    pub fault: Fault,
}

impl Problem {
    /// A fault of `field`.
    pub fn new(field: &Field, fault: Fault) -> Self {
        Self { tag: field.tag, label: field.label, fault }
    }

    /// Stable identifier of the fault.
    pub fn code(&self) -> &'static str {
        self.fault.code
    }

    /// One line for a clerk, in Chinese.
    pub fn zh(&self) -> String {
        format!("{}：{}", self.label.zh, self.fault.zh)
    }

    /// One line, in English.
    pub fn en(&self) -> String {
        format!("{}: {}", self.label.en, self.fault.en)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.label.en, self.fault.en)
    }
}

impl std::error::Error for Problem {}
