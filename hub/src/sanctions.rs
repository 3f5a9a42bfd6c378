//! Which cities a sanction concerns: those that hold a record with its token.

use std::collections::{BTreeSet, HashMap};

use liandong_node::index::Index;
use liandong_node::rows;
use liandong_node::site::SiteError;
use liandong_proto::fields::{Fields, FieldsBuilder, numbers};
use liandong_proto::id::SiteCode;
use liandong_proto::merge::Change;
use liandong_proto::schema::{self, Kind};
use liandong_proto::state::RecordState;

use crate::fold::Key;

/// Number of the kind "member".
pub const MEMBER: u32 = 1;
/// Number of the kind "sanction".
pub const SANCTION: u32 = 5;

/// Tokens under sanction, and the cities known to hold them.
#[derive(Clone, Debug, Default)]
pub struct Sanctions {
    by_token: HashMap<String, Under>,
}

#[derive(Clone, Debug, Default)]
struct Under {
    sanctions: BTreeSet<Key>,
    holders: BTreeSet<SiteCode>,
}

fn tag(kind: u32, name: &str) -> Option<u32> {
    schema::kind(kind).and_then(|kind: &Kind| kind.field_by_name(name)).map(|field| field.tag)
}

impl Sanctions {
    /// Reads the sanctions of an index, and who holds their tokens: whom a sanction concerned once it concerns for
    /// good, also when no member with its token is left there.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn load(index: &Index) -> Result<Sanctions, SiteError> {
        let mut out = Sanctions::default();
        let Some((token, sites)) = tag(SANCTION, "token").zip(tag(SANCTION, "sites")) else { return Ok(out) };
        out.scan(index, SANCTION, |out, key, state| {
            if let Some(text) = state.fields.str(token) {
                let under = out.by_token.entry(text.to_owned()).or_default();
                under.sanctions.insert(key);
                let known = state.fields.get(sites).map(numbers).unwrap_or_default();
                under.holders.extend(known.into_iter().map(|code| SiteCode(code as u32)));
            }
        })?;
        if !out.by_token.is_empty() {
            out.find_holders(index)?;
        }
        Ok(out)
    }

    fn find_holders(&mut self, index: &Index) -> Result<(), SiteError> {
        let Some(number) = tag(MEMBER, "id_number") else { return Ok(()) };
        self.scan(index, MEMBER, |out, _, state| {
            if let Some(under) = state.fields.str(number).and_then(|text| out.by_token.get_mut(text)) {
                under.holders.insert(state.home);
            }
        })
    }

    fn scan(
        &mut self,
        index: &Index,
        kind: u32,
        mut visit: impl FnMut(&mut Sanctions, Key, &RecordState),
    ) -> Result<(), SiteError> {
        let prefix = rows::records_of(kind);
        for row in index.scan(&prefix, Some(&rows::after_prefix(&prefix))) {
            let (key, value) = row?;
            let Some(key) = rows::parse_record(&key) else { continue };
            visit(self, key, &RecordState::decode(&value)?);
        }
        Ok(())
    }

    /// Whether a change makes a token one that is newly under sanction, so that its holders must be found
    /// among all members first.
    pub fn must_search(&self, kind: u32, set: &Fields) -> Option<String> {
        let token = set.str(tag(SANCTION, "token").filter(|_| kind == SANCTION)?)?;
        (!self.by_token.contains_key(token)).then(|| token.to_owned())
    }

    /// Finds out who holds a token that comes under sanction now.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn search(&mut self, token: &str, index: &Index) -> Result<(), SiteError> {
        self.by_token.entry(token.to_owned()).or_default();
        self.find_holders(index)
    }

    /// The token under sanction that a change concerns, if it does.
    pub fn token_of(&mut self, key: &Key, change: &Change<'_>, state: &RecordState) -> Option<String> {
        match key.0 {
            SANCTION => {
                let token = state.fields.str(tag(SANCTION, "token")?)?.to_owned();
                self.by_token.entry(token.clone()).or_default().sanctions.insert(*key);
                Some(token)
            }
            MEMBER if !self.by_token.is_empty() => {
                let number = tag(MEMBER, "id_number")?;
                change.patch.set.get(number)?;
                let token = state.fields.str(number)?;
                self.by_token.contains_key(token).then(|| token.to_owned())
            }
            _ => None,
        }
    }

    /// The sanctions on a token.
    pub fn of(&self, token: &str) -> Vec<Key> {
        self.by_token.get(token).map(|under| under.sanctions.iter().copied().collect()).unwrap_or_default()
    }

    /// The cities that hold a token, with one more if there is one.
    pub fn holders(&mut self, token: &str, more: Option<SiteCode>) -> Vec<SiteCode> {
        let under = self.by_token.entry(token.to_owned()).or_default();
        under.holders.extend(more);
        under.holders.iter().copied().collect()
    }

    /// The fields of a sanction with these cities; `None` when it names them already.
    pub fn with_sites(state: &RecordState, holders: &[SiteCode]) -> Option<Fields> {
        let sites = tag(SANCTION, "sites")?;
        let known = state.fields.get(sites).map(numbers).unwrap_or_default();
        if holders.iter().map(|site| u64::from(site.0)).eq(known) {
            return None;
        }
        let mut list = FieldsBuilder::new();
        for site in holders {
            list.u64(sites, u64::from(site.0));
        }
        Some(state.fields.patched(&list.finish(), &[]))
    }
}
