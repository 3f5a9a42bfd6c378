//! Rows that no number names: the same name and mobile mean the same record; without a mobile, the same open fields do,
//! unless that leaves a doubt.

use std::collections::HashMap;

use liandong_proto::fields::Fields;
use liandong_proto::format::Date;
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::schema::{Field, Format, Kind, Pii, Share};

use super::known::{Doubt, Key, Means, Seen, first_half, key_of};

/// Sets keys of a name with a mobile apart from those of single fields.
const CONTACT: u32 = u32::MAX;

/// What is known of a name with a mobile.
#[derive(Debug, Clone)]
struct Contact {
    seen: Seen,
    /// Several records have it.
    is_shared: bool,
    birth: Option<Date>,
    /// Other numbers of papers.
    codes: Vec<(u32, [u8; 8])>,
}

/// What is known of a record whose id follows from the row that made it.
#[derive(Debug, Clone)]
struct Derived {
    /// Its fields that are not open.
    hidden: Vec<(u32, [u8; 8])>,
    deleted_at: Option<u64>,
    /// A row of this sheet means it.
    is_taken: bool,
}

/// Records and rows by what is left when no number names them.
#[derive(Debug)]
pub struct Unnamed {
    kind: &'static Kind,
    site: SiteCode,
    contacts: HashMap<Key, Contact>,
    derived: HashMap<RecordId, Derived>,
}

impl Unnamed {
    /// Nothing yet.
    pub fn new(kind: &'static Kind, site: SiteCode) -> Unnamed {
        Unnamed { kind, site, contacts: HashMap::new(), derived: HashMap::new() }
    }

    /// Notes a record that there is, or was until it was deleted; the living ones come first.
    pub fn note(&mut self, record: RecordId, fields: &Fields, deleted_at: Option<u64>) {
        if let Some((_, key)) = self.contact_key(fields) {
            let new = self.contact(fields, Seen::record(record, deleted_at));
            match self.contacts.get_mut(&key) {
                None => drop(self.contacts.insert(key, new)),
                Some(known) if deleted_at.is_none() => known.is_shared = true,
                Some(_) => {}
            }
        }
        if record.is_derived() {
            let hidden = self.hidden(fields);
            self.derived.insert(record, Derived { hidden, deleted_at, is_taken: false });
        }
    }

    /// A number names the row; its name and mobile are taken all the same.
    pub fn take(&mut self, row: u32, content: [u8; 8], fields: &Fields, record: Option<RecordId>) {
        if let Some((_, key)) = self.contact_key(fields) {
            let seen = Seen { record, deleted_at: None, row, content };
            let mine = self.contact(fields, seen);
            self.contacts.insert(key, mine);
        }
        if let Some(derived) = record.and_then(|record| self.derived.get_mut(&record)) {
            derived.is_taken = true;
        }
    }

    /// Says which record a row means, and remembers the row.
    pub fn means(&mut self, row: u32, content: [u8; 8], fields: &Fields) -> Means {
        let found = match self.by_contact(content, fields) {
            Some(means) => means,
            None => self.by_open_fields(fields),
        };
        match found {
            Means::New(record) => {
                let hidden = self.hidden(fields);
                let new = record.map(|id| (id, Derived { hidden, deleted_at: None, is_taken: true }));
                self.derived.extend(new);
                self.take(row, content, fields, None);
            }
            Means::Record(record) => self.take(row, content, fields, Some(record)),
            _ => {}
        }
        found
    }

    fn by_contact(&self, content: [u8; 8], fields: &Fields) -> Option<Means> {
        let (tag, key) = self.contact_key(fields)?;
        let known = self.contacts.get(&key)?;
        let mine = self.contact(fields, Seen::default());
        let Seen { record, deleted_at, row, content: earlier } = known.seen;
        let differs = mine.birth.zip(known.birth).is_some_and(|(mine, theirs)| !mine.may_equal(theirs))
            || conflict(&mine.codes, &known.codes).is_some();
        Some(match (row, record, deleted_at) {
            (1.., ..) if earlier == content => Means::Repeats(row.into()),
            (1.., ..) => Means::Unclear(Doubt::Repeated(row).about(self.kind, tag)),
            _ if known.is_shared => Means::Unclear(Doubt::Twins.about(self.kind, tag)),
            _ if differs => Means::Unclear(Doubt::Differs.about(self.kind, tag)),
            (_, Some(record), Some(at_ms)) => Means::Deleted { record, at_ms },
            (_, Some(record), None) => Means::Record(record),
            (_, None, _) => return None,
        })
    }

