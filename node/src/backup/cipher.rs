//! Encrypting a backup: an age file (age-encryption.org/v1) for a passphrase, or for recipients. Other tools make and open
//! such files as well.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Write};
use std::path::Path;

use age::secrecy::SecretString;
use age::x25519::{Identity, Recipient};
use age::{Decryptor, Encryptor};

use super::BackupError;
use super::manifest::no_backup;

/// First bytes of an age file, and of one that was written as text.
const AGE: [&[u8]; 2] = [b"age-encryption.org/", b"-----BEGIN AGE ENCRYPTED FILE-----"];

/// And of what zstd has compressed (RFC 8878, 3.1.1).
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// How a backup is encrypted.
#[derive(Clone)]
pub enum Sealing {
    /// Not at all.
    None,
    /// With a passphrase.
    Passphrase(SecretString),
    /// For whoever has the identity of one of these.
    Recipients(Vec<Recipient>),
}

impl Sealing {
    /// Whether it is encrypted.
    pub fn is_some(&self) -> bool {
        !matches!(self, Sealing::None)
    }

    pub(super) fn around(&self, file: BufWriter<File>) -> Result<Out, BackupError> {
        let encryptor = match self {
            Sealing::None => return Ok(Out::Plain(file)),
            Sealing::Passphrase(passphrase) => Encryptor::with_user_passphrase(passphrase.clone()),
            Sealing::Recipients(recipients) => {
                let recipients = recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
                Encryptor::with_recipients(recipients).map_err(BackupError::NotSealed)?
            }
        };
        let stream = encryptor.wrap_output(file).map_err(|error| BackupError::NotSealed(error.into()))?;
        Ok(Out::Sealed(Box::new(stream)))
    }
}

/// Where a backup is written to.
pub(super) enum Out {
    Plain(BufWriter<File>),
    Sealed(Box<age::stream::StreamWriter<BufWriter<File>>>),
}

impl Out {
    /// All of it on its way to the file.
    pub fn finish(self) -> io::Result<File> {
        let file = match self {
            Out::Plain(file) => file,
            Out::Sealed(stream) => stream.finish()?,
        };
        file.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Out::Plain(file) => file.write(bytes),
            Out::Sealed(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Out::Plain(file) => file.flush(),
            Out::Sealed(stream) => stream.flush(),
        }
    }
}

/// What a backup opens with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// It is not encrypted.
    None,
    /// A passphrase.
    Passphrase,
    /// An age identity.
    Identity,
}

impl Lock {
    /// Looks at the beginning of a file.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn of(path: &Path) -> Result<Lock, BackupError> {
        let mut file = BufReader::new(File::open(path).map_err(BackupError::file(path))?);
        if !is_sealed(&mut file, path)? {
            return Ok(Lock::None);
        }
        let decryptor = Decryptor::new_buffered(file).map_err(BackupError::Closed)?;
        Ok(if decryptor.is_scrypt() { Lock::Passphrase } else { Lock::Identity })
    }
}

fn is_sealed(file: &mut BufReader<File>, path: &Path) -> Result<bool, BackupError> {
    let begins = file.fill_buf().map_err(BackupError::file(path))?;
    Ok(AGE.iter().any(|magic| begins.starts_with(magic)))
}

/// What somebody opens a backup with.
#[derive(Clone, Default)]
pub struct Opening {
    /// A passphrase.
    pub passphrase: Option<SecretString>,
    /// Identities.
    pub identities: Vec<Identity>,
}

impl Opening {
    /// What is inside.
    pub(super) fn inside<R: Read + 'static>(
        &self,
        path: &Path,
        file: BufReader<File>,
        count: impl FnOnce(BufReader<File>) -> R,
    ) -> Result<Box<dyn Read>, BackupError> {
        let mut file = file;
        if !is_sealed(&mut file, path)? {
            if !file.buffer().starts_with(&ZSTD) {
                return Err(no_backup());
            }
            return Ok(Box::new(count(file)));
        }
        let decryptor = Decryptor::new_buffered(BufReader::new(count(file))).map_err(BackupError::Closed)?;
        let passphrase = self.passphrase.clone().map(age::scrypt::Identity::new);
        let passphrase = passphrase.iter().map(|identity| identity as &dyn age::Identity);
        let identities = self.identities.iter().map(|identity| identity as &dyn age::Identity);
        Ok(Box::new(decryptor.decrypt(passphrase.chain(identities)).map_err(BackupError::Closed)?))
    }
}
