//! Readers: at every city and at the hub it is looked all the time whether something acknowledged is missing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::record::v1 as pb;
use tokio::sync::watch;

use super::book::Book;
use super::clerk::{MEMBER, Work};
use crate::cluster::{ClusterError, Door, Home, decoded, id_of};

const PAUSE: Duration = Duration::from_millis(50);

/// What a site shows: for each member its post.
///
/// # Errors
/// [`ClusterError::Status`] when it goes meanwhile.
pub async fn posts(door: &Door) -> Result<BTreeMap<RecordId, String>, ClusterError> {
    let members = door.list(MEMBER, &[]).await?;
    Ok(members.iter().map(|record| (id_of(record), decoded::<pb::Member>(record).post)).collect())
}

/// Reads at a city.
///
/// # Errors
/// What is missing.
pub async fn city(
    home: Home,
    book: Book,
    work: watch::Receiver<Work>,
    looks: Arc<AtomicU64>,
) -> Result<(), String> {
    while *work.borrow() != Work::Stop {
        tokio::time::sleep(PAUSE).await;
        let Ok(door) = home.door().await else { continue };
        let before = book.answered();
        let Ok(shown) = posts(&door).await else { continue };
        book.check(&before, &shown).map_err(|why| format!("{}: {why}", home.site))?;
        looks.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Reads at the hub: what it has shown once never goes back, nothing is there that nobody wrote, and what it has given a
/// receipt for it holds.
///
/// # Errors
/// What is wrong.
pub async fn hub(
    home: Home,
    cities: Vec<(Home, Book)>,
    work: watch::Receiver<Work>,
    looks: Arc<AtomicU64>,
) -> Result<(), String> {
    let mut seen: BTreeMap<RecordId, usize> = BTreeMap::new();
    while *work.borrow() != Work::Stop {
        tokio::time::sleep(PAUSE).await;
        let mut confirmed = BTreeMap::new();
        for (city, _) in &cities {
            let Ok(door) = city.door().await else { continue };
            let Ok(status) = door.status().await else { continue };
            confirmed.insert(city.site, status.confirmed_seq);
        }
        let Ok(door) = home.door().await else { continue };
        let Ok(held) = door.cities().await else { continue };
        for city in held.cities {
            let receipt = confirmed.get(&SiteCode(city.site)).copied().unwrap_or(0);
            if city.seq < receipt {
                return Err(format!(
                    "the hub holds {} entries of {}, and has given a receipt for {receipt}",
                    city.seq, city.site
                ));
            }
        }
        let Ok(shown) = posts(&door).await else { continue };
        for (record, seen) in &seen {
            if !shown.contains_key(record) {
                return Err(format!("the hub has shown record {record} with value {seen}, and does no more"));
            }
        }
        for (record, value) in shown {
            let number = cities.iter().find_map(|(_, book)| book.number(record, &value));
            let number = number.ok_or(format!("the hub shows {value} at {record}, which nobody wrote"))?;
            let before = seen.insert(record, number).unwrap_or(0);
            if number < before {
                return Err(format!("the hub shows value {number} of {record}, and has shown {before}"));
            }
        }
        looks.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
