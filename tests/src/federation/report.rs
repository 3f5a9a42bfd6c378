//! What came of it: one line for each city, and the province.

use std::collections::BTreeMap;

use liandong_node::text::Lang;
use liandong_proto::city::city;
use liandong_proto::id::SiteCode;
use liandong_proto::pb::node::v1::{KindCount, StatusResponse};
use liandong_proto::schema::{self, Kind};
use serde_json::{Map, Value, json};
use unicode_width::UnicodeWidthStr as _;

use super::import::Imported;
use super::story::{CASE, MEMBER, NOMINATION};
use crate::cluster::Standing;

/// Numbers of a city, or of all together.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    /// Rows of the roster.
    rows: u64,
    /// Of them sent back.
    rejected: u64,
    /// Members, nominations and cases in the city's own index.
    records: u64,
    /// Changes that the hub has confirmed.
    pushed: u64,
    /// The city's records in the province's merged state; drafts count, though their content is sealed.
    merged: u64,
    /// Open findings that name the city.
    findings: u64,
    /// Records in the city's feed that it has not confirmed.
    lag: u64,
}

/// The result.
#[derive(Debug, Clone)]
pub struct Report {
    lines: BTreeMap<SiteCode, Line>,
    kinds: Vec<(&'static Kind, u64)>,
    hub_seq: u64,
    open_findings: u64,
    seconds: f64,
}

const HEADINGS: [[&str; 2]; 9] = [
    ["城市", "city"],
    ["代码", "code"],
    ["读入行", "rows"],
    ["退回", "rejected"],
    ["记录", "records"],
    ["已上报", "pushed"],
    ["已汇总", "merged"],
    ["核对事项", "findings"],
    ["滞后", "lag"],
];

impl Report {
    /// From what the imports said, what cities and hub say of each other, and the hub's own status.
    pub fn new(
        imports: &BTreeMap<SiteCode, Imported>,
        standing: &BTreeMap<SiteCode, Standing>,
        hub: &StatusResponse,
        seconds: f64,
    ) -> Report {
        let line = |(code, standing): (&SiteCode, &Standing)| {
            let imported = imports.get(code).cloned().unwrap_or_default();
            (*code, Line::new(&imported, standing))
        };
        let kind = |count: &KindCount| Some((schema::kind(count.kind)?, count.records));
        Report {
            lines: standing.iter().map(line).collect(),
            kinds: hub.counts.iter().filter_map(kind).collect(),
            hub_seq: hub.hub_seq,
            open_findings: hub.open_findings,
            seconds,
        }
    }

    fn total(&self) -> Line {
        self.lines.values().fold(Line::default(), |sum, line| Line {
            rows: sum.rows + line.rows,
            rejected: sum.rejected + line.rejected,
            records: sum.records + line.records,
            pushed: sum.pushed + line.pushed,
            merged: sum.merged + line.merged,
            findings: sum.findings + line.findings,
            lag: sum.lag + line.lag,
        })
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let name = |code: &SiteCode| city(*code).map_or(("", ""), |city| (city.zh, city.en));
        let cities: Vec<Value> = self
            .lines
            .iter()
            .map(|(code, line)| {
                let mut json = line.json();
                json["code"] = code.to_string().into();
                (json["name_zh"], json["name_en"]) = (name(code).0.into(), name(code).1.into());
                json
            })
            .collect();
        let kinds: Map<String, Value> =
            self.kinds.iter().map(|(kind, records)| (kind.name.to_owned(), (*records).into())).collect();
        let mut province = self.total().json();
        province["kinds"] = kinds.into();
        province["hub_seq"] = self.hub_seq.into();
        province["open_findings"] = self.open_findings.into();
        json!({ "equal": true, "seconds": self.seconds, "cities": cities, "province": province })
    }

