//! The one file that names the keys of a site's index.
//!
//! | key | means | moved by | if lost |
//! |---|---|---|---|
//! | `h` | where the site stands: head, cursor, nonces, at a node also the sharing rules accepted last and where in the log that stands ([`SiteRow`](liandong_proto::pb::log::v1::SiteRow)) | every append | replay from the start of the log |
//! | `r` kind(2) id(16) | state of one record | own changes, deliveries; at the hub the merge | the record is not shown until a rebuild |
//! | `o` site(4) epoch(16) | at the hub: what it holds of an origin | commits, sessions | nodes would be asked for everything again |
//! | `c` site(4) | at the hub: a city as a member, its keys and invitation ([`CityRow`](liandong_proto::pb::log::v1::CityRow)) | registry changes | no city could sync, invitations would be void |
//! | `e` kind(2) id(16) | the record is to be erased, and who has proved that it is ([`ErasureRow`](liandong_proto::pb::log::v1::ErasureRow)) | erasures, proofs | payloads would stay until a rebuild, proofs be asked for again |
//! | `f` site(4) hub_seq(8) kind(2) id(16) | at the hub: the record has news for the site | commits | the site would never hear of a change |

//!
//! A store whose rows are of another format than [`FORMAT`] is made again from the log, also after a step back.

use bytes::{BufMut as _, Bytes, BytesMut};
use liandong_proto::id::{Epoch, Origin, RecordId, SiteCode};

/// Format of keys and values: goes up when a value or a key is written otherwise than before.
pub const FORMAT: u32 = 1;
/// Where the site stands.
pub const SITE: &[u8] = b"h";
const RECORD: u8 = b'r';
const ORIGIN: u8 = b'o';
const FEED: u8 = b'f';
const CITY: u8 = b'c';
const ERASURE: u8 = b'e';

/// The state of one record.
pub fn record(kind: u32, id: RecordId) -> Bytes {
    let mut key = BytesMut::with_capacity(19);
    key.put_u8(RECORD);
    key.put_u16(kind as u16);
    key.put_slice(&id.0);
    key.freeze()
}

/// All records of a kind: the prefix of their keys.
pub fn records_of(kind: u32) -> Bytes {
    let mut key = BytesMut::with_capacity(3);
    key.put_u8(RECORD);
    key.put_u16(kind as u16);
    key.freeze()
}

/// All records: the prefix of their keys.
pub const RECORDS: &[u8] = &[RECORD];

/// Kind and id of a record's key.
pub fn parse_record(key: &[u8]) -> Option<(u32, RecordId)> {
    let rest = key.strip_prefix(&[RECORD])?;
    let (kind, id) = rest.split_at_checked(2)?;
    Some((u32::from(u16::from_be_bytes(kind.try_into().ok()?)), RecordId::from_slice(id)?))
}

/// What the hub holds of an origin.
pub fn origin(origin: Origin) -> Bytes {
    let mut key = BytesMut::with_capacity(21);
    key.put_u8(ORIGIN);
    key.put_u32(origin.site.0);
    key.put_slice(&origin.epoch.0);
    key.freeze()
}

/// All origins: the prefix of their keys.
pub const ORIGINS: &[u8] = &[ORIGIN];

/// The origin of a key.
pub fn parse_origin(key: &[u8]) -> Option<Origin> {
    let rest = key.strip_prefix(&[ORIGIN])?;
    let (site, epoch) = rest.split_at_checked(4)?;
    let site = SiteCode(u32::from_be_bytes(site.try_into().ok()?));
    Some(Origin { site, epoch: Epoch::from_slice(epoch)? })
}

/// A city as a member.
pub fn city(site: SiteCode) -> Bytes {
    let mut key = BytesMut::with_capacity(5);
    key.put_u8(CITY);
    key.put_u32(site.0);
    key.freeze()
}

/// All cities: the prefix of their keys.
pub const CITIES: &[u8] = &[CITY];

/// The city of a key.
pub fn parse_city(key: &[u8]) -> Option<SiteCode> {
    let site = key.strip_prefix(&[CITY])?;
    Some(SiteCode(u32::from_be_bytes(site.try_into().ok()?)))
}

/// The erasure of a record.
pub fn erasure(kind: u32, id: RecordId) -> Bytes {
    let mut key = BytesMut::with_capacity(19);
    key.put_u8(ERASURE);
    key.put_u16(kind as u16);
    key.put_slice(&id.0);
    key.freeze()
}

/// All erasures: the prefix of their keys.
pub const ERASURES: &[u8] = &[ERASURE];

/// Kind and id of an erasure's key.
pub fn parse_erasure(key: &[u8]) -> Option<(u32, RecordId)> {
    let (kind, id) = key.strip_prefix(&[ERASURE])?.split_at_checked(2)?;
    Some((u32::from(u16::from_be_bytes(kind.try_into().ok()?)), RecordId::from_slice(id)?))
}

/// A record's place in a site's feed.
pub fn feed(site: SiteCode, hub_seq: u64, kind: u32, id: RecordId) -> Bytes {
    let mut key = BytesMut::with_capacity(31);
    key.put_u8(FEED);
    key.put_u32(site.0);
    key.put_u64(hub_seq);
    key.put_u16(kind as u16);
    key.put_slice(&id.0);
    key.freeze()
}

/// The first key of a site's feed at or behind a place.
pub fn feed_from(site: SiteCode, hub_seq: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(13);
    key.put_u8(FEED);
    key.put_u32(site.0);
    key.put_u64(hub_seq);
    key.freeze()
}

/// The first key behind a site's feed.
pub fn feed_end(site: SiteCode) -> Bytes {
    feed_from(SiteCode(site.0 + 1), 0)
}

/// Place, kind and id of a feed key.
pub fn parse_feed(key: &[u8]) -> Option<(u64, u32, RecordId)> {
    let rest = key.strip_prefix(&[FEED])?;
    let place = u64::from_be_bytes(rest.get(4..12)?.try_into().ok()?);
    let kind = u16::from_be_bytes(rest.get(12..14)?.try_into().ok()?);
    Some((place, u32::from(kind), RecordId::from_slice(rest.get(14..)?)?))
}

/// The first key behind all that begin with `prefix`.
pub fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_and_sort_by_place() {
        let id = RecordId([7; 16]);
        assert_eq!(parse_record(&record(3, id)), Some((3, id)));
        let site = SiteCode(440_100);
        assert_eq!(parse_feed(&feed(site, 258, 3, id)), Some((258, 3, id)));
        assert!(feed(site, 255, 3, id) < feed(site, 256, 1, id));
        assert!(feed(site, u64::MAX, 3, id) < feed_end(site));
        let origin_ = Origin { site, epoch: Epoch([9; 16]) };
        assert_eq!(parse_origin(&origin(origin_)), Some(origin_));
        assert_eq!(parse_city(&city(site)), Some(site));
        assert_eq!(parse_erasure(&erasure(3, id)), Some((3, id)));
        assert_eq!(after_prefix(&[1, 255]), vec![2]);
    }
}
