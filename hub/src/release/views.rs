//! Questions that are asked again and again, as SQL views over a release's tables.

use super::columns::Role;

/// A view.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Its name.
    pub name: &'static str,
    /// Who has it.
    pub roles: &'static [Role],
    /// What it answers.
    pub sql: &'static str,
}

const BOTH: &[Role] = &[Role::Registrar, Role::Analyst];
const REGISTRAR: &[Role] = &[Role::Registrar];

/// All of them. A date is that of the newest change in the release, so that a view of a release never changes either.
pub static VIEWS: [View; 7] = [
    View {
        name: "members_by_city_level",
        roles: BOTH,
        sql: "SELECT m.site, c.name_zh, m.qualification_level, count(*) AS members \
              FROM members m JOIN cities c ON c.site = m.site WHERE m.status = 'ACTIVE' \
              GROUP BY m.site, c.name_zh, m.qualification_level",
    },
    View {
        name: "registrations_due",
        roles: BOTH,
        sql: "SELECT m.record_id, m.person_id, m.site, m.qualification_level, m.registered_to, \
              CAST(try_cast(m.registered_to AS DATE) AS INTEGER) - CAST(CAST(r.as_of AS DATE) AS INTEGER) AS days_left \
              FROM members m CROSS JOIN (SELECT max(updated_at) AS as_of FROM members) r \
              WHERE m.status = 'ACTIVE' \
              AND try_cast(m.registered_to AS DATE) <= CAST(r.as_of AS DATE) + INTERVAL '180 days'",
    },
    View {
        name: "cpd_shortfall",
        roles: BOTH,
        sql: "SELECT record_id, person_id, site, qualification_level, cpd_hours, required_hours, \
              required_hours - coalesce(cpd_hours, 0) AS short_hours FROM \
              (SELECT *, CASE WHEN qualification_level = 'ASSISTANT' THEN 72 ELSE 90 END AS required_hours \
              FROM members WHERE status = 'ACTIVE' AND qualification_level IS NOT NULL) \
              WHERE coalesce(cpd_hours, 0) < required_hours",
    },
    View {
        name: "nominations_funnel",
        roles: BOTH,
        sql: "SELECT n.round, n.site, n.status, count(*) AS nominations FROM nominations n GROUP BY n.round, n.site, n.status",
    },
    View {
        name: "cases_by_ground",
        roles: REGISTRAR,
        sql: "SELECT ground, status, sanction, count(*) AS cases FROM \
              (SELECT unnest(grounds) AS ground, status, sanction FROM cases) GROUP BY ground, status, sanction",
    },
    View {
        name: "duplicates",
        roles: BOTH,
        sql: "SELECT person_id, count(*) AS records, count(DISTINCT site) AS cities FROM members \
              WHERE status = 'ACTIVE' GROUP BY person_id HAVING count(*) > 1",
    },
    View {
        name: "freshness",
        roles: &Role::ALL,
        sql: "SELECT site, name_zh, name_en, last_received_at FROM cities ORDER BY last_received_at NULLS FIRST",
    },
];
