//! A restore whose invitation is used up and that was cut short: what the next attempt goes on from.

use std::fs;

use data_encoding::HEXLOWER;
use liandong_proto::id::hex;
use liandong_proto::pb::trust::v1::HeldLog;
use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::Invitation;
use crate::site::{Paths, SiteError, write_private};

/// What has been learned with an invitation. The membership that it brought stands in its own file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unfinished {
    /// Hash of the invitation's secret, hexadecimal.
    invitation: String,
    /// What the hub holds, as it said so, hexadecimal.
    held: String,
}

impl Unfinished {
    /// Notes what an invitation has brought; durable before this returns.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn keep(paths: &Paths, invitation: &Invitation, held: &HeldLog) -> Result<(), SiteError> {
        let held = hex(&held.encode_to_vec());
        let unfinished = Unfinished { invitation: named(invitation), held };
        let text = serde_json::to_vec_pretty(&unfinished);
        let text = text.map_err(|error| SiteError::corrupt("an unfinished restore", error))?;
        write_private(&paths.unfinished(), &text)
    }

    /// What is there of a restore that was cut short, if any.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn load(paths: &Paths) -> Result<Option<Unfinished>, SiteError> {
        let path = paths.unfinished();
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|error| SiteError::corrupt(path.display().to_string(), error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(SiteError::File { path, source }),
        }
    }

    /// Forgets it: the restore is finished, or given up.
    pub fn forget(paths: &Paths) {
        // One that stays is for an invitation that nobody shows again.
        let _ = fs::remove_file(paths.unfinished());
    }

    /// Whether it began with this invitation.
    pub fn is_of(&self, invitation: &Invitation) -> bool {
        self.invitation == named(invitation)
    }

    /// What the hub holds of the city.
    ///
    /// # Errors
    /// [`SiteError::Corrupt`].
    pub fn held(&self) -> Result<HeldLog, SiteError> {
        let bytes = HEXLOWER.decode(self.held.as_bytes()).ok();
        bytes
            .and_then(|bytes| HeldLog::decode(bytes.as_slice()).ok())
            .ok_or_else(|| SiteError::corrupt("keys/restore.json", "what the hub holds cannot be read"))
    }
}

fn named(invitation: &Invitation) -> String {
    hex(&Invitation::secret_hash(&invitation.secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_for_its_own_invitation_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let paths = Paths::new(dir.path());
        assert_eq!(Unfinished::load(&paths).expect("readable"), None);
        let invitation = |n| Invitation { address: "h:1".into(), pin: [1; 32], secret: [n; 16] };
        // Seq 9, which is enough to know it by.
        let held = HeldLog::decode([0x10, 9].as_slice()).expect("a message");
        Unfinished::keep(&paths, &invitation(1), &held).expect("kept");
        let read = Unfinished::load(&paths).expect("readable").expect("there");
        assert_eq!((read.is_of(&invitation(1)), read.is_of(&invitation(2))), (true, false));
        assert_eq!(read.held().expect("whole"), held);
        Unfinished::forget(&paths);
        assert_eq!(Unfinished::load(&paths).expect("readable"), None);
    }
}
