//! What waits to be committed: one lane for each city, taken round-robin so that one backlog starves nobody.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use liandong_node::site::{By, Put, PutAnswer, SiteError};
use liandong_proto::id::{Origin, SiteCode};
use liandong_proto::pb::log::v1 as log;
use liandong_proto::pb::sync::v1 as sync;
use liandong_proto::position::Generations;
use liandong_proto::session::hub::{Admission, CheckedEntry};
use liandong_proto::sign::Erased;
use liandong_proto::sign::{SigningKey, VerifyingKey};

use crate::ca::Identity;
use crate::members::{changes_keys, voids_certificates};

/// Entries of one push.
#[derive(Debug)]
pub struct Pushed {
    /// Whose.
    pub origin: Origin,
    /// Who pushed it, by the certificate of its connection.
    pub identity: Identity,
    /// The hub's history as the node knows it: says what the bases mean.
    pub known: Arc<Generations>,
    /// In order.
    pub entries: Vec<CheckedEntry>,
    /// The city's signature over the head they lead to.
    pub signed: log::SignedHead,
    /// The key that it was held against.
    pub signing_key: VerifyingKey,
}

type Answer<T> = Box<dyn FnOnce(T) + Send>;

/// A write of the province itself.
pub struct OwnWrite {
    /// What to write.
    pub puts: Vec<Put>,
    /// Who.
    pub by: By,
    /// Check only.
    pub dry_run: bool,
    /// Called once it is durable, or refused.
    pub answer: Answer<Result<Vec<PutAnswer>, SiteError>>,
}

/// A node at the door.
pub struct Knock {
    /// Who its certificate says it is.
    pub identity: Identity,
    /// Its hello.
    pub hello: sync::Hello,
    /// Called with the decision.
    pub answer: Answer<Admission>,
}

/// Something to commit.
pub enum Job {
    /// Entries of a city.
    Pushed(Pushed),
    /// A write of the province.
    Own(OwnWrite),
    /// A node at the door.
    Knock(Knock),
    /// The province's word about a city.
    Register(Register),
    /// Proofs of erasures.
    Proved(Proved),
    /// The hub's next signing key.
    Rekey(Rekey),
}

/// Proofs of erasures; those that do not hold are left out.
pub struct Proved {
    /// Whose, and what they say.
    pub by: Prover,
    /// Called once they are durable.
    pub answer: Answer<()>,
}

/// Who proves that something is erased.
pub enum Prover {
    /// The hub, of these; its committer signs.
    Hub(Vec<Erased>),
    /// A city.
    City(Identity, Vec<log::ErasureProof>),
}

/// A change of the registry.
pub struct Register {
    /// What changes.
    pub change: log::RegistryChange,
    /// Called once it is durable, or refused.
    pub answer: Answer<Result<(), SiteError>>,
}

/// A change of the key that the hub signs with.
pub struct Rekey {
    /// The key from then on.
    pub next: SigningKey,
    /// Who asked for it.
    pub author: String,
    /// Called once it is durable.
    pub answer: Answer<Result<(), SiteError>>,
}

#[derive(Default)]
struct Lanes {
    cities: HashMap<SiteCode, VecDeque<Pushed>>,
    /// Cities with something in their lane, in the order in which they are served.
    turn: VecDeque<SiteCode>,
    first: VecDeque<Job>,
    stopped: bool,
}

/// The lanes.
#[derive(Default)]
pub struct Queue {
    lanes: Mutex<Lanes>,
    news: Condvar,
}

