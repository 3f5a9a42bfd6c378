//! The recovery key: the city's own key as people write it down.
//!
//! 32 bytes and 2 bytes of check (the start of SHA-256 over them) in Crockford's base32, in groups of five. Read as it is
//! told over the telephone: small letters, missing hyphens, O for 0, I and L for 1 are all the same.

use std::fmt;
use std::io::ErrorKind;
use std::str::FromStr;

use data_encoding::{Encoding, Specification};
use liandong_proto::id::sha256;

use super::files::{read_key, write_key};
use super::keyring::older_keys;
use super::{Paths, SiteError};
use crate::now::random;
use crate::say;
use crate::text::Said;

const KEY: usize = 32;
const CHECK: usize = 2;
const GROUP: usize = 5;

/// A recovery key.
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryKey([u8; KEY]);

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryKey")
    }
}

fn base32() -> Encoding {
    let mut spelling = Specification::new();
    spelling.symbols.push_str("0123456789ABCDEFGHJKMNPQRSTVWXYZ");
    spelling.translate.from.push_str("abcdefghjkmnpqrstvwxyzOoIiLl");
    spelling.translate.to.push_str("ABCDEFGHJKMNPQRSTVWXYZ001111");
    spelling.check_trailing_bits = false;
    spelling.encoding().expect("32 symbols, each once")
}

impl RecoveryKey {
    /// The key of a site.
    ///
    /// # Errors
    /// [`SiteError`] naming the file.
    pub fn of(paths: &Paths) -> Result<RecoveryKey, SiteError> {
        Ok(RecoveryKey(read_key(&paths.city_key())?))
    }

    /// A new key of a site that has one: it waits in its file until the ring of the older ones is at the hub. One that
    /// waits already is read again.
    ///
    /// # Errors
    /// [`SiteError`] naming the file.
    pub fn next(paths: &Paths) -> Result<RecoveryKey, SiteError> {
        match read_key(&paths.next_city_key()) {
            Err(SiteError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Ok(RecoveryKey(random()))
            }
            key => Ok(RecoveryKey(key?)),
        }
    }

    /// Lets a key wait for its use, durable before this returns.
    ///
    /// # Errors
    /// [`SiteError::File`].
    pub fn let_wait(&self, paths: &Paths) -> Result<(), SiteError> {
        let path = paths.next_city_key();
        if path.exists() { Ok(()) } else { write_key(&path, &self.0) }
    }

    /// Whether this was the key of a site before the one that it has now.
    ///
    /// # Errors
    /// [`SiteError`] naming the file.
    pub fn was_of(&self, paths: &Paths) -> Result<bool, SiteError> {
        Ok(older_keys(paths)?.contains(&self.0))
    }
}

impl RecoveryKey {
    /// The key itself.
    pub(super) fn bytes(&self) -> &[u8; KEY] {
        &self.0
    }
}

impl fmt::Display for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.0.as_slice(), &sha256(&self.0)[..CHECK]].concat();
        let letters = base32().encode(&bytes);
        let groups: Vec<&str> =
            (0..letters.len()).step_by(GROUP).map(|at| &letters[at..letters.len().min(at + GROUP)]).collect();
        f.write_str(&groups.join("-"))
    }
}

impl FromStr for RecoveryKey {
    type Err = Said;

    fn from_str(text: &str) -> Result<RecoveryKey, Said> {
        let wrong = || {
            say!(
                "恢复密钥不完整或抄写有误；请逐组核对，字母不分大小写",
                "the recovery key is incomplete or has a mistake in it; compare it group by group, small letters are fine"
            )
        };
        let letters: String = text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
        let bytes = base32().decode(letters.as_bytes()).map_err(|_| wrong())?;
        let (key, check) = bytes.split_at_checked(KEY).ok_or_else(wrong)?;
        if check != &sha256(key)[..CHECK] {
            return Err(wrong());
        }
        Ok(RecoveryKey(key.try_into().map_err(|_| wrong())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> RecoveryKey {
        RecoveryKey(std::array::from_fn(|at| at as u8 * 7 + 1))
    }

    #[test]
    fn it_is_read_however_it_was_written_down() {
        let written = key().to_string();
        assert_eq!((written.len(), written.split('-').count()), (65, 11));
        let told = written.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
        for way in [written.clone(), written.replace('-', ""), told] {
            assert_eq!(way.parse(), Ok(key()), "{way}");
        }
    }

    #[test]
    fn no_letter_can_be_wrong_missing_or_swapped() {
        let letters: Vec<char> = key().to_string().chars().filter(|c| *c != '-').collect();
        let read = |letters: &[char]| letters.iter().collect::<String>().parse::<RecoveryKey>();
        // The last letter carries two bits of the key and three of nothing.
        for at in 0..letters.len() - 1 {
            let mut wrong = letters.clone();
            wrong[at] = if wrong[at] == '7' { '8' } else { '7' };
            assert!(read(&wrong).is_err(), "letter {at}");
            assert!(read(&letters[..at]).is_err(), "cut at {at}");
        }
        let swapped = (0..letters.len() - 2).filter(|at| letters[*at] != letters[at + 1]).filter(|at| {
            let mut swapped = letters.clone();
            swapped.swap(*at, at + 1);
            read(&swapped).is_ok()
        });
        assert_eq!(swapped.count(), 0);
    }
}