    /// For people.
    pub fn text(&self, lang: Lang) -> String {
        let mut table = vec![HEADINGS.map(|[zh, en]| lang.pick(zh, en).to_owned())];
        for (code, line) in &self.lines {
            let name = city(*code).map_or("", |city| lang.pick(city.zh, city.en));
            table.push(line.cells(name, &code.to_string()));
        }
        table.push(self.total().cells(lang.pick("全省", "all"), &SiteCode::PROVINCE.to_string()));
        let kinds: Vec<String> =
            self.kinds.iter().map(|(kind, records)| format!("{} {records}", lang.of(kind.title))).collect();
        let (kinds, hub_seq, open, seconds) =
            (kinds.join(lang.pick("，", ", ")), self.hub_seq, self.open_findings, self.seconds);
        let below = lang.pick(
            format!("省级汇总：{kinds}；次序 {hub_seq}；未处理的核对事项 {open}\n市、省两级记录全部一致，用时 {seconds:.1} 秒"),
            format!(
                "the province: {kinds}; order {hub_seq}; open findings {open}\ncity and province show the same records \
                 everywhere, after {seconds:.1} seconds"
            ),
        );
        aligned(&table) + &below
    }
}

impl Line {
    fn new(imported: &Imported, Standing { node, hub }: &Standing) -> Line {
        let is_own = |count: &&KindCount| [MEMBER, NOMINATION, CASE].contains(&count.kind);
        Line {
            rows: imported.rows,
            rejected: imported.rejected,
            records: node.counts.iter().filter(is_own).map(|count| count.records).sum(),
            pushed: node.confirmed_seq,
            merged: hub.records + hub.drafts,
            findings: node.open_findings,
            lag: hub.lag_changes,
        }
    }

    fn json(&self) -> Value {
        json!({
            "rows": self.rows,
            "rejected": self.rejected,
            "records": self.records,
            "pushed": self.pushed,
            "merged": self.merged,
            "findings": self.findings,
            "lag_changes": self.lag,
        })
    }

    fn cells(&self, name: &str, code: &str) -> [String; 9] {
        let Line { rows, rejected, records, pushed, merged, findings, lag } = *self;
        let [rows, rejected, records, pushed, merged, findings, lag] =
            [rows, rejected, records, pushed, merged, findings, lag].map(|number| number.to_string());
        [name.into(), code.into(), rows, rejected, records, pushed, merged, findings, lag]
    }
}

/// Columns of names to the left, columns of numbers to the right; Chinese characters take two places.
fn aligned<const N: usize>(table: &[[String; N]]) -> String {
    const NAMES: usize = 2;
    let mut out = String::new();
    for row in table {
        for (at, cell) in row.iter().enumerate() {
            let width = table.iter().map(|row| row[at].width()).max().unwrap_or(0);
            let padding = " ".repeat(width - cell.width());
            let (before, after) = if at < NAMES { ("", padding.as_str()) } else { (padding.as_str(), "") };
            let gap = if at + 1 < N { "  " } else { "\n" };
            for part in [before, cell, after, gap] {
                out.push_str(part);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_left_and_numbers_right() {
        let table = [["城市", "code", "n"], ["广州市", "440100", "1200"]].map(|row| row.map(str::to_owned));
        assert_eq!(aligned(&table), "城市    code       n\n广州市  440100  1200\n");
    }

    #[test]
    fn the_province_is_the_sum_of_its_cities() {
        let line = Line { rows: 5, rejected: 1, records: 4, pushed: 7, merged: 4, findings: 2, lag: 0 };
        let lines = [(SiteCode(440_100), line), (SiteCode(440_300), line)].into();
        let report = Report { lines, kinds: Vec::new(), hub_seq: 14, open_findings: 4, seconds: 1.0 };
        let json = report.json();
        assert_eq!(
            (json["province"]["rows"].as_u64(), json["cities"][1]["pushed"].as_u64()),
            (Some(10), Some(7))
        );
        assert!(report.text(Lang::Zh).contains("深圳市"));
    }
}
