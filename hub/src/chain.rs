//! The chain over the hub's log: every record goes into it, every commit is signed at its end.

use bytes::Bytes;
use liandong_proto::id::{Hash, sha256};
use liandong_proto::merge::Verdicts;
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::state::Reason;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

/// What became of an entry, as it is recorded; nothing for one that was simply taken.
pub fn outcome(
    verdicts: &Verdicts,
    dropped: bool,
    erased: Vec<pb::ErasedRecord>,
    sanctions: Vec<pb::SanctionSites>,
) -> Option<pb::Outcome> {
    let verdict = |(tag, reason): &(u32, Reason)| pb::Verdict { tag: *tag, reason: *reason as i32 };
    let outcome = pb::Outcome {
        verdicts: verdicts.iter().map(verdict).collect(),
        open_dropped: dropped,
        erased,
        sanctions,
    };
    (outcome != pb::Outcome::default()).then_some(outcome)
}

/// The verdicts recorded with an entry.
pub fn recorded(outcome: Option<&pb::Outcome>) -> Verdicts {
    let verdict = |verdict: &pb::Verdict| {
        (verdict.tag, Reason::try_from(verdict.reason).unwrap_or(Reason::Unspecified))
    };
    outcome.map(|outcome| outcome.verdicts.iter().map(verdict).collect()).unwrap_or_default()
}

/// Takes a hub's row on along the chain.
pub fn advance(row: &mut pb::SiteRow, hash: Hash) {
    row.commit_hash = Bytes::copy_from_slice(&hash);
}

/// The chain behind a record that is no commit.
pub fn note_hash(prev: &[u8], kind: u8, payload: &[u8]) -> Hash {
    let mut sha = Sha256::new();
    sha.update(b"liandong note\0");
    sha.update((prev.len() as u64).to_be_bytes());
    sha.update(prev);
    sha.update([kind]);
    sha.update(payload);
    sha.finalize().into()
}

/// Hash of a commit: its place, what came before it, and what became of the hashed entries.
pub fn commit_hash(commit: &pb::Commit, entry_hashes: Sha256) -> Hash {
    let mut sha = Sha256::new();
    sha.update(&commit.prev_hash);
    sha.update(commit.generation.to_be_bytes());
    sha.update(commit.first_hub_seq.to_be_bytes());
    sha.update(commit.received_at_ms.to_be_bytes());
    sha.update(commit.merge_version.to_be_bytes());
    sha.update((commit.entries.len() as u64).to_be_bytes());
    sha.update(entry_hashes.finalize());
    for entry in &commit.entries {
        sha.update(entry.base_hub_seq.to_be_bytes());
    }
    for head in &commit.heads {
        sha.update(&head.signature);
    }
    for (at, entry) in commit.entries.iter().enumerate() {
        if let Some(outcome) = &entry.outcome {
            sha.update((at as u64).to_be_bytes());
            sha.update(outcome.encode_to_vec());
        }
    }
    sha.finalize().into()
}

/// Hash of a commit read from a log.
pub fn hash_of(commit: &pb::Commit) -> Hash {
    let mut entries = Sha256::new();
    for accepted in &commit.entries {
        entries.update(sha256(&accepted.header));
    }
    commit_hash(commit, entries)
}
