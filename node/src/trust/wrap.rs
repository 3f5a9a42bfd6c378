//! Wrapping: the linking key on its way to one city, as an age file (age-encryption.org/v1) that only the city's own
//! identity opens. The secretariat can make and, for itself, open such files with other tools as well.

use std::io::ErrorKind;

use age::secrecy::ExposeSecret as _;
use age::x25519::{Identity, Recipient};
use liandong_proto::id::unhex;

use crate::site::{Paths, SiteError, read_private, write_private};

/// Bytes of a linking key.
const KEY: usize = 32;

/// Why a file does not give a linking key.
#[derive(Debug, thiserror::Error)]
pub enum WrapError {
    /// Wrapped for another identity, altered, or no age file.
    #[error(
        "the wrapped linking key does not open here: {0}; ask the secretariat to wrap it for this site's recipient, as \
         linking-key list shows it"
    )]
    Closed(#[from] age::DecryptError),
    /// It opens, and holds something else.
    #[error(
        "the wrapped file opens and holds no linking key of 32 bytes; ask the secretariat to wrap it again"
    )]
    NoKey,
    /// This site's files.
    #[error(transparent)]
    Site(#[from] SiteError),
}

/// A recipient as it is published: `age1…`.
///
/// # Errors
/// When it is none, saying why.
pub fn recipient(text: &str) -> Result<Recipient, String> {
    text.trim().parse().map_err(str::to_owned)
}

/// Wraps a key for a recipient.
///
/// # Errors
/// When the system has no randomness, or no memory.
pub fn wrap(key: &[u8; KEY], recipient: &Recipient) -> Result<Vec<u8>, age::EncryptError> {
    age::encrypt(recipient, key)
}

impl Paths {
    /// What this site is wrapped for, made when it is first asked for.
    ///
    /// # Errors
    /// [`SiteError`] naming the file.
    pub fn linking_recipient(&self) -> Result<Recipient, SiteError> {
        Ok(self.linking_identity_key()?.to_public())
    }

    fn linking_identity_key(&self) -> Result<Identity, SiteError> {
        let path = self.linking_identity();
        match read_private(&path) {
            Ok(text) => {
                text.trim().parse().map_err(|why: &str| SiteError::corrupt(path.display().to_string(), why))
            }
            Err(SiteError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
                let identity = Identity::generate();
                write_private(&path, format!("{}\n", identity.to_string().expose_secret()).as_bytes())?;
                Ok(identity)
            }
            Err(error) => Err(error),
        }
    }

    /// Opens a key that was wrapped for this site: 32 bytes, or as a key file has them, 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`WrapError`].
    pub fn unwrap_linking_key(&self, file: &[u8]) -> Result<[u8; KEY], WrapError> {
        let plain = age::decrypt(&self.linking_identity_key()?, file)?;
        let digits = || unhex(plain.trim_ascii())?.try_into().ok();
        plain.as_slice().try_into().ok().or_else(digits).ok_or(WrapError::NoKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_for_the_site_it_was_wrapped_for_and_for_no_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let (ours, theirs) = (Paths::new(&dir.path().join("a")), Paths::new(&dir.path().join("b")));
        let published = ours.linking_recipient().expect("made");
        assert_eq!(ours.linking_recipient().expect("kept").to_string(), published.to_string());
        let read = recipient(&format!("{published}\n")).expect("as it was published");
        let file = wrap(&[7; 32], &read).expect("wrapped");
        assert_eq!(ours.unwrap_linking_key(&file).expect("opens"), [7; 32]);
        assert!(matches!(theirs.unwrap_linking_key(&file), Err(WrapError::Closed(_))));
        for at in (0..file.len()).step_by(7) {
            let mut bent = file.clone();
            bent[at] ^= 1;
            assert!(ours.unwrap_linking_key(&bent).is_err(), "byte {at}");
        }
        let armored = age::encrypt_and_armor(&read, &[7; 32]).expect("wrapped");
        assert_eq!(ours.unwrap_linking_key(armored.as_bytes()).expect("opens"), [7; 32]);
        let digits = age::encrypt(&read, format!("{}\n", "07".repeat(32)).as_bytes()).expect("wrapped");
        assert_eq!(ours.unwrap_linking_key(&digits).expect("a key file opens"), [7; 32]);
        let short = age::encrypt(&read, &[7; 31]).expect("wrapped");
        assert!(matches!(ours.unwrap_linking_key(&short), Err(WrapError::NoKey)));
    }

    #[test]
    fn what_is_no_recipient_is_told() {
        let sound = Identity::generate().to_public().to_string();
        assert!(recipient(&sound).is_ok());
        for wrong in ["", "age1", &sound[..sound.len() - 1], &sound.replace("age1", "age2")] {
            assert!(recipient(wrong).is_err(), "{wrong}");
        }
    }
}
