//! Going on with a site whose log and the hub's copy of it have parted: by an old backup, a copy of the machine, or the
//! same site started twice.
//!
//! A person decides which machine is to live. Its log is written anew beside the old one: what the hub holds, then a new
//! epoch that is anchored to the end of that, and in it once more what this machine alone has. Each of those entries
//! keeps its base and its time, and says up to where its writer had seen the line: what the other machine wrote meanwhile
//! is concurrent with it, and both values are shown. What never leaves the city is not judged by the hub: fields of that
//! sort that both have changed are named to whoever takes over. Then the logs change places; the old one is kept.

mod alone;

use std::path::{Path, PathBuf};

use liandong_proto::entry::{Anchor, Entry, Head};
use liandong_proto::erasure::ErasureProof;
use liandong_proto::id::{Epoch, Origin, RecordId, SiteCode};
use liandong_proto::share::CityRing;
use liandong_proto::sign::VerifyingKey;

use super::keyring::read_city_ring;
use super::linking::LinkingRing;
use super::places::remove;
use super::{Author, Keys, Paths, Record, Restoring, SiteError, SiteOptions, ahead};
use crate::log::{self, DirLock, Log, Pos};
use crate::now::{generator, now_ms};

pub use alone::{Alone, Held};

/// A site that is being taken over. Nothing of what it has is touched before [`Takeover::finish`].
pub struct Takeover {
    paths: Paths,
    old: Log,
    site: SiteCode,
    key: CityRing,
    restoring: Restoring,
    held: Held,
    unfinished: Unfinished,
    // Given back last.
    _lock: DirLock,
}

/// What a takeover comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakenOver {
    /// Entries that the hub holds and this machine did not have.
    pub fetched: u64,
    /// Entries that this machine alone has, made again in the new epoch.
    pub again: u64,
    /// Records that this machine shows and that were erased from the other: how many.
    pub erased: u64,
    /// What only the city sees and both have changed: what this machine has is shown.
    pub both: Vec<Both>,
    /// Where the log that was is kept; nothing before it is done.
    pub kept: PathBuf,
}

/// Sealed fields of a record that were changed on both sides: its kind, its id, and the tags.
pub type Both = ((u32, RecordId), Vec<u32>);

/// The log that is being made; it goes where the takeover comes to nothing.
struct Unfinished(Option<PathBuf>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // What cannot be removed now is by the next start.
        let _ = self.0.as_deref().map(remove);
    }
}

impl Takeover {
    /// Begins in a site's directory, which nobody else uses meanwhile.
    ///
    /// # Errors
    /// [`SiteError`]; the site is as it was.
    pub fn begin(dir: &Path) -> Result<Takeover, SiteError> {
        let paths = Paths::new(dir);
        let lock = paths.take()?;
        let cache = SiteOptions::new(dir).cache_bytes;
        let known = || ahead::followed(&paths, cache);
        let (old, _) = Log::open_beside(&paths.log(), log::Options::default(), known)?;
        ahead::check(&paths, cache, old.end())?;
        let first = old.read(Pos::default()).next().transpose()?;
        let Some(Record::Opened(opened)) = first.as_ref().map(Record::read).transpose()? else {
            return Err(SiteError::corrupt("the log", "it does not begin with an epoch"));
        };
        let (site, key) = (SiteCode(opened.site), read_city_ring(&paths)?);
        let unfinished = Unfinished(Some(paths.unfinished_log()));
        let restoring = Restoring::beside(&paths, site, key.clone())?;
        Ok(Takeover { paths, old, site, key, restoring, held: Held::default(), unfinished, _lock: lock })
    }

    /// Which site it is.
    pub fn site(&self) -> SiteCode {
        self.site
    }

    /// Its files.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// As [`Restoring::take_proofs`].
    pub fn take_proofs(&mut self, proofs: &[ErasureProof], hub_key: &VerifyingKey) {
        self.restoring.take_proofs(proofs, hub_key);
    }

    /// Takes in entries as the hub sends them, in order.
    ///
    /// # Errors
    /// As [`Restoring::append`].
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), SiteError> {
        self.restoring.append(entries)?;
        entries.iter().try_for_each(|entry| self.held.note(entry, &self.key))
    }

    /// What it would come to, once all has come that the hub holds.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn preview(&self) -> Result<TakenOver, SiteError> {
        self.told(&Alone::read(&self.old, &self.held)?)
    }

    fn told(&self, alone: &Alone) -> Result<TakenOver, SiteError> {
        Ok(TakenOver {
            fetched: alone.fetched(&self.held),
            again: alone.entries.len() as u64,
            erased: alone.erased_elsewhere(&self.held),
            both: alone.both(self.restoring.log(), &self.key)?,
            kept: PathBuf::new(),
        })
    }

    /// Puts the new log in the place of the old one. `held` is what the hub named: the epoch, up to where, and where that
    /// epoch goes on from.
    ///
    /// # Errors
    /// [`SiteError`]; the site is as it was, unless the disk fails between the last two steps: those are made up for by
    /// the next start.
    pub fn finish(
        mut self,
        epoch: Epoch,
        held: Head,
        anchor: Option<Anchor>,
    ) -> Result<TakenOver, SiteError> {
        let alone = Alone::read(&self.old, &self.held)?;
        let told = self.told(&alone)?;
        alone.erased.iter().for_each(|key| self.restoring.erased(*key));
        let (new, anchor) = self.restoring.end(epoch, held, anchor)?;
        self.go_on(Origin { site: self.site, epoch: new }, anchor, &alone)?;
        let kept = self.paths.parted_log(now_ms());
        let Takeover { paths, old, restoring, mut unfinished, _lock, .. } = self;
        drop((old, restoring));
        // It is made again from the log.
        remove(&paths.index())?;
        unfinished.0 = None;
        paths.change_logs(&kept)?;
        Ok(TakenOver { kept, ..told })
    }

    /// Writes what goes on in the new epoch, durable before this returns.
    fn go_on(&mut self, origin: Origin, anchor: Anchor, alone: &Alone) -> Result<(), SiteError> {
        let linking = LinkingRing::read(&self.paths, None)?.in_use().cloned();
        let mut author = Author::new(origin, Keys { city: self.key.clone(), linking }, generator());
        author.anchor = Some(anchor);
        let mut merged = alone.merged(self.restoring.log(), &self.key)?;
        alone.go_on(&mut author, &mut merged, &mut |batch, mark| self.restoring.write(batch, mark))?;
        self.restoring.sync()
    }
}
