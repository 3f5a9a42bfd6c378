//! Taking in what the hub delivers, and telling it what this site holds.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use liandong_proto::entry::{Anchor, Entry, Head, Header};
use liandong_proto::erasure;
use liandong_proto::fields::Fields;
use liandong_proto::id::{Epoch, Origin, RecordId, SiteCode, hex, sha256};
use liandong_proto::merge::{self, Lineage};
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::pb::sync::v1 as sync;
use liandong_proto::position::{Generations, Position};
use liandong_proto::session::{MOST_NONCES, generations_to_pb, node::Standing, position_from_pb};
use liandong_proto::share::CityRing;
use liandong_proto::sign::VerifyingKey;
use liandong_proto::stamp::Stamp;
use liandong_proto::state::{RecordState, Setter, Writer as StateWriter, held_from_wire};
use prost::Message as _;

use super::open::read_state;
use super::{Record, Site, SiteError, begin, fold_own, forget_lost, locked, patches, record_kind};
use crate::index::{Index, Staged};
use crate::log::{Batch, Log, LogView, Pos};
use crate::now::now_ms;
use crate::{payload, rows};

type Key = (u32, RecordId);

impl Site {
    /// Where the node stands at the start of a session, with a nonce that is durable before it is used.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn greet(&self, nonce: [u8; 16], hub_key: VerifyingKey) -> Result<Standing, SiteError> {
        // Whoever is turned away for months must not grow by each try. The last nonce was never welcomed: it is as good
        // as a new one, and to drop one that the hub may have noted is not.
        if locked(&self.writer).row.nonces.len() < MOST_NONCES {
            let nonce = Bytes::copy_from_slice(&nonce);
            let audit = self.audit.durable_end();
            let tried = pb::NonceTried {
                nonce: nonce.clone(),
                audit_number: audit.number,
                audit_hash: Bytes::copy_from_slice(&audit.hash),
            };
            let end = self.note(record_kind::TRIED, &tried.encode_to_vec(), |row| row.nonces.push(nonce))?;
            self.log.sync_to(end)?;
        }
        let head = *self.durable.borrow();
        let writer = locked(&self.writer);
        Ok(Standing {
            origin: writer.author.origin,
            nonces: writer.row.nonces.clone(),
            head,
            cursor: Position { generation: writer.row.generation, hub_seq: writer.row.hub_seq },
            generations: writer.author.generations.clone(),
            restore: false,
            anchor: writer.row.anchor.as_ref().and_then(Anchor::from_pb),
            receipt: writer.row.receipt.clone(),
            signer: locked(&self.signer).clone(),
            hub_key,
        })
    }

    /// The hub has welcomed the session: its nonce counts from now on, and its history is learned. What was delivered and is
    /// lost by that history is shown no more.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn welcomed(&self, generations: &Generations) -> Result<(), SiteError> {
        let starts: Vec<pb::HistoryStart> = generations_to_pb(generations)
            .into_iter()
            .map(|start| pb::HistoryStart {
                generation: start.generation,
                first_hub_seq: start.first_hub_seq,
            })
            .collect();
        let end = locked(&self.writer).whole(|writer| {
            let nonce = writer.row.nonces.last().cloned().unwrap_or_default();
            let learned = pb::Welcomed { generations: starts, nonce };
            let mut batch = Batch::new();
            batch.push(record_kind::WELCOMED, &[&learned.encode_to_vec()]);
            let cursor = Position { generation: writer.row.generation, hub_seq: writer.row.hub_seq };
            let key = writer.author.keys().city.clone();
            let (until, folds) = (self.log.end(), (&key, &self.lineage));
            let staged = forget_lost(generations, cursor, &*self.log, until, &self.index, folds)?;
            let end = self.log.append(&batch, writer.next_mark())?.end;
            learn(&mut writer.row, learned);
            writer.author.generations = generations.clone();
            self.stage(writer, staged, end);
            Ok(end)
        })?;
        Ok(self.log.sync_to(end)?)
    }

    /// Own entries up to here are durable at the hub as well.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn confirmed(&self, receipt: &sync::Receipt) -> Result<(), SiteError> {
        let seq = receipt.up_to.as_ref().map_or(0, |head| head.seq);
        self.note(record_kind::CONFIRMED, &receipt.encode_to_vec(), |row| confirm(row, receipt))?;
        self.confirmed.send_replace(seq);
        Ok(())
    }

    /// Appends a record that only moves the site's own row.
    pub(super) fn note(
        &self,
        kind: u8,
        payload: &[u8],
        change: impl FnOnce(&mut pb::SiteRow),
    ) -> Result<Pos, SiteError> {
        let mut batch = Batch::new();
        batch.push(kind, &[payload]);
        locked(&self.writer).whole(|writer| {
            let end = self.log.append(&batch, writer.next_mark())?.end;
            change(&mut writer.row);
            self.stage(writer, Vec::new(), end);
            Ok(end)
        })
    }

    /// The life of the hub that was last heard of.
    pub fn hub_generation(&self) -> u64 {
        locked(&self.writer).author.generations.current()
    }

    /// Takes in a delivery: durable before this returns, then shown. One that cannot be folded is not appended:
    /// every later start would stop at it.
    ///
    /// # Errors
    /// [`SiteError`]; [`SiteError::Refused`] when it erases what nobody who may has asked to erase.
    pub fn receive(&self, deliver: &sync::Deliver) -> Result<Position, SiteError> {
        let cursor = position_from_pb(deliver.cursor.as_ref());
        let mut encoded = deliver.encode_to_vec();
        let end = locked(&self.writer).whole(|writer| {
            self.check_erasures(deliver, writer.author.origin.site)?;
            check_own(deliver, writer.author.head.seq)?;
            let key = writer.author.keys().city.clone();
            // Nobody else appends meanwhile: what is in the log is all that comes before the delivery.
            let until = self.log.end();
            let fold = |deliver: &sync::Deliver| {
                let mut fold = Fold::new(writer.author.origin, &key, &self.lineage, self.mark_base);
                let staged = fold.deliver(deliver, &*self.log, until, &self.index)?;
                Ok::<_, SiteError>((staged, fold))
            };
            let (mut staged, mut folded) = fold(deliver)?;
            // What the hub still showed is erased here already: it must not come into the log again.
            if let Some(stripped) = payload::dropped(record_kind::RECEIVED, &encoded, &folded.erased) {
                let deliver = sync::Deliver::decode(stripped.as_slice())
                    .map_err(|error| SiteError::corrupt("a delivery", error))?;
                (staged, folded) = fold(&deliver)?;
                encoded = stripped;
            }
            let mut batch = Batch::new();
            batch.push(record_kind::RECEIVED, &[&encoded]);
            let end = self.log.append(&batch, writer.next_mark())?.end;
            writer.author.clock.saw(folded.newest, now_ms());
            writer.row.seen_stamp = writer.row.seen_stamp.max(folded.newest.0);
            (writer.row.generation, writer.row.hub_seq) = (cursor.generation, cursor.hub_seq);
            self.stage(writer, staged, end);
            Ok(end)
        })?;
        self.log.sync_to(end)?;
        Ok(cursor)
    }

    /// An own record only an own entry erases, one of another site that site's. Findings go with the record that they are
    /// about, which may be anybody's.
    fn check_erasures(&self, deliver: &sync::Deliver, me: SiteCode) -> Result<(), SiteError> {
        for item in &deliver.items {
            let Some((by, _)) = erased_by(item) else { continue };
            let record = RecordId::from_slice(&item.record);
            let Some((known, _)) = record.map(|record| self.state(item.kind, record)).transpose()?.flatten()
            else {
                continue;
            };
            // Where this site took itself for the home and the hub knows another, it wrote in vain.
            let by_home = by.site != me && by.site.0 == item.home;
            let is_due = known.erased || known.home.is_province() || by_home;
            if !is_due {
                return Err(SiteError::Refused(format!(
                    "the hub says that {by:?} has erased record {} of kind {}, which is not theirs; nothing was taken in, ask \
                     the province",
                    hex(&item.record),
                    item.kind
                )));
            }
        }
        Ok(())
    }

    /// The heads at some places of the own log; places it does not have are left out.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn heads(&self, places: &[u64]) -> Result<Vec<Head>, SiteError> {
        self.heads_of(self.origin().epoch, places)
    }

    /// The same of one of its epochs.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn heads_of(&self, epoch: Epoch, places: &[u64]) -> Result<Vec<Head>, SiteError> {
        let mut wanted: Vec<u64> = places.to_vec();
        wanted.sort_unstable();
        let Some(first) = wanted.first() else { return Ok(Vec::new()) };
        let mut heads = Vec::new();
        let from = if epoch == self.origin().epoch { self.mark_base + first } else { 0 };
        for raw in self.log.read(self.log.seek(from)) {
            let raw = raw?;
            if raw.kind != record_kind::OWN {
                continue;
            }
            let Record::Own(entry) = Record::read(&raw)? else { continue };
            let header =
                Header::decode(&entry.header).map_err(|error| SiteError::corrupt("an own entry", error))?;
            if header.origin.epoch != epoch {
                continue;
            }
            if wanted.binary_search(&header.seq).is_ok() {
                heads.push(Head { seq: header.seq, hash: sha256(&entry.header) });
            }
            if wanted.last() == Some(&header.seq) {
                break;
            }
        }
        Ok(heads)
    }

    /// The log, for the uplink's reader.
    pub fn log(&self) -> &Log {
        &self.log
    }
}

