//! Rotation of the key that the hub signs with. The next key is durable before the log names it, and takes the place of
//! the one before once that record is durable.

use std::fs;
use std::io::ErrorKind;
use std::sync::{PoisonError, mpsc};

use liandong_node::audit::What;
use liandong_node::now::random;
use liandong_node::site::{Paths, SiteError, read_signing_key, write_key};
use liandong_proto::id::SiteCode;
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::sign::{SigningKey, VerifyingKey};

use crate::hub::{Hub, Shared, locked};
use crate::queue::{Job, Rekey};

/// The key that the hub signs with, as its log says: a crash may have come between the record and the file.
///
/// # Errors
/// [`SiteError::Corrupt`] when the files hold another key than the log names.
pub(crate) fn signer(paths: &Paths, line: &[pb::KeyRotation]) -> Result<SigningKey, SiteError> {
    let key = paths.signing()?;
    let Some(newest) = line.last().and_then(|rotation| VerifyingKey::from_slice(&rotation.new_key)) else {
        return Ok(key);
    };
    if key.verifying() == newest {
        return Ok(key);
    }
    match read_signing_key(&paths.next_signing_key()) {
        Ok(next) if next.verifying() == newest => {
            take(paths)?;
            Ok(next)
        }
        _ => Err(SiteError::corrupt(
            paths.signing_key().display().to_string(),
            "it is not the key that the log names as the hub's newest; put the newest copy of keys/ back",
        )),
    }
}

/// Puts the next key's file in the place of the one before.
fn take(paths: &Paths) -> Result<(), SiteError> {
    paths.replace(&paths.next_signing_key(), &paths.signing_key())
}

impl Shared {
    /// The key that the hub signs with, as of what is durable.
    pub(crate) fn signer(&self) -> SigningKey {
        self.signer.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes over to a key that the log names durably.
    pub(crate) fn take_signer(&self, signer: SigningKey) {
        if let Err(error) = take(&self.paths) {
            // The next start finds both, and the log says which.
            tracing::error!(%error, "the next signing key cannot be put in its place");
        }
        *self.signer.write().unwrap_or_else(PoisonError::into_inner) = signer;
    }
}

impl Hub {
    /// Signs with a new key from now on; the one before vouches for it. Both, once that is durable.
    ///
    /// # Errors
    /// [`SiteError`]; the key stays as it was then.
    pub fn rotate_signing_key(&self, author: &str) -> Result<(VerifyingKey, VerifyingKey), SiteError> {
        // One after the other: the file of the next key is the only copy of it until its record is durable.
        let _alone = locked(&self.shared.rekeying);
        let (old, secret, path) = (self.signing_key(), random(), self.shared.paths.next_signing_key());
        if read_signing_key(&path).is_ok_and(|key| key.verifying() == old) {
            // In use, and not in its place yet.
            take(&self.shared.paths)?;
        }
        match fs::remove_file(&path) {
            // One that was never named in the log.
            Err(source) if source.kind() != ErrorKind::NotFound => {
                return Err(SiteError::File { path, source });
            }
            _ => {}
        }
        write_key(&path, &secret)?;
        let next = SigningKey::new(&secret);
        let new = next.verifying();
        let (sender, receiver) = mpsc::channel();
        let answer = Box::new(move |answer| drop(sender.send(answer)));
        self.shared.queue.put(Job::Rekey(Rekey { next, author: author.to_owned(), answer }));
        receiver.recv().map_err(|_| SiteError::Refused("the hub is stopping; ask again".into()))??;
        self.note_decision(What::Rekeyed, SiteCode::PROVINCE, author, &new.fingerprint());
        tracing::warn!(old = old.fingerprint(), new = new.fingerprint(), "the hub signs with a new key");
        Ok((old, new))
    }
}