    /// A record that a row made has an id that follows from the row's open fields and, among rows with the same ones,
    /// their order, so that the same sheet means the same record next time. Only from open ones: the id travels, and
    /// must not be a way to guess the others.
    fn by_open_fields(&self, fields: &Fields) -> Means {
        let open = fields.filtered(|tag| self.is_open(tag));
        let mut free: Vec<(RecordId, &Derived)> = Vec::new();
        let mut order = 0u32;
        let next = loop {
            order += 1;
            let id = RecordId::derived(&[
                b"imported row",
                &self.site.0.to_be_bytes(),
                &self.kind.number.to_be_bytes(),
                open.bytes(),
                &order.to_be_bytes(),
            ]);
            match self.derived.get(&id) {
                None => break id,
                Some(derived) if !derived.is_taken => free.push((id, derived)),
                Some(_) => {}
            }
        };
        let hidden = self.hidden(fields);
        let same = free.iter().find(|(_, derived)| derived.hidden == hidden);
        let (id, derived) = match (same, &free[..]) {
            (Some(same), _) => *same,
            (None, []) => return Means::New(Some(next)),
            (None, [only]) if order == 2 => {
                let mine: Vec<_> = hidden.into_iter().filter(|(tag, _)| self.is_identifying(*tag)).collect();
                if let Some(tag) = conflict(&mine, &only.1.hidden) {
                    return Means::Unclear(Doubt::Differs.about(self.kind, tag));
                }
                *only
            }
            _ => {
                let tag = self.name().map_or(0, |field| field.tag);
                return Means::Unclear(Doubt::Twins.about(self.kind, tag));
            }
        };
        derived.deleted_at.map_or(Means::Record(id), |at_ms| Means::Deleted { record: id, at_ms })
    }

    /// The name's field and the mobile's: who has both has both of one person.
    fn contact_key(&self, fields: &Fields) -> Option<(u32, Key)> {
        let mobile = self.kind.fields.iter().find(|field| field.format == Format::Mobile)?.tag;
        let parts = [self.name()?.tag, mobile].map(|tag| fields.bytes_of(tag).unwrap_or_default());
        if parts.iter().any(|part| part.is_empty()) {
            return None;
        }
        Some((mobile, key_of(CONTACT, &parts.join(&0))))
    }

    fn name(&self) -> Option<&'static Field> {
        self.kind.fields.iter().find(|field| field.format == Format::Name && field.required)
    }

    fn contact(&self, fields: &Fields, seen: Seen) -> Contact {
        let birth = self.kind.field_by_name("birth_date").and_then(|field| fields.str(field.tag));
        let is_code = |field: &&Field| field.format == Format::Code && field.pii == Pii::Direct;
        let codes = self.kind.fields.iter().filter(is_code).map(|field| field.tag);
        Contact {
            seen,
            is_shared: false,
            birth: birth.and_then(|birth| Date::from_iso(birth).ok()),
            codes: codes.filter_map(|tag| mark(fields, tag)).collect(),
        }
    }

    fn hidden(&self, fields: &Fields) -> Vec<(u32, [u8; 8])> {
        let tags = self.kind.fields.iter().map(|field| field.tag).filter(|tag| !self.is_open(*tag));
        tags.filter_map(|tag| mark(fields, tag)).collect()
    }

    fn is_open(&self, tag: u32) -> bool {
        self.kind.field(tag).is_some_and(|field| field.share == Share::Open)
    }

    fn is_identifying(&self, tag: u32) -> bool {
        self.kind.field(tag).is_some_and(|field| field.share == Share::Token)
    }
}

fn mark(fields: &Fields, tag: u32) -> Option<(u32, [u8; 8])> {
    fields.get(tag).map(|raw| (tag, first_half(key_of(tag, raw))))
}

/// The first field that both have, with different values.
fn conflict(mine: &[(u32, [u8; 8])], theirs: &[(u32, [u8; 8])]) -> Option<u32> {
    let differs = |(tag, value): &&(u32, [u8; 8])| theirs.iter().any(|(t, v)| t == tag && v != value);
    mine.iter().find(differs).map(|(tag, _)| *tag)
}