impl Queue {
    /// Lets a job wait, unless the queue has been stopped. A city's pushes are bounded by its window, the others by those who wait for them.
    pub fn put(&self, job: Job) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody would take it. Dropped, so that whoever waits for its answer learns that there is none.
        if lanes.stopped {
            return;
        }
        match job {
            Job::Pushed(pushed) => {
                let site = pushed.origin.site;
                let lane = lanes.cities.entry(site).or_default();
                let was_empty = lane.is_empty();
                lane.push_back(pushed);
                if was_empty {
                    lanes.turn.push_back(site);
                }
            }
            Job::Knock(knock) => {
                // What an earlier session of this city left in its lane will be pushed again, from the head
                // that the welcome names.
                lanes.cities.remove(&knock.identity.site);
                lanes.turn.retain(|site| *site != knock.identity.site);
                lanes.first.push_back(Job::Knock(knock));
            }
            Job::Register(register) => {
                // Whoever joins anew, is cut off or changes its key has nothing under way any more; a member pushes it
                // again.
                if voids_certificates(&register.change) || changes_keys(&register.change) {
                    let site = SiteCode(register.change.site);
                    lanes.cities.remove(&site);
                    lanes.turn.retain(|turn| *turn != site);
                }
                lanes.first.push_back(Job::Register(register));
            }
            job => lanes.first.push_back(job),
        }
        drop(lanes);
        self.news.notify_one();
    }

    /// Whether there is work, so that [`Queue::take`] need not wait.
    pub fn has_work(&self) -> bool {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        !lanes.first.is_empty() || !lanes.turn.is_empty()
    }

    /// Waits for work; then one push of each city in turn until `entries` are reached. `None` when stopped
    /// and empty.
    pub fn take(&self, entries: usize) -> Option<Vec<Job>> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        while lanes.first.is_empty() && lanes.turn.is_empty() {
            if lanes.stopped {
                return None;
            }
            lanes = self.news.wait(lanes).unwrap_or_else(PoisonError::into_inner);
        }
        let mut jobs: Vec<Job> = lanes.first.drain(..).collect();
        let mut taken = 0;
        while taken < entries {
            let Some(site) = lanes.turn.pop_front() else { break };
            let Some(lane) = lanes.cities.get_mut(&site) else { continue };
            if let Some(pushed) = lane.pop_front() {
                taken += pushed.entries.len();
                jobs.push(Job::Pushed(pushed));
            }
            if !lane.is_empty() {
                lanes.turn.push_back(site);
            }
        }
        Some(jobs)
    }

    /// Nobody takes any more: what waits is dropped without an answer, as is what is put from now on.
    pub fn abandon(&self) {
        let dropped = {
            let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *lanes, Lanes { stopped: true, ..Lanes::default() })
        };
        self.news.notify_all();
        // Whoever waits for one of them may come straight back here: the lock is free again.
        drop(dropped);
    }

    /// Whether no more will come.
    pub fn is_stopped(&self) -> bool {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).stopped
    }

    /// No more will come; what waits is still taken.
    pub fn stop(&self) {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
        self.news.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use liandong_proto::id::Epoch;

    fn push(queue: &Queue, site: u32) {
        let origin = Origin { site: SiteCode(site), epoch: Epoch([0; 16]) };
        let identity = Identity { site: origin.site, enrolment: 1 };
        queue.put(Job::Pushed(Pushed {
            origin,
            identity,
            known: Arc::default(),
            entries: Vec::new(),
            signed: log::SignedHead::default(),
            signing_key: SigningKey::new(&[1; 32]).verifying(),
        }));
    }

    fn sites(jobs: Vec<Job>) -> Vec<u32> {
        let site = |job: Job| match job {
            Job::Pushed(pushed) => pushed.origin.site.0,
            _ => 0,
        };
        jobs.into_iter().map(site).collect()
    }

    #[test]
    fn a_backlog_of_one_city_does_not_hold_up_another() {
        let queue = Queue::default();
        (0..3).for_each(|_| push(&queue, 1));
        push(&queue, 2);
        assert_eq!(sites(queue.take(usize::MAX).expect("there is work")), [1, 2, 1, 1]);
    }

    #[test]
    fn what_waits_is_dropped_when_nobody_takes_any_more() {
        let queue = Queue::default();
        let write = || {
            let (sender, receiver) = std::sync::mpsc::channel();
            let answer = Box::new(move |answers| drop(sender.send(answers)));
            let write = OwnWrite { puts: Vec::new(), by: By::default(), dry_run: false, answer };
            queue.put(Job::Own(write));
            receiver
        };
        let before = write();
        queue.abandon();
        assert!(before.recv().is_err() && write().recv().is_err(), "the callers do not wait");
        assert!(queue.take(1).is_none());
    }

    #[test]
    fn what_waits_is_taken_before_the_stop() {
        let queue = Queue::default();
        push(&queue, 1);
        queue.stop();
        assert!(queue.take(1).is_some());
        assert!(queue.take(1).is_none());
    }
}