/// A hub has merged what this site has written and nothing else. One that names more would have later entries taken for
/// merged, which then were gone from what is shown.
fn check_own(deliver: &sync::Deliver, newest: u64) -> Result<(), SiteError> {
    let named = deliver.items.iter().map(|item| item.own_seq_inclusive).chain([deliver.own_seq_inclusive]);
    match named.max().filter(|seq| *seq > newest) {
        None => Ok(()),
        Some(seq) => Err(SiteError::Refused(format!(
            "枢纽称已汇总本站第 {seq} 条改动，而本站只写到第 {newest} 条；没有收下任何内容，请联系省级枢纽的维护人员 · the hub says that it has \
             merged entry {seq} of this site, which has written {newest}; nothing was taken in, tell the hub's operator"
        ))),
    }
}

/// Reads own entries in order for Push, going on where the last read ended.
#[derive(Debug, Default)]
pub struct PushReader {
    next: Option<(u64, Pos)>,
    /// An epoch before the living one, up to where it counts.
    older: Option<(Epoch, Head)>,
}

impl PushReader {
    /// A reader of an epoch before the living one.
    pub fn of(epoch: Epoch, end: Head) -> PushReader {
        PushReader { next: None, older: Some((epoch, end)) }
    }

    /// Which epoch it reads.
    pub fn epoch(&self, site: &Site) -> Epoch {
        self.older.map_or(site.origin().epoch, |(epoch, _)| epoch)
    }

