//! Tests of whole rosters: the same bytes from the same seed, bad rows exactly as reported, the rest readable.

use std::collections::{BTreeMap, HashMap, HashSet};

use liandong_proto::fields::FieldsBuilder;
use liandong_proto::format::{Date, Day, Fault, Mobile, ResidentId, email, name};
use liandong_proto::schema;
use liandong_proto::validate::{View, check_record, warnings};

use super::*;

const PLAN: Plan = Plan { cities: 21, members: 6000, seed: 20_260_401 };

fn render(plan: Plan) -> Vec<(String, CityRoster)> {
    let rosters = plan.rosters();
    let city = |city| {
        let (bytes, roster) = rosters.render(city, PathBuf::from("roster.csv"));
        (String::from_utf8(bytes).expect("UTF-8"), roster)
    };
    (0..rosters.cities()).map(city).collect()
}

/// Rows as field → cell.
fn cells<'a>(text: &'a str, roster: &CityRoster) -> Vec<BTreeMap<&'static str, &'a str>> {
    let row = |line: &'a str| roster.fields.iter().copied().zip(line.split(',')).collect();
    text.lines().skip(1).map(row).collect()
}

/// What a careful reader says about a row.
fn judge(row: &BTreeMap<&str, &str>) -> Result<(), (&'static str, Fault)> {
    let today = Day::new(2026, 4, 1).expect("a real day");
    let name_of = name::tidy(row["name"]);
    name::check(&name_of).map_err(|fault| ("name", fault))?;
    ResidentId::parse(row["id_number"], today).map_err(|fault| ("id_number", fault))?;
    Mobile::parse(row["mobile"]).map_err(|fault| ("mobile", fault))?;
    if let Some(address) = row.get("email") {
        email::check(address).map_err(|fault| ("email", fault))?;
    }
    for field in ["birth_date", "joined_on", "certificate_date", "registered_from", "registered_to"] {
        let cell = row.get(field).copied().unwrap_or("");
        if !cell.is_empty() {
            Date::read(cell).map_err(|fault| (field, fault))?;
        }
    }
    Ok(())
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    assert_eq!(render(PLAN), render(PLAN));
    let other = render(Plan { seed: PLAN.seed + 1, ..PLAN });
    assert!(render(PLAN).iter().zip(&other).all(|(a, b)| a.0 != b.0));
}

#[test]
fn the_files_are_what_is_rendered() {
    let dir = tempfile::tempdir().expect("a directory");
    let written = PLAN.write(&dir.path().join("rosters")).expect("written");
    for (written, (text, rendered)) in written.iter().zip(render(PLAN)) {
        assert_eq!(fs::read_to_string(&written.path).expect("readable"), text);
        assert_eq!(CityRoster { path: rendered.path.clone(), ..written.clone() }, rendered);
    }
    assert_eq!(written.len(), 21);
    assert_eq!(written.iter().map(|city| city.people).sum::<usize>(), PLAN.members);
}

#[test]
fn exactly_the_reported_rows_are_bad() {
    for (text, roster) in render(PLAN) {
        let rows = cells(&text, &roster);
        assert_eq!(rows.len(), roster.rows);
        assert_eq!(roster.bad_lines.len(), roster.bad_rows);
        assert_eq!(roster.rows, roster.people + roster.bad_rows);
        for (n, row) in rows.iter().enumerate() {
            let expected = roster.bad_lines.get(&(n + 2)).map(|bad| match bad {
                BadRow::CheckDigit => ("id_number", "resident_id.check"),
                BadRow::ImpossibleDate => ("birth_date", "date.calendar"),
                BadRow::MissingName => ("name", "name.empty"),
                BadRow::ScientificNotation => ("id_number", "resident_id.scientific"),
            });
            let found = judge(row).err().map(|(field, fault)| (field, fault.code));
            assert_eq!(found, expected, "{} line {}: {row:?}", roster.code, n + 2);
        }
        assert!(BadRow::ALL.iter().all(|kind| roster.bad_lines.values().any(|bad| bad == kind)));
    }
}

