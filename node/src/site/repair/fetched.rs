//! What the hub sends, and what of it goes into a gap: checked against the chain.

use std::collections::HashMap;

use bytes::Bytes;
use liandong_proto::entry::{self, Anchor, Entry, Head, Header};
use liandong_proto::id::{Epoch, SiteCode};
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::share::CityRing;

use super::super::SiteError;
use super::line::{Before, Gap, Line};
use super::told::{lost_in_the_middle, other_entry, unsound};

/// What goes into a gap, in order.
pub(super) enum Fill {
    /// An epoch begins.
    Opened(pb::EpochOpened),
    /// An entry.
    Own(Entry, Box<Header>),
}

/// Entries that the hub has sent, and that the log does not have.
#[derive(Default)]
pub(super) struct Fetched(HashMap<(Epoch, u64), Entry>);

impl Fetched {
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// Takes in entries as the hub sends them. Those that are in the log are passed over; of a record that was erased here
    /// the header alone is taken: the hub may not have heard of it yet, and a proof that nothing is left stands in the log.
    ///
    /// # Errors
    /// [`SiteError::Refused`] when one is not sound, not this city's, or does not open with its key.
    pub fn take(&mut self, line: &mut Line, ring: &CityRing, entries: &[Entry]) -> Result<(), SiteError> {
        for entry in entries {
            let (header, _) = entry::check(entry).map_err(|error| unsound(&error))?;
            let origin = header.origin;
            if line.site.is_some_and(|site| site != origin.site) {
                return Err(unsound(&format!("an entry of {}", origin.site)));
            }
            if header.seq == 1 {
                line.epochs.learn(origin.epoch, header.anchor)?;
            }
            if line.misses(origin.epoch, header.seq) {
                let opened = ring.open(&entry.sealed, origin, header.seq);
                opened.map_err(|error| unsound(&format!("entry {}: {error}", header.seq)))?;
                let is_erased = line.erased.contains(&(header.kind, header.record));
                let bare = || Entry { open: Bytes::new(), sealed: Bytes::new(), ..entry.clone() };
                let kept = if is_erased { bare() } else { entry.clone() };
                self.0.insert((origin.epoch, header.seq), kept);
            }
        }
        Ok(())
    }

    /// What goes into a gap of a line that lives in `living`, and the newest entry of its epoch then.
    ///
    /// # Errors
    /// [`SiteError::Refused`] where something is missing that nobody has, but at the end; and where what there is does not
    /// make one line.
    pub fn fill(&self, line: &Line, living: Epoch, gap: &Gap) -> Result<(Vec<Fill>, Head), SiteError> {
        let (to, end) = match gap.before {
            Before::Nothing => (living, None),
            Before::Opened(epoch) => (epoch, Some(Head::default())),
            Before::Entry(epoch, head) => (epoch, Some(head)),
        };
        let stands = matches!(gap.before, Before::Opened(_));
        let known: Vec<(Epoch, Head)> = line.known(living).collect();
        let (mut fills, mut at) = (Vec::new(), gap.after);
        for (epoch, anchor) in line.epochs.way(gap.after.map(|(epoch, _)| epoch), to)? {
            if let Some((before, end)) = at.zip(anchor) {
                let end = Head { seq: end.seq, hash: end.hash };
                self.run(&mut fills, before, Some(end), &known)?;
            }
            if !(stands && epoch == to) {
                fills.push(Fill::Opened(opened(line.site, epoch, anchor)));
            }
            at = Some((epoch, Head::default()));
        }
        let from = at.unwrap_or((to, Head::default()));
        let head = self.run(&mut fills, from, end, &known)?;
        Ok((fills, head))
    }

    /// The entries of an epoch behind one of it, up to `end`; as far as there are any where that is not known.
    fn run(
        &self,
        fills: &mut Vec<Fill>,
        (epoch, mut head): (Epoch, Head),
        end: Option<Head>,
        known: &[(Epoch, Head)],
    ) -> Result<Head, SiteError> {
        while end.is_none_or(|end| head.seq < end.seq) {
            let Some(entry) = self.0.get(&(epoch, head.seq + 1)) else { break };
            let (header, hash) =
                entry::check(entry).map_err(|error| SiteError::corrupt("an entry of the hub", error))?;
            header.follows(&head).map_err(|error| other_entry(header.seq, &error))?;
            head = Head { seq: header.seq, hash };
            let is_other =
                |(of, known): &&(Epoch, Head)| *of == epoch && known.seq == head.seq && *known != head;
            if known.iter().any(|known| is_other(&known)) {
                return Err(other_entry(head.seq, &"this site had another one there"));
            }
            fills.push(Fill::Own(entry.clone(), Box::new(header)));
        }
        match end {
            Some(end) if head.seq < end.seq => Err(lost_in_the_middle(head.seq + 1, end.seq)),
            Some(end) if head != end => Err(other_entry(head.seq, &"its hash is another one")),
            _ => Ok(head),
        }
    }
}

fn opened(site: Option<SiteCode>, epoch: Epoch, anchor: Option<Anchor>) -> pb::EpochOpened {
    let site = site.unwrap_or(SiteCode(0)).0;
    let anchor = anchor.as_ref().map(Anchor::to_pb);
    pb::EpochOpened { site, epoch: Bytes::copy_from_slice(&epoch.0), anchor }
}
