//! The records of a measurement: made before the clock starts, kept as one block of bytes.

use bytes::Bytes;
use liandong_proto::fields::Fields;
use liandong_proto::pb::record::v1 as pb;
use prost::Message as _;

use crate::roster::{Human, Person, Plan};

/// Encoded members that wait to be written, in order.
#[derive(Debug, Default)]
pub struct Members {
    encoded: Bytes,
    ends: Vec<usize>,
}

/// How long the rows are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Size {
    /// Fields of all rows.
    pub fields: u64,
    /// Bytes of all rows, keys and lengths included.
    pub bytes: u64,
}

impl Members {
    /// The members `from..to` of a city.
    pub fn make(plan: Plan, city: usize, from: usize, to: usize) -> Members {
        let mut encoded = Vec::with_capacity((to - from) * 256);
        let mut ends = Vec::with_capacity(to - from);
        for number in from..to {
            let person = Person::new(plan, city, Human { home: city, number }, number);
            member(&person).encode(&mut encoded).expect("a Vec grows");
            ends.push(encoded.len());
        }
        encoded.shrink_to_fit();
        Members { encoded: encoded.into(), ends }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The fields of one.
    ///
    /// # Panics
    /// When there is none at that place.
    pub fn get(&self, at: usize) -> Fields {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        Fields::split(self.encoded.slice(start..self.ends[at])).expect("encoded as a message")
    }

    /// How long they are.
    pub fn size(&self) -> Size {
        let fields = (0..self.len()).map(|at| self.get(at).iter().count() as u64).sum();
        Size { fields, bytes: self.encoded.len() as u64 }
    }
}

/// The fields that nearly every roster has.
fn member(person: &Person) -> pb::Member {
    pb::Member {
        name: person.name.clone(),
        sex: (if person.sex == "男" { pb::Sex::Male } else { pb::Sex::Female }) as i32,
        birth_date: person.birth_date.clone(),
        id_type: pb::IdType::ResidentId as i32,
        id_number: person.id_number.clone(),
        mobile: person.mobile.clone(),
        education: education(person.education) as i32,
        employer: person.employer.clone(),
        post: person.post.to_owned(),
        service_field: person.service_field.to_owned(),
        qualification_level: level(person.qualification_level) as i32,
        certificate_no: person.certificate_no.clone(),
        member_no: person.member_no.clone(),
        member_type: pb::MemberType::Individual as i32,
        tier: pb::MemberTier::Ordinary as i32,
        joined_on: person.joined_on.clone(),
        status: pb::MemberStatus::Active as i32,
        ..pb::Member::default()
    }
}

fn education(label: &str) -> pb::Education {
    match label {
        "博士研究生" => pb::Education::Doctorate,
        "硕士研究生" => pb::Education::Master,
        "本科" => pb::Education::Bachelor,
        "大专" => pb::Education::JuniorCollege,
        "高中" => pb::Education::SeniorSecondary,
        _ => pb::Education::Other,
    }
}

fn level(label: &str) -> pb::QualificationLevel {
    match label {
        "助理社会工作师" => pb::QualificationLevel::Assistant,
        "社会工作师" => pb::QualificationLevel::SocialWorker,
        "高级社会工作师" => pb::QualificationLevel::Senior,
        _ => pb::QualificationLevel::Unspecified,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_no_smaller_than_an_ordinary_one() {
        let plan = Plan { cities: 21, members: 20_000, seed: 1 };
        let members = Members::make(plan, 3, 10, 510);
        assert_eq!(members.len(), 500);
        for at in 0..500 {
            let fields = members.get(at);
            assert!(fields.iter().count() >= 14 && fields.bytes().len() >= 150, "row {at}");
        }
        let first = Person::new(plan, 3, Human { home: 3, number: 10 }, 10);
        assert_eq!(members.get(0).bytes(), &Bytes::from(member(&first).encode_to_vec()));
    }
}
