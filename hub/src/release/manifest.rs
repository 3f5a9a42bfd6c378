//! What a release says of itself: `manifest.json`.

use std::fmt::Write as _;

use liandong_proto::city;
use liandong_proto::format::Day;
use liandong_proto::id::SiteCode;
use serde::{Deserialize, Serialize};

use super::columns::Role;
use super::rows::CityShare;

/// Goes up when a reader of an older one would go wrong.
pub const FORMAT: u32 = 1;

/// The manifest of a release, or of the part of it that one role reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Number of the release, from 1.
    pub release: u64,
    /// When it was published, milliseconds since 1970.
    pub published_ms: u64,
    /// What whoever published it says of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Generation of the hub's order: 16 hexadecimal digits, since not every reader of JSON keeps so great a number.
    pub hub_generation: String,
    /// Everything up to this place is in it, and nothing behind. Left out for whom counts are all: it counts all changes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hub_seq: u64,
    /// When the hub received the newest of it, milliseconds since 1970.
    pub received_ms: u64,
    /// Which rules put the changes together.
    pub merge_version: u32,
    /// SHA-256 of the names and types of all columns, in hexadecimal.
    pub schema_sha256: String,
    /// How to cite it.
    pub citation: Citation,
    /// How far each city had come.
    pub cities: Vec<City>,
    /// The files, by role and name.
    pub tables: Vec<Table>,
}

/// A line to cite a release with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Citation {
    /// Chinese.
    pub zh: String,
    /// English.
    pub en: String,
}

impl Citation {
    /// That of a release; with its place in the hub's order, for whom that is.
    pub fn new(release: u64, published_ms: u64, hub_seq: Option<u64>, note: &str) -> Citation {
        let day = Day::in_china(published_ms);
        let mut zh = format!("广东省社会工作者联合会，会员与评优数据集第 {release} 版，{day}");
        let mut en = format!("Guangdong federation of social workers, dataset release {release}, {day}");
        if let Some(seq) = hub_seq {
            let _ = write!(zh, "，全省次序 {seq}");
            let _ = write!(en, ", order {seq}");
        }
        if !note.is_empty() {
            let _ = write!(zh, "，{note}");
            let _ = write!(en, ", {note}");
        }
        Citation { zh, en }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A city in a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct City {
    /// GB/T 2260 code.
    pub site: u32,
    /// Its name.
    pub name_zh: String,
    /// Its name.
    pub name_en: String,
    /// When the hub received the newest of it, milliseconds since 1970; 0 for a city that has never synced.
    pub last_received_ms: u64,
    /// How much of it; left out for whom counts are all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<Counted>,
}

/// What is counted of a city.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Newest entry of the city's log that is in the release.
    pub last_seq: u64,
    /// Records in the release.
    pub records: u64,
    /// Records that are left out, since something is missing or waits to be settled.
    pub incomplete: u64,
    /// Findings that name the city and are not settled.
    pub open_findings: u64,
    /// Records in the release among all that could be, in thousandths; 1000 where there are none.
    pub completeness_permille: u64,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Who reads it.
    pub role: Role,
    /// Name of the table.
    pub name: String,
    /// Rows.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

impl Table {
    /// Where the file is within the release.
    pub fn path(&self) -> String {
        format!("{}/{}.parquet", self.role.name(), self.name)
    }
}

impl Manifest {
    /// What one role may know of it.
    pub fn of(&self, role: Role) -> Manifest {
        let mut part = self.clone();
        part.tables.retain(|table| table.role == role);
        if role == Role::Public {
            part.cities.iter_mut().for_each(|city| city.counted = None);
            (part.note, part.hub_seq) = (String::new(), 0);
            part.citation = Citation::new(part.release, part.published_ms, None, "");
        }
        part
    }

    /// The table of that name for a role.
    pub fn table(&self, role: Role, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.role == role && table.name == name)
    }
}

/// A city as the manifest has it.
pub fn city(site: SiteCode, share: &CityShare) -> City {
    let (zh, en) = city::city(site).map_or(("广东省", "Guangdong"), |city| (city.zh, city.en));
    let all = share.records + share.incomplete;
    City {
        site: site.0,
        name_zh: zh.into(),
        name_en: en.into(),
        last_received_ms: share.last_received_ms,
        counted: Some(Counted {
            last_seq: share.last_seq,
            records: share.records,
            incomplete: share.incomplete,
            open_findings: share.open_findings,
            completeness_permille: (share.records * 1_000).checked_div(all).unwrap_or(1_000),
        }),
    }
}
