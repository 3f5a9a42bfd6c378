//! What an erasure must not change, and whom it must reach.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use liandong_hub::hub::{Hub, HubOptions};
use liandong_node::site::{By, Query, Records, Site, SiteError};
use liandong_proto::fields::Fields;
use liandong_proto::id::RecordId;
use liandong_proto::pb::node::v1::Comparison;
use liandong_proto::pb::record::v1 as record;
use prost::Message as _;

use crate::{City, FINDING, GUANGZHOU, MEMBER, Province, count, hub_dir, member, put, site_dir, write};

const SANCTION: u32 = 5;
const SHENZHEN: u32 = 440_300;
const NAME: &str = "欧阳须删除";

async fn until(what: &str, holds: impl Fn() -> bool) {
    let started = tokio::time::Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One of a resident number that nobody has: the address code is that of a whole city.
fn numbered() -> record::Member {
    let (id_number, birth_date) = ("440100199001010023".into(), "1990-01-01".into());
    record::Member { id_number, birth_date, name: NAME.into(), ..member(1) }
}

fn all(hub: &Hub) -> Vec<(RecordId, Fields, String)> {
    let kinds = [MEMBER, SANCTION, FINDING].into_iter();
    let page = |kind| hub.list(&Query { kind, page_size: 1_000, ..Query::default() }).expect("a page");
    let shown = kinds.flat_map(|kind| page(kind).records);
    shown.map(|shown| (shown.record, shown.fields, shown.version)).collect()
}

fn sanctioned(hub: &Hub) -> Vec<u32> {
    let page = hub.list(&Query { kind: SANCTION, ..Query::default() }).expect("a page");
    let [shown] = page.records.as_slice() else { panic!("one sanction") };
    record::Sanction::decode(shown.fields.bytes().clone()).expect("a sanction").sites
}

async fn erase(site: &Arc<Site>, id: RecordId) {
    let site = Arc::clone(site);
    let erased = tokio::task::spawn_blocking(move || site.erase(MEMBER, &[id], &By::default()));
    erased.await.expect("joined").expect("erased");
}

/// Waits until these cities and the hub are all the holders of what was erased, and all have proved it.
async fn proved(hub: &Hub, wanted: &[u32]) {
    let holders = || -> Result<Vec<u32>, SiteError> {
        let of = |kind: u32| hub.erasures().map(|all| all.into_iter().find(|it| it.kind == kind));
        let Some(it) = of(MEMBER)?.filter(|it| it.outstanding.is_empty()) else { return Ok(Vec::new()) };
        let mut holders: Vec<u32> = it.proofs.iter().map(|proof| proof.holder).collect();
        holders.sort_unstable();
        Ok(holders)
    };
    until("all have proved it", || holders().expect("readable") == wanted).await;
}

fn holds(dir: &Path, what: &str) -> bool {
    let entries = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.into_iter().any(|path| match path.is_dir() {
        true => holds(&path, what),
        false => String::from_utf8_lossy(&std::fs::read(&path).expect("a file")).contains(what),
    })
}

/// Which city a sanction concerns was found by the token of a member, of which nothing is left.
#[tokio::test(flavor = "multi_thread")]
async fn a_sanction_concerns_the_city_of_an_erased_member_after_a_rebuild_and_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let hub = hub_dir(dir.path());
    let province = Province::start(&hub).await;
    let site = City::open(&site_dir(dir.path(), GUANGZHOU));
    let id = write(site.as_ref(), vec![put(MEMBER, None, &numbered())])[0];
    let city = City::connect(site, &province).await;
    city.equal().await;
    let shown = province.hub.get(MEMBER, id).expect("readable").expect("there");
    let sanction = record::Sanction {
        token: record::Member::decode(shown.fields.bytes().clone()).expect("a member").id_number,
        kind: record::SanctionKind::PublicCensure as i32,
        from: "2025-12-01".into(),
        ..record::Sanction::default()
    };
    write(province.hub.as_ref(), vec![put(SANCTION, None, &sanction)]);
    until("the sanction is at the city", || count(city.site.as_ref(), SANCTION) == 1).await;
    erase(&city.site, id).await;
    proved(&province.hub, &[440_000, GUANGZHOU]).await;
    assert_eq!(sanctioned(&province.hub), [GUANGZHOU]);
    let before = all(&province.hub);
    let site = city.disconnect().await;
    province.close().await;

    let again = Hub::rebuild(&HubOptions::new(&hub), &mut |_| {}).expect("rebuilt");
    assert_eq!(all(&again), before);
    again.close().expect("closed");
    drop(again);
    let province = Province::start(&hub).await;
    let city = City::connect(site, &province).await;
    city.equal().await;
    // Another city has the person as well.
    let other = City::open(&site_dir(dir.path(), SHENZHEN));
    write(other.as_ref(), vec![put(MEMBER, None, &numbered())]);
    let other = City::connect(other, &province).await;
    until("the sanction is at the other city", || count(other.site.as_ref(), SANCTION) == 1).await;
    assert_eq!(sanctioned(&province.hub), [GUANGZHOU, SHENZHEN]);
    for city in [city, other] {
        city.equal().await;
        assert_eq!(count(city.site.as_ref(), SANCTION), 1);
        city.disconnect().await.close().expect("closed");
    }
    province.close().await;
}

/// Two cities come to one record where its id follows from the row. The second's writing is refused, but it is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_city_whose_writing_was_refused_is_told_to_erase_it_whenever_it_comes() {
    for comes_late in [false, true] {
        let dir = tempfile::tempdir().expect("a directory");
        let hub = hub_dir(dir.path());
        let province = Province::start(&hub).await;
        let site = City::open(&site_dir(dir.path(), GUANGZHOU));
        let id = write(site.as_ref(), vec![put(MEMBER, None, &member(1))])[0];
        let city = City::connect(site, &province).await;
        city.equal().await;
        let path = site_dir(dir.path(), SHENZHEN);
        let other = City::open(&path);
        let named = record::Member { name: NAME.into(), ..member(1) };
        write(other.as_ref(), vec![put(MEMBER, Some(id), &named)]);
        assert!(holds(&path, NAME));
        let other = if comes_late {
            erase(&city.site, id).await;
            proved(&province.hub, &[440_000, GUANGZHOU]).await;
            City::connect(other, &province).await
        } else {
            let other = City::connect(other, &province).await;
            until("it is refused", || count(province.hub.as_ref(), FINDING) > 0).await;
            erase(&city.site, id).await;
            other
        };
        proved(&province.hub, &[440_000, GUANGZHOU, SHENZHEN]).await;
        assert!(!holds(&path, NAME) && !holds(&hub, NAME));
        let before = all(&province.hub);
        for city in [city, other] {
            // Until it was told, the second city showed a record that is not its own.
            let is_equal = || city.site.status().expect("a status").comparison() == Comparison::Equal;
            until("the same is shown", is_equal).await;
            city.disconnect().await.close().expect("closed");
        }
        province.close().await;
        let again = Hub::rebuild(&HubOptions::new(&hub), &mut |_| {}).expect("rebuilt");
        assert_eq!(all(&again), before);
        proved(&again, &[440_000, GUANGZHOU, SHENZHEN]).await;
        again.close().expect("closed");
    }
}
