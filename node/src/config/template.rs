//! The file that `config template` prints: every key with its doc and default, from the table of keys.

use super::Key;

/// A file in which every setting is commented out: nothing is changed by it as it is, and what is not
/// written keeps following the defaults of later versions.
pub fn template(program: &str, table: &[Key]) -> String {
    let mut text = format!(
        "# {program} 的配置。去掉行首的 # 即可设定；也可用环境变量或命令行设定，优先级依次升高。\n\
         # Settings of {program}. Remove the # in front of a line to set it. Environment variables come before\n\
         # this file, the command line before both.\n"
    );
    for key in table {
        let (default, is_set) = match key.default {
            "" => (key.example, false),
            default => (default, true),
        };
        text.push_str(&format!("\n# {}\n# {}\n", key.doc.zh, key.doc.en));
        let unset = if is_set { "" } else { " · 默认不设 / not set by default" };
        text.push_str(&format!("# {}{unset}\n#{} = {default}\n", key.variable(), key.name));
    }
    text
}