    /// Durable own entries after `after`, up to `max_bytes` but at least one, and the head they lead to.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn read(
        &mut self,
        site: &Site,
        after: Head,
        max_bytes: usize,
    ) -> Result<(Vec<Entry>, Head), SiteError> {
        let (epoch, end) = self.older.unwrap_or_else(|| (site.origin().epoch, *site.durable.borrow()));
        let start = match self.next {
            Some((seq, pos)) if seq == after.seq + 1 => pos,
            _ if self.older.is_some() => Pos::default(),
            _ => site.log.seek(site.mark_base + after.seq + 1),
        };
        let mut entries = Vec::new();
        let (mut bytes, mut head) = (0, after);
        for raw in site.log.read(start) {
            let raw = raw?;
            if raw.kind != record_kind::OWN {
                continue;
            }
            let Record::Own(entry) = Record::read(&raw)? else { continue };
            // Only the place is needed here; a header is read once, at the hub.
            let Some(seq) = seq_of(&entry, epoch)?.filter(|seq| *seq > after.seq) else { continue };
            bytes += raw.payload.len();
            head.seq = seq;
            entries.push(entry);
            self.next = Some((seq + 1, raw.next));
            if bytes >= max_bytes || seq >= end.seq {
                break;
            }
        }
        if let Some(last) = entries.last() {
            head.hash = sha256(&last.header);
        }
        Ok((entries, head))
    }
}

