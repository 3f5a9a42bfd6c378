//! Reads the schema's options off descriptors.

use std::error::Error;

use prost_reflect::{DescriptorPool, DynamicMessage, ExtensionDescriptor, Kind as Wire, ReflectMessage as _};

/// The package of the options themselves.
pub const PACKAGE: &str = "liandong.schema.v1";

/// The three options: of a message, a field and an enum value.
pub struct Options {
    pub kind: ExtensionDescriptor,
    pub field: ExtensionDescriptor,
    pub value: ExtensionDescriptor,
}

impl Options {
    pub fn of(pool: &DescriptorPool) -> Result<Options, Box<dyn Error>> {
        let find = |name: &str| {
            let full = format!("{PACKAGE}.{name}");
            pool.all_extensions().find(|e| e.full_name() == full).ok_or(format!("no option {full}"))
        };
        Ok(Options { kind: find("kind")?, field: find("field")?, value: find("value")? })
    }
}

/// One option as it was written.
pub struct Written(DynamicMessage);

impl Written {
    /// The option `extension` of a descriptor, if it has one.
    pub fn read(options: &DynamicMessage, extension: &ExtensionDescriptor) -> Option<Written> {
        if !options.has_extension(extension) {
            return None;
        }
        options.get_extension(extension).as_message().cloned().map(Written)
    }

    pub fn number(&self, name: &str) -> u32 {
        self.0.get_field_by_name(name).and_then(|value| value.as_u32()).unwrap_or(0)
    }

    pub fn flag(&self, name: &str) -> bool {
        self.0.get_field_by_name(name).and_then(|value| value.as_bool()).unwrap_or(false)
    }

    pub fn string(&self, name: &str) -> String {
        self.0.get_field_by_name(name).and_then(|value| Some(value.as_str()?.to_owned())).unwrap_or_default()
    }

    pub fn strings(&self, name: &str) -> Vec<String> {
        let value = self.0.get_field_by_name(name);
        let list = value.as_deref().and_then(|value| value.as_list()).unwrap_or_default();
        list.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
    }

    pub fn nested(&self, name: &str) -> Vec<Written> {
        let value = self.0.get_field_by_name(name);
        let list = value.as_deref().and_then(|value| value.as_list()).unwrap_or_default();
        list.iter().filter_map(|value| value.as_message().cloned().map(Written)).collect()
    }

    /// `Text { zh: "…", en: "…" }`.
    pub fn text(&self, name: &str) -> String {
        let nested =
            self.0.get_field_by_name(name).and_then(|value| value.as_message().cloned().map(Written));
        let (zh, en) = nested.map(|text| (text.string("zh"), text.string("en"))).unwrap_or_default();
        format!("Text {{ zh: {zh:?}, en: {en:?} }}")
    }

    /// Name of an enum's value, in Rust's spelling; `None` when none was chosen.
    pub fn choice(&self, name: &str) -> Option<String> {
        let number = self.0.get_field_by_name(name)?.as_enum_number().filter(|number| *number != 0)?;
        let Wire::Enum(values) = self.0.descriptor().get_field_by_name(name)?.kind() else { return None };
        values.get_value(number).map(|value| camel(value.name()))
    }
}

/// `NOT_PERSONAL` → `NotPersonal`.
fn camel(screaming: &str) -> String {
    let mut out = String::new();
    for word in screaming.split('_') {
        let mut letters = word.chars();
        out.extend(letters.next());
        out.extend(letters.map(|c| c.to_ascii_lowercase()));
    }
    out
}

/// `AwardRound` → `award_round`.
pub fn snake(camel: &str) -> String {
    let mut out = String::new();
    for (at, c) in camel.chars().enumerate() {
        if c.is_uppercase() && at > 0 {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}
