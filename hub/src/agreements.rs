//! Which cities may sync: those with an agreement in force today, as the records of its kind say. Joining needs none.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use liandong_node::index::{Index, Staged};
use liandong_node::now::now_ms;
use liandong_node::rows;
use liandong_node::site::SiteError;
use liandong_proto::fields::Fields;
use liandong_proto::format::{Date, Day};
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::record::v1 as record;
use liandong_proto::pb::sync::v1 as sync;
use liandong_proto::session::refusal;
use liandong_proto::sign::VerifyingKey;
use liandong_proto::state::RecordState;
use liandong_proto::validate::today;
use prost::Message as _;

use crate::ca::Identity;
use crate::hub::Hub;
use crate::registry::not_a_member;

/// Number of the kind "agreement".
pub const AGREEMENT: u32 = 9;
/// Tag of its field with the fingerprint of the city's signing key.
pub const SIGNING_KEY: u32 = 7;
/// Hexadecimal digits of a fingerprint.
pub const FINGERPRINT_DIGITS: usize = 32;

/// Agreements that are in force, whatever the day.
#[derive(Clone, Debug, Default)]
pub struct Agreements {
    by_record: BTreeMap<RecordId, Term>,
}

/// What of an agreement decides whether a city may sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    city: SiteCode,
    from: Day,
    to: Day,
    /// Hexadecimal digits of the fingerprint of the city's signing key; `None` for whichever is enrolled. A text that
    /// gives fewer than all of them fits no key.
    key: Option<String>,
}

/// Why a city may not sync today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// No agreement was ever in force, or those that were have been ended.
    None,
    /// The newest term is over.
    Over(Day),
    /// The first term begins later.
    Early(Day),
    /// There is one for another signing key.
    OtherKey,
}

impl Agreements {
    /// Reads the agreements of an index.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn load(index: &Index) -> Result<Agreements, SiteError> {
        let mut out = Agreements::default();
        let prefix = rows::records_of(AGREEMENT);
        for row in index.scan(&prefix, Some(&rows::after_prefix(&prefix))) {
            let (key, value) = row?;
            if let Some((_, id)) = rows::parse_record(&key) {
                out.take(id, term(&RecordState::decode(&value)?));
            }
        }
        Ok(out)
    }

    /// Takes over the agreements among rows that have changed.
    pub fn fold(&mut self, rows: &[Staged]) {
        for (id, term) in changed(rows) {
            self.take(id, term);
        }
    }

    /// Takes over one agreement.
    pub fn take(&mut self, id: RecordId, term: Option<Term>) {
        match term {
            Some(term) => drop(self.by_record.insert(id, term)),
            None => drop(self.by_record.remove(&id)),
        }
    }

    /// Until when a city may sync. `keys` are those that its log is signed with: the one enrolled, and those before it.
    ///
    /// # Errors
    /// Why it may not.
    pub fn check(&self, site: SiteCode, today: Day, keys: &[VerifyingKey]) -> Result<Day, Lack> {
        let terms: Vec<&Term> = self.by_record.values().filter(|term| term.city == site).collect();
        let current: Vec<&&Term> = terms.iter().filter(|it| it.from <= today && today <= it.to).collect();
        if current.is_empty() {
            let over = terms.iter().filter(|term| term.to < today).map(|term| term.to).max();
            let early = terms.iter().filter(|term| today < term.from).map(|term| term.from).min();
            return Err(early.map(Lack::Early).or(over.map(Lack::Over)).unwrap_or(Lack::None));
        }
        let keys: Vec<String> = keys.iter().map(|key| digits(&key.fingerprint())).collect();
        let fits = |term: &&&&Term| term.key.as_ref().is_none_or(|key| keys.contains(key));
        current.iter().filter(fits).map(|term| term.to).max().ok_or(Lack::OtherKey)
    }
}

impl Lack {
    /// The answer to a city.
    pub fn refusal(self) -> sync::Refusal {
        let (zh, en) = match self {
            Lack::None => (
                "省协会还没有登记与本市生效的数据协议".to_owned(),
                "the province has registered no agreement in force with this city".to_owned(),
            ),
            Lack::Over(day) => {
                (format!("与本市的数据协议已于 {day} 到期"), format!("the agreement with this city ended on {day}"))
            }
            Lack::Early(day) => {
                (format!("与本市的数据协议 {day} 才生效"), format!("the agreement with this city begins on {day}"))
            }
            Lack::OtherKey => (
                "数据协议写明的签名密钥指纹与本市登记的不同，请与省协会核对 status 显示的指纹".to_owned(),
                "the agreement names another signing key than this city has enrolled; compare the fingerprint that status \
                 shows with the province"
                    .to_owned(),
            ),
        };
        refusal(
            sync::refusal::Code::NoAgreement,
            &format!("{zh}；同步暂停，本地工作不受影响，省协会登记协议后自动同步"),
            &format!(
                "{en}; nothing syncs, local work goes on, and sync goes on by itself once the province has registered one"
            ),
        )
    }
}

/// The agreements among rows that change: what each is from then on.
pub fn changed(rows: &[Staged]) -> Vec<(RecordId, Option<Term>)> {
    let prefix = rows::records_of(AGREEMENT);
    let agreements = rows.iter().filter(|row| row.key.starts_with(&prefix));
    let read = |row: &Staged| {
        let (_, id) = rows::parse_record(&row.key)?;
        let state = row.new.as_ref().and_then(|value| RecordState::decode(value).ok());
        Some((id, state.as_ref().and_then(term)))
    };
    agreements.filter_map(read).collect()
}

/// The term of an agreement that is in force; `None` of any other.
fn term(state: &RecordState) -> Option<Term> {
    let agreement = record::Agreement::decode(state.fields.bytes().clone()).ok()?;
    if state.deleted() || agreement.status() != record::AgreementStatus::InForce {
        return None;
    }
    let day = |text: &str| Date::from_iso(text).ok().and_then(Date::to_day);
    Some(Term {
        city: SiteCode(agreement.city),
        from: day(&agreement.from)?,
        to: day(&agreement.to)?,
        key: (!agreement.signing_key.is_empty()).then(|| digits(&agreement.signing_key)),
    })
}

/// The hexadecimal digits of a fingerprint, however it was written.
pub fn digits(fingerprint: &str) -> String {
    fingerprint.chars().filter(char::is_ascii_hexdigit).map(|digit| digit.to_ascii_lowercase()).collect()
}

/// Whether fields of an agreement that are to be set name no key, or one that there may be.
pub fn fits_some_key(set: &Fields) -> bool {
    let agreement = record::Agreement::decode(set.bytes().clone()).unwrap_or_default();
    agreement.signing_key.is_empty() || digits(&agreement.signing_key).len() == FINGERPRINT_DIGITS
}

impl Hub {
    /// Why a member's session cannot go on now; `None` when it may. Whoever only takes its own entries back needs no
    /// agreement for that.
    pub(crate) fn cut_off(&self, identity: Identity, needs_agreement: bool) -> Option<sync::Refusal> {
        let published = self.shared.published.read().unwrap_or_else(PoisonError::into_inner);
        let registry = &published.registry;
        let line = registry.members.line(identity);
        if line.is_empty() {
            return Some(not_a_member());
        }
        let check = || registry.agreements.check(identity.site, today(now_ms()), &line);
        needs_agreement.then(check)?.err().map(Lack::refusal)
    }
}

#[cfg(test)]
mod tests;
