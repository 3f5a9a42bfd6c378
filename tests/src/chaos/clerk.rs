//! A clerk: writes at one city without end, through whatever happens to the site.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use liandong_node::now::now_ms;
use liandong_proto::id::RecordId;
use liandong_proto::pb::node::v1::Put;
use liandong_proto::pb::record::v1 as pb;
use tokio::sync::watch;

use super::book::Book;
use crate::cluster::{ClusterError, Door, Home, put_of};
use crate::roster::SplitMix64;

/// Number of the kind that is written.
pub const MEMBER: u32 = 1;
/// So many records of a city; from then on they are changed.
const RECORDS: usize = 400;
const PAUSE: Duration = Duration::from_millis(10);

/// What clerks are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    Write,
    /// Nothing is under way any more once `resting` says so.
    Rest,
    Stop,
}

pub struct Clerk {
    pub home: Home,
    pub random: SplitMix64,
    pub book: Book,
    pub work: watch::Receiver<Work>,
    /// Batches that were answered, of all clerks.
    pub answered: Arc<watch::Sender<u64>>,
    /// Clerks that rest.
    pub resting: Arc<AtomicU64>,
}

impl Clerk {
    /// # Errors
    /// A change that a site has refused.
    pub async fn run(mut self) -> Result<(), ClusterError> {
        let mut door: Option<Door> = None;
        let mut written = 0u64;
        loop {
            let work = *self.work.borrow_and_update();
            match work {
                Work::Stop => return Ok(()),
                Work::Rest => {
                    self.resting.fetch_add(1, Ordering::SeqCst);
                    let _ = self.work.changed().await;
                    self.resting.fetch_sub(1, Ordering::SeqCst);
                    continue;
                }
                Work::Write => {}
            }
            tokio::time::sleep(PAUSE).await;
            let Some(open) = door.take() else {
                door = self.home.door().await.ok();
                continue;
            };
            let batch = self.batch(&mut written);
            let records: Vec<RecordId> =
                batch.iter().filter_map(|put| RecordId::from_slice(&put.record)).collect();
            match open.put_all(batch).await {
                Ok(_) => {
                    records.into_iter().for_each(|record| self.book.saved(record));
                    self.answered.send_modify(|answered| *answered += 1);
                    door = Some(open);
                }
                // Nobody knows whether it is there.
                Err(ClusterError::Status(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn batch(&mut self, written: &mut u64) -> Vec<Put> {
        let known: Vec<RecordId> = self.book.answered().into_keys().collect();
        let (mut puts, mut taken) = (Vec::new(), Vec::new());
        for _ in 0..self.random.between(1, 12) {
            *written += 1;
            let post = format!("岗位{written}");
            let (record, message) = if known.len() < RECORDS && self.random.chance(500) {
                let mut bytes = [0; 10];
                bytes[..8].copy_from_slice(&self.random.next().to_be_bytes());
                let new = pb::Member {
                    name: "陈一".into(),
                    employer: "示范社会工作服务中心".into(),
                    tier: pb::MemberTier::Ordinary as i32,
                    status: pb::MemberStatus::Active as i32,
                    post: post.clone(),
                    ..pb::Member::default()
                };
                (RecordId::v7(now_ms(), bytes), new)
            } else if known.is_empty() {
                continue;
            } else {
                let edit = pb::Member { post: post.clone(), ..pb::Member::default() };
                (known[self.random.below(known.len())], edit)
            };
            // A record changed twice in a batch would leave open which of the values is meant.
            if !taken.contains(&record) {
                taken.push(record);
                self.book.sending(record, &post);
                puts.push(put_of(MEMBER, Some(record), &message));
            }
        }
        puts
    }
}