#[test]
fn good_rows_read_back_as_the_people_in_memory() {
    let rosters = PLAN.rosters();
    let today = Day::new(2026, 4, 1).expect("a real day");
    for (city, (text, roster)) in render(PLAN).iter().enumerate() {
        let rows = cells(text, roster);
        let good = rows.iter().enumerate().filter(|(n, _)| !roster.bad_lines.contains_key(&(n + 2)));
        for ((_, row), person) in good.zip(rosters.roster(city)) {
            assert_eq!(name::tidy(row["name"]), person.name);
            assert_eq!(ResidentId::parse(row["id_number"], today).expect("valid").as_str(), person.id_number);
            assert_eq!(Mobile::parse(row["mobile"]).expect("valid").as_str(), person.mobile);
            let birth = Date::read(row["birth_date"]).expect("valid");
            assert!(birth.may_equal(Date::from_iso(&person.birth_date).expect("stored spelling")));
            assert_eq!(row["member_no"], person.member_no);
        }
    }
}

#[test]
fn shared_people_have_one_number_and_two_memberships() {
    let rosters = PLAN.rosters();
    let mut by_number: HashMap<String, Vec<Person>> = HashMap::new();
    let mut member_numbers = HashSet::new();
    for city in 0..rosters.cities() {
        for person in rosters.roster(city) {
            assert!(member_numbers.insert(person.member_no.clone()), "a member number is given once");
            by_number.entry(person.id_number.clone()).or_default().push(person);
        }
    }
    let shared: Vec<_> = by_number.values().filter(|people| people.len() > 1).collect();
    let guests: usize = render(PLAN).iter().map(|(_, roster)| roster.guests).sum();
    assert_eq!(shared.len(), guests);
    assert!((100..=180).contains(&guests), "{guests}");
    assert!(shared.iter().all(|people| people.len() == 2 && people[0].human == people[1].human));
    assert!(shared.iter().any(|people| people[0].name != people[1].name));
    assert!(shared.iter().any(|people| people[0].mobile != people[1].mobile));
}

#[test]
fn cities_write_in_different_ways() {
    let rendered = render(PLAN);
    let headers: HashSet<&str> = rendered.iter().filter_map(|(text, _)| text.lines().next()).collect();
    assert_eq!(headers.len(), 21);
    assert_eq!(rendered.iter().filter(|(text, _)| text.starts_with('\u{FEFF}')).count(), 7);
    assert!(rendered.iter().any(|(text, _)| text.contains('年')));
    assert!(rendered.iter().any(|(text, _)| text.contains("+86")));
}

#[test]
fn headers_and_choices_are_those_of_the_schema() {
    let member = schema::kind_by_name("member").expect("members are a kind of record");
    let bare = |header: &str| header.replace(' ', "").to_lowercase();
    for seed in 0..40 {
        let plan = Plan { cities: 3, members: 300, seed };
        for (text, roster) in render(plan) {
            let headers =
                text.trim_start_matches('\u{FEFF}').lines().next().expect("a header line").split(',');
            for (header, name) in headers.zip(&roster.fields) {
                let field =
                    member.field_by_name(name).unwrap_or_else(|| panic!("members have no field {name}"));
                let is_known = field.aliases.iter().any(|alias| bare(alias) == bare(header));
                assert!(is_known, "{name} is not found under {header}");
                let schema::Type::Enum(choices) = field.ty else { continue };
                for cell in cells(&text, &roster).iter().map(|row| row[name]).filter(|cell| !cell.is_empty())
                {
                    assert!(choices.by_text(cell).is_some(), "{name} has no choice {cell}");
                }
            }
        }
    }
}

#[test]
fn everybody_makes_a_record_without_problems() {
    let member = schema::kind_by_name("member").expect("members are a kind of record");
    let today = Day::new(2026, 4, 1).expect("a real day");
    let rosters = PLAN.rosters();
    for person in (0..rosters.cities()).flat_map(|city| rosters.roster(city).take(100)) {
        let cells: HashMap<&str, &str> = person.cells().collect();
        let mut record = FieldsBuilder::new();
        for field in member.fields {
            let Some(cell) = cells.get(field.name) else { continue };
            match field.ty {
                schema::Type::Enum(choices) => {
                    let choice = choices.by_text(cell).expect("a choice of the schema");
                    record.u64(field.tag, u64::try_from(choice.number).expect("choices count from 0"));
                }
                schema::Type::Uint32 => {
                    record.u64(field.tag, cell.parse().expect("a number"));
                }
                _ => {
                    record.str(field.tag, cell);
                }
            }
        }
        let record = record.finish();
        assert_eq!(record.len(), cells.len(), "every cell has a field");
        assert_eq!(check_record(member, &record, View::Full, today), [], "{person:?}");
        assert_eq!(warnings(member, &record, today), [], "{person:?}");
    }
}
