//! Mail addresses, judged as little as will catch a typing mistake.

use std::borrow::Cow;

use super::{Fault, text};

/// Not a mail address.
pub const SHAPE: Fault = Fault::new(
    "email.shape",
    "邮箱格式不对，应类似 name@example.org，不带空格和中文标点",
    "not a mail address; it should look like name@example.org, without spaces or wide punctuation",
);

/// Checks one `@`, a name of 1 to 64 characters and a dotted domain, no spaces, at most 254 bytes (RFC 5321 limits).
pub fn check(address: &str) -> Result<(), Fault> {
    let (name, domain) = address.rsplit_once('@').ok_or(SHAPE)?;
    let is_name =
        !name.is_empty() && name.len() <= 64 && !name.contains(['@', ',', ';', ':', '<', '>', '"', '(', ')']);
    let is_label = |label: &str| {
        let is_plain = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        !label.is_empty() && label.len() <= 63 && is_plain && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_domain = domain.contains('.') && domain.split('.').all(is_label);
    let is_visible = address.bytes().all(|b| b.is_ascii_graphic());
    if is_name && is_domain && is_visible && address.len() <= 254 { Ok(()) } else { Err(SHAPE) }
}

/// The address of a cell: wide characters and `mailto:` mended, the domain in small letters. Does not judge it.
pub fn tidy(cell: &str) -> Cow<'_, str> {
    let mended = text::clean_unspaced(cell);
    let bare = mended.strip_prefix("mailto:").unwrap_or(&mended);
    let Some((name, domain)) = bare.rsplit_once('@') else { return mended };
    if bare.len() == mended.len() && !domain.bytes().any(|b| b.is_ascii_uppercase()) {
        return mended;
    }
    Cow::Owned(format!("{name}@{}", domain.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn tidies(cell: &str, expected: &str) {
        assert_eq!(tidy(cell), expected);
    }

    #[test]
    fn addresses_are_judged_mildly() {
        for address in ["a@b.cn", "first.last+tag@mail.example.org", "12345@qq.com", "o'neil@x-y.org"] {
            assert_eq!(check(address), Ok(()), "{address}");
        }
        for address in [
            "", "a", "@b.cn", "a@", "a@b", "a@b..cn", "a@.cn", "a b@c.cn", "a@b@c.cn", "a@b.cn,", "王@b.cn",
            "a@-b.cn", "a@b_c.cn",
        ] {
            assert_eq!(check(address), Err(SHAPE), "{address}");
        }
        assert_eq!(check(&format!("{}@b.cn", "a".repeat(64))), Ok(()));
        assert_eq!(check(&format!("{}@b.cn", "a".repeat(65))), Err(SHAPE));
        let domain = format!("{}cn", "abcdefg.".repeat(31));
        assert_eq!(check(&format!("abc@{domain}")), Ok(()), "254 bytes");
        assert_eq!(check(&format!("abcd@{domain}")), Err(SHAPE), "255 bytes");
    }

    #[test]
    fn cells_are_mended() {
        tidies("a＠b．cn", "a@b.cn");
        tidies(" Ann@Example.ORG ", "Ann@example.org");
        tidies("mailto:a@b.cn", "a@b.cn");
        tidies("无", "无");
    }
}
