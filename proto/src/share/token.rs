//! Tokens: HMAC-SHA-256 (RFC 2104) of a normalised value under the province's linking key.
//!
//! Equal people get equal tokens without the number leaving the city. A bare hash would not do: there are
//! few enough ID numbers to try them all in minutes.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::id::{hex, sha256};

const PREFIX: &str = "t1:";
/// `t1:` + 8 hexadecimal digits of the key's fingerprint + `:` + 43 characters of base64url.
const TOKEN_LEN: usize = 3 + 8 + 1 + 43;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const IN_ALPHABET: [bool; 256] = {
    let mut table = [false; 256];
    let mut at = 0;
    while at < ALPHABET.len() {
        table[ALPHABET[at] as usize] = true;
        at += 1;
    }
    table
};

/// The province's linking key. It is made offline by the secretariat and never is on the hub.
#[derive(Clone)]
pub struct LinkingKey {
    mac: Hmac<Sha256>,
    fingerprint: String,
    long: String,
}

impl std::fmt::Debug for LinkingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LinkingKey({})", self.fingerprint)
    }
}

impl LinkingKey {
    /// A key from its 32 bytes.
    pub fn new(key: &[u8; 32]) -> LinkingKey {
        let mac = <Hmac<Sha256>>::new_from_slice(key).expect("HMAC takes keys of any length");
        let digest = sha256(&[b"liandong linking key fingerprint".as_slice(), key].concat());
        LinkingKey { mac, fingerprint: hex(&digest[..4]), long: hex(&digest[..16]) }
    }

    /// Eight hexadecimal digits that name the key and tell nothing of it.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// What people compare: 32 hexadecimal digits in groups of four, which begin with the fingerprint. A key that shares the
    /// short one could be found by trying.
    pub fn long_fingerprint(&self) -> String {
        let groups: Vec<&str> = (0..8).map(|group| &self.long[4 * group..4 * group + 4]).collect();
        groups.join(" ")
    }

    /// The token of a normalised value.
    pub fn token(&self, value: &[u8]) -> String {
        let mut mac = self.mac.clone();
        mac.update(value);
        let mut token = String::with_capacity(TOKEN_LEN);
        token.push_str(PREFIX);
        token.push_str(&self.fingerprint);
        token.push(':');
        push_base64url(&mut token, &mac.finalize().into_bytes());
        token
    }
}

/// Whether a text is a token by the key with this fingerprint.
pub fn is_token_of(text: &str, fingerprint: &str) -> bool {
    is_token(text) && text[PREFIX.len()..].starts_with(fingerprint)
}

/// Whether a text has the form of a token.
pub fn is_token(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == TOKEN_LEN
        && text.starts_with(PREFIX)
        && bytes[3..11].iter().all(u8::is_ascii_hexdigit)
        && bytes[11] == b':'
        // Asked several times for every change: one look into a table for each byte, and no branch.
        && bytes[12..].iter().fold(true, |all, byte| all & IN_ALPHABET[usize::from(*byte)])
}

/// RFC 4648 §5 without padding, for the one fixed length that a token has.
fn push_base64url(out: &mut String, bytes: &[u8]) {
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, b| word << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..=chunk.len() {
            out.push(ALPHABET[(word >> (18 - 6 * i)) as usize & 63] as char);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_get_equal_tokens_under_one_key_only() {
        let key = LinkingKey::new(&[7; 32]);
        assert_eq!(key.token(b"440100198503121239"), LinkingKey::new(&[7; 32]).token(b"440100198503121239"));
        assert_ne!(key.token(b"440100198503121239"), key.token(b"44030019850312123X"));
        assert_ne!(key.token(b"440100198503121239"), LinkingKey::new(&[8; 32]).token(b"440100198503121239"));
    }

    #[test]
    fn a_token_has_a_form_that_no_number_has() {
        assert!(is_token(&LinkingKey::new(&[7; 32]).token(b"x")));
        assert!(!is_token("440100198503121239"));
        assert!(!is_token(""));
    }

    #[test]
    fn hmac_matches_rfc_4231_and_base64url_matches_rfc_4648() {
        // RFC 4231 test case 1: key 20 × 0x0b, data "Hi There".
        let mut mac = <Hmac<Sha256>>::new_from_slice(&[0x0b; 20]).expect("any length");
        mac.update(b"Hi There");
        let expected = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        assert_eq!(hex(&mac.finalize().into_bytes()), expected);
        let mut out = String::new();
        push_base64url(&mut out, b"fooba");
        push_base64url(&mut out, b"\xfb\xff");
        assert_eq!(out, "Zm9vYmE-_8");
    }
}
