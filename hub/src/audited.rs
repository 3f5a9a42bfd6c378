//! What the hub leaves in its audit log beside what every site does: cities that come, go and are turned away. Nothing
//! here waits for the disk; memberships and sessions stand in the hub's log as well.

use liandong_node::audit::{Note, Via, What};
use liandong_proto::id::SiteCode;
use liandong_proto::pb::sync::v1::refusal::Code;
use liandong_proto::session::hub::Admission;
use tonic::Status;

use crate::hub::Hub;

impl Hub {
    /// What became of a city's hello.
    pub(crate) fn note_admission(&self, site: SiteCode, admission: &Admission) {
        match admission {
            Admission::Welcome { .. } => {
                self.shared.audit.note_behind(Note { count: 1, ..Note::city(What::SignedIn, site) });
            }
            Admission::Diverged(_) => self.note_turned_away(site, "DIVERGED"),
            Admission::Refused(refusal) => self.note_turned_away(site, refusal.code().as_str_name()),
        }
    }

    /// A city whose session does not begin.
    pub(crate) fn note_turned_away(&self, site: SiteCode, why: &str) {
        self.shared.audit.turned_away(Note { detail: why.into(), ..Note::city(What::Refused, site) });
    }

    /// A second session of a city.
    pub(crate) fn note_busy(&self, site: SiteCode) {
        self.note_turned_away(site, Code::SiteBusy.as_str_name());
    }

    /// Somebody who shows no city's certificate.
    pub(crate) fn note_stranger(&self) {
        let detail = "no city's certificate".to_owned();
        let note = Note { what: What::Refused, via: Via::Sync, detail, ..Note::default() };
        self.shared.audit.turned_away(note);
    }

    /// Somebody who asked to join in vain, as the city that they say they are.
    pub(crate) fn note_not_joined(&self, claimed: u32, status: &Status) {
        let detail = format!("join: {:?}", status.code());
        let note =
            Note { what: What::Refused, via: Via::Enrolment, site: claimed, detail, ..Note::default() };
        self.shared.audit.turned_away(note);
    }

    /// A city joined by invitation.
    pub(crate) fn note_joined(&self, site: SiteCode, key: &str) {
        let detail = format!("signing key {key}");
        self.shared.audit.note_behind(Note { via: Via::Enrolment, detail, ..Note::city(What::Joined, site) });
    }

    /// What an operator decided about a city.
    pub(crate) fn note_decision(&self, what: What, site: SiteCode, author: &str, reason: &str) {
        let (who, detail) = (author.to_owned(), reason.to_owned());
        self.shared.audit.note_behind(Note { what, who, site: site.0, detail, ..Note::default() });
    }
}