/// Place of an entry in its origin's log; `None` for one of an older epoch.
fn seq_of(entry: &Entry, epoch: Epoch) -> Result<Option<u64>, SiteError> {
    // Epoch and seq are fields 2 and 3 of EntryHeader.
    let fields = Fields::split(entry.header.clone())?;
    let is_own = fields.bytes_of(2) == Some(epoch.0.as_slice());
    Ok(is_own.then(|| fields.u64(3).unwrap_or(0)))
}

/// Folds deliveries into states.
pub struct Fold<'a> {
    origin: Origin,
    key: &'a CityRing,
    lineage: &'a Lineage,
    /// Own entries of the epochs before.
    mark_base: u64,
    /// Newest stamp seen.
    pub newest: Stamp,
    /// Records of the delivery that are erased after it.
    pub erased: payload::Erased,
}

impl<'a> Fold<'a> {
    /// A fold at a site; `mark_base` counts its own entries of the epochs before.
    pub fn new(origin: Origin, key: &'a CityRing, lineage: &'a Lineage, mark_base: u64) -> Fold<'a> {
        Fold { origin, key, lineage, mark_base, newest: Stamp::default(), erased: payload::Erased::new() }
    }

    /// Rows that change with a delivery. `until` is where the delivery stands in the log: own entries
    /// behind it come later. The index shows all that is before it.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn deliver(
        &mut self,
        deliver: &sync::Deliver,
        log: &dyn LogView,
        until: Pos,
        index: &Index,
    ) -> Result<Vec<Staged>, SiteError> {
        let generation = position_from_pb(deliver.cursor.as_ref()).generation;
        let mut new: Vec<(Key, Option<u64>, Option<RecordState>)> = Vec::new();
        let mut again: HashMap<Key, u64> = HashMap::new();
        let mut erased = Vec::new();
        for item in &deliver.items {
            let record = RecordId::from_slice(&item.record)
                .ok_or_else(|| SiteError::corrupt("a delivery", "a record id of another length"))?;
            let key = (item.kind, record);
            let old = read_state(index, key)?;
            let check = old.as_ref().map(|(_, check)| *check);
            let old = old.map(|(state, _)| state);
            if let Some((origin, seq)) = erased_by(item) {
                erased.extend(begin(index, key, origin, seq)?);
            }
            if old.as_ref().is_some_and(|old| old.own_seq(self.origin) > item.own_seq_inclusive) {
                again.insert(key, item.own_seq_inclusive.max(deliver.own_seq_inclusive));
            }
            new.push((key, check, self.item(item, old, generation)?));
        }
        if !again.is_empty() {
            self.own_again(&again, log, until, &mut new)?;
        }
        let gone = new.iter().filter(|(_, _, state)| state.as_ref().is_some_and(|state| state.erased));
        self.erased = gone.map(|(key, _, _)| *key).collect();
        let staged = new.into_iter().map(|((kind, record), old, state)| Staged {
            key: rows::record(kind, record),
            old,
            new: state.map(|state| state.encode().into()),
        });
        Ok(staged.filter(|row| row.old.is_some() || row.new.is_some()).chain(erased).collect())
    }

    fn item(
        &mut self,
        item: &sync::Item,
        old: Option<RecordState>,
        generation: u64,
    ) -> Result<Option<RecordState>, SiteError> {
        let sealed = old.map(|old| old.sealed).unwrap_or_default();
        let mut state = RecordState::new(SiteCode(item.home));
        (state.hub_seq, state.generation) = (item.hub_seq, generation);
        if item.own_seq_inclusive > 0 {
            state.writers.push(StateWriter { origin: self.origin, seq: item.own_seq_inclusive });
        }
        let nothing = Vec::new();
        let (stamp, site, held) = match item.what.as_ref() {
            Some(sync::item::What::State(shown)) => {
                state.fields = Fields::split(shown.fields.clone())?;
                state.sealed = sealed;
                (shown.stamp, shown.site, &shown.held)
            }
            Some(sync::item::What::Tombstone(tombstone)) => {
                state.deleted_by = Some(0);
                if let Some((origin, seq)) = erased_by(item) {
                    let setter = Setter { origin, seq, hub_seq: item.hub_seq, stamp: Stamp(tombstone.stamp) };
                    self.newest = self.newest.max(setter.stamp);
                    merge::erase(&mut state, setter);
                    return Ok(Some(state));
                }
                (tombstone.stamp, tombstone.site, &tombstone.held)
            }
            Some(sync::item::What::Withdrawn(_)) => return Ok(None),
            // What it was is erased, and the delivery that says so comes later.
            None => (0, 0, &nothing),
        };
        self.newest = self.newest.max(Stamp(stamp));
        // Who set what is not told field by field: the hub's order stands for all of them.
        let origin = Origin { site: SiteCode(site), epoch: Epoch::default() };
        state.setters.push(Setter { origin, seq: 0, hub_seq: item.hub_seq, stamp: Stamp(stamp) });
        state.writers.push(StateWriter { origin, seq: 0 });
        for value in held {
            let held = held_from_wire(value.clone())?;
            if !state.writers.iter().any(|writer| writer.origin == held.by.origin) {
                state.writers.push(StateWriter { origin: held.by.origin, seq: 0 });
            }
            state.held.push(held);
        }
        Ok(Some(state))
    }

    /// Own entries that the hub had not merged when it read the state go on top of it again.
    fn own_again(
        &self,
        again: &HashMap<Key, u64>,
        log: &dyn LogView,
        until: Pos,
        new: &mut [(Key, Option<u64>, Option<RecordState>)],
    ) -> Result<(), SiteError> {
        let from = again.values().min().copied().unwrap_or(0);
        let records: HashSet<&[u8]> = again.keys().map(|(_, record)| record.0.as_slice()).collect();
        for raw in log.read(log.seek(self.mark_base.saturating_add(from).saturating_add(1))) {
            let raw = raw?;
            if raw.pos >= until {
                break;
            }
            if raw.kind != record_kind::OWN {
                continue;
            }
            let Record::Own(entry) = Record::read(&raw)? else { continue };
            let header =
                Header::decode(&entry.header).map_err(|error| SiteError::corrupt("an own entry", error))?;
            if header.origin != self.origin || !records.contains(header.record.0.as_slice()) {
                continue;
            }
            let key = (header.kind, header.record);
            if again.get(&key).is_none_or(|seq| header.seq <= *seq) {
                continue;
            }
            let (open, sealed) = patches(&entry, &header, self.key)?;
            for (_, _, state) in new.iter_mut().filter(|(k, _, _)| *k == key) {
                *state = Some(fold_own(state.take(), &header, &open, &sealed, self.lineage));
            }
        }
        Ok(())
    }
}

