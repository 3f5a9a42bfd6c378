//! Making a site's log again from what the hub holds: `liandong_node::restore` and `Site::takeover`, with events in place of
//! a runtime. It may be cut off anywhere, and is begun anew then.

use liandong_node::log::Batch;
use liandong_node::site::{Alone, Author, Held, Keys, Line, Record, SiteError, record_kind};
use liandong_proto::entry::{Anchor, Head, Header};
use liandong_proto::id::{Epoch, Origin, sha256};
use liandong_proto::pb::sync::v1::refusal::Code;
use liandong_proto::position::{Generations, Position};
use liandong_proto::session::node::{Input, NodeSession, Output, Standing};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::disk::{Beside, Disk};
use super::invariants::{Broken, Invariant};
use super::link::Link;
use super::node::Secrets;
use super::truth::Sights;
use super::world::{Event, World};

const AGAIN_MS: u64 = 1_000;

/// A site whose log is being made again.
pub struct Taking {
    /// What its machine has that the hub may not; nothing when that is lost.
    keeps: bool,
    under_way: Option<Fetch>,
}

/// One try.
struct Fetch {
    link: u64,
    session: NodeSession,
    line: Line,
    disk: Disk,
    held: Held,
    end: (Epoch, Head, Option<Anchor>),
}

impl Fetch {
    fn append(&mut self, batch: &Batch) {
        if !batch.is_empty() {
            self.disk.append(batch, Beside::Nothing).expect("space");
        }
    }
}

impl World {
    /// The operator makes a machine's log again: with what it has (`takeover`), or from nothing (`restore`). It does not run
    /// meanwhile.
    pub fn take(&mut self, n: usize, keeps: bool) {
        self.node_stops(n);
        // Nobody else may run as this site meanwhile. Afterwards somebody starts the other machine all the same.
        for other in self.others_of(n) {
            self.node_stops(other);
            self.after(4_000, Event::NodeStart(other));
        }
        self.nodes[n].taking = Some(Taking { keeps, under_way: None });
        self.counts.fault(if keeps { "takeover" } else { "restore from the hub" });
        self.after(1, Event::Take(n));
    }

    /// One try begins.
    pub(super) fn take_begins(&mut self, n: usize) -> Result<(), Broken> {
        let pause = self.takes(AGAIN_MS) + 200;
        let nonce: [u8; 16] = self.random.random();
        let node = &mut self.nodes[n];
        if node.retired || node.taking.as_ref().is_none_or(|taking| taking.under_way.is_some()) {
            return Ok(());
        }
        let living = self.hub.running.as_ref().filter(|_| node.unreachable_until <= self.now_ms);
        let registry = living.map(|hub| &hub.published.registry);
        let Some((origin, row)) = registry.and_then(|registry| registry.living(node.site)) else {
            self.after(pause, Event::Take(n));
            return Ok(());
        };
        let anchor = row.anchor.as_ref().and_then(Anchor::from_pb);
        let end = (origin.epoch, liandong_hub::registry::head(row), anchor);
        let (session, outputs) = NodeSession::start(Standing {
            origin,
            nonces: vec![nonce.to_vec().into()],
            head: Head::default(),
            cursor: Position::default(),
            generations: Generations::default(),
            restore: true,
            anchor: None,
            receipt: Default::default(),
            signer: node.secrets.signer.clone(),
            hub_key: self.hub.province.signer.verifying(),
        });
        let line = Line::new(node.site, node.secrets.city.clone());
        let link = self.next_link;
        self.next_link += 1;
        self.links.insert(link, Link::new(n, node.image));
        let fetch = Fetch { link, session, line, disk: Disk::default(), held: Held::default(), end };
        if let Some(taking) = node.taking.as_mut() {
            taking.under_way = Some(fetch);
        }
        self.after(20_000, Event::TakeLate(n, link));
        for output in outputs {
            if let Output::Send(up) = output {
                self.send_up(link, up)?;
            }
        }
        Ok(())
    }

    /// Which node fetches over a connection.
    pub(super) fn takes_over(&self, n: usize, link: u64) -> bool {
        let under_way = self.nodes[n].taking.as_ref().and_then(|taking| taking.under_way.as_ref());
        under_way.is_some_and(|fetch| fetch.link == link)
    }

    /// The connection has ended before all had come.
    pub(super) fn take_ends(&mut self, n: usize) {
        let pause = self.takes(AGAIN_MS) + 200;
        let fetch = self.nodes[n].taking.as_mut().and_then(|taking| taking.under_way.take());
        if let Some(fetch) = fetch {
            self.cut(fetch.link, true);
            self.after(pause, Event::Take(n));
        }
    }