/// The entry that erased an item's record, if it was.
pub(super) fn erased_by(item: &sync::Item) -> Option<(Origin, u64)> {
    match item.what.as_ref()? {
        sync::item::What::Tombstone(tombstone) => erasure::named(tombstone.erased.as_ref()?),
        _ => None,
    }
}

/// A receipt's effect on the site's row. One without a signature is a welcome's word, and proves nothing later.
pub fn confirm(row: &mut pb::SiteRow, receipt: &sync::Receipt) {
    row.confirmed_seq = receipt.up_to.as_ref().map_or(0, |head| head.seq);
    if !receipt.signature.is_empty() {
        row.receipt = receipt.encode_to_vec().into();
    }
}

/// A welcome's effect on the site's row.
pub fn learn(row: &mut pb::SiteRow, learned: pb::Welcomed) {
    row.generations = learned.generations;
    // Where the mark of the session was lost to damage.
    if !learned.nonce.is_empty() && !row.nonces.contains(&learned.nonce) {
        row.nonces.push(learned.nonce);
    }
    // A hub that was restored from a backup knows the nonce of an earlier session. A copy of this site's directory is told
    // from it all the same: it does not have what this one used since.
    let goes = row.nonces.len().saturating_sub(MOST_NONCES / 2);
    row.nonces.drain(..goes);
}