    pub(super) fn take_hears(
        &mut self,
        n: usize,
        down: liandong_proto::pb::sync::v1::Down,
    ) -> Result<(), Broken> {
        let now_ms = self.node_now(n);
        let Some(fetch) = self.nodes[n].taking.as_mut().and_then(|taking| taking.under_way.as_mut()) else {
            return Ok(());
        };
        let link = fetch.link;
        for output in fetch.session.on(Input::Received(down), now_ms) {
            match output {
                Output::Send(up) => self.send_up(link, up)?,
                Output::PersistOwn { entries, last } => {
                    let ring = self.nodes[n].secrets.city.clone();
                    let Some(fetch) = self.fetching(n) else { return Ok(()) };
                    let noted = entries.iter().try_for_each(|entry| fetch.held.note(entry, &ring));
                    let batch = noted.and_then(|()| fetch.line.take(&entries));
                    let batch = batch.map_err(|error| self.unsound(n, &error))?;
                    let Some(fetch) = self.fetching(n) else { return Ok(()) };
                    fetch.append(&batch);
                    if last {
                        return self.take_finishes(n);
                    }
                }
                // Others may have a session, or the hub waits for a person: it is tried again.
                Output::Refused(refusal) => {
                    self.nodes[n].is_void |= refusal.code() == Code::NotAMember;
                    self.take_ends(n);
                }
                Output::Diverged(_) => self.take_ends(n),
                _ => {}
            }
        }
        Ok(())
    }

    fn fetching(&mut self, n: usize) -> Option<&mut Fetch> {
        self.nodes[n].taking.as_mut()?.under_way.as_mut()
    }

    fn unsound(&self, n: usize, error: &SiteError) -> Broken {
        Broken::new(Invariant::NothingUnexplained, format!("{}: {error}", self.nodes[n].site))
    }

    fn take_finishes(&mut self, n: usize) -> Result<(), Broken> {
        let Some(Taking { keeps, under_way: Some(mut fetch) }) = self.nodes[n].taking.take() else {
            return Ok(());
        };
        self.cut(fetch.link, true);
        let (epoch, held, anchor) = fetch.end;
        let new = Epoch(self.random.random());
        let (batch, anchor) = match fetch.line.end(epoch, held, anchor, new) {
            Ok(ended) => ended,
            // More has come to the hub since it named the end, or another machine has taken over: anew, as the operator would.
            Err(SiteError::Refused(_)) => {
                self.nodes[n].taking = Some(Taking { keeps, under_way: None });
                self.after(AGAIN_MS, Event::Take(n));
                return Ok(());
            }
            Err(error) => return Err(self.unsound(n, &error)),
        };
        fetch.append(&batch);
        self.sights.opened(new, anchor);
        let node = &self.nodes[n];
        let (site, secrets) = (node.site, node.secrets.clone());
        let origin = Origin { site, epoch: new };
        if keeps {
            let old = node.disk.clone();
            let alone = match Alone::read(&old.durable(), &fetch.held) {
                Ok(alone) => alone,
                // Then all that is left is what the hub holds.
                Err(_) if old.is_damaged() => {
                    self.take(n, false);
                    return Ok(());
                }
                Err(error) => return Err(self.unsound(n, &error)),
            };
            let draws = StdRng::from_seed(self.random.random());
            let author = write_again(&mut fetch, &secrets, origin, anchor, &alone, draws);
            author.map_err(|error| self.unsound(n, &error))?;
            note_again(&fetch.disk, origin, anchor, &alone, &mut self.sights);
        }
        fetch.disk.sync();
        let image = self.new_image(None);
        let node = &mut self.nodes[n];
        (node.disk, node.image, node.acked) = (fetch.disk, image, None);
        self.after(1, Event::NodeStart(n));
        Ok(())
    }
}

fn write_again(
    fetch: &mut Fetch,
    secrets: &Secrets,
    origin: Origin,
    anchor: Anchor,
    alone: &Alone,
    draws: StdRng,
) -> Result<(), SiteError> {
    let keys = Keys { city: secrets.city.clone(), linking: None };
    let mut author = Author::new(origin, keys, draws);
    author.anchor = Some(anchor);
    let mut merged = alone.merged(&fetch.disk, &secrets.city)?;
    alone.go_on(&mut author, &mut merged, &mut |batch, _| {
        fetch.append(batch);
        Ok(())
    })
}

/// The entries of the new epoch are those that the machine alone had, in their order.
fn note_again(disk: &Disk, origin: Origin, anchor: Anchor, alone: &Alone, sights: &mut Sights) {
    let own = disk.beside(0).filter(|(record, _)| record.kind == record_kind::OWN);
    let new = own.filter_map(|(raw, _)| match Record::read(&raw) {
        Ok(Record::Own(entry)) => {
            Some((Header::decode(&entry.header).expect("a header"), sha256(&entry.header)))
        }
        _ => None,
    });
    let new = new.filter(|(header, _)| header.origin == origin);
    let seen = alone.seen_to(anchor);
    for ((header, hash), (first, _)) in new.zip(&alone.entries) {
        sights.note_again(&header, hash, sha256(&first.header), seen);
    }
}
