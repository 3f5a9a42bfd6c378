//! What whoever reads releases relies on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use liandong_node::index::{Index, Staged};
use liandong_node::rows;
use liandong_proto::fields::Fields;
use liandong_proto::id::{Epoch, Origin};
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::log::v1 as log;
use liandong_proto::pb::record::v1 as record;
use liandong_proto::stamp::Stamp;
use liandong_proto::state::{RecordState, Setter, Writer};
use prost::Message as _;

use super::columns::MEMBER;
use super::*;

const SITES: [u32; 3] = [440_100, 440_300, 441_900];

/// An index that a test fills as a hub would.
struct Shown {
    index: Index,
    hub_seq: u64,
    /// The highest number of a release that the log knows.
    used: u64,
    dir: tempfile::TempDir,
}

impl Shown {
    fn new() -> Shown {
        let dir = tempfile::tempdir().expect("a directory");
        let shown = Shown { index: Index::in_memory(), hub_seq: 0, used: 0, dir };
        shown.stage(Vec::new());
        shown
    }

    fn releases(&self) -> Releases {
        Releases::new(self.dir.path().join("releases"))
    }

    fn stage(&self, mut staged: Vec<Staged>) {
        let row =
            log::SiteRow { site: 440_000, generation: 1, hub_seq: self.hub_seq, ..log::SiteRow::default() };
        let old = self.index.get(rows::SITE).expect("readable").map(|item| item.check);
        let new = Some(row.encode_to_vec().into());
        staged.push(Staged { key: bytes::Bytes::from_static(rows::SITE), old, new });
        self.index.stage(&staged, [0; 16]);
    }

    fn put(&mut self, record: RecordId, site: u32, member: &record::Member) {
        self.hub_seq += 1;
        let mut state = RecordState::new(SiteCode(site));
        state.hub_seq = self.hub_seq;
        state.fields = Fields::split(member.encode_to_vec()).expect("a message");
        let origin = Origin { site: SiteCode(site), epoch: Epoch([1; 16]) };
        state.writers.push(Writer { origin, seq: 1 });
        state.setters.push(Setter {
            origin,
            seq: 1,
            hub_seq: self.hub_seq,
            stamp: Stamp::at_ms(self.hub_seq),
        });
        self.write(record, Some(state));
    }

    fn remove(&mut self, record: RecordId) {
        self.hub_seq += 1;
        self.write(record, None);
    }

    fn write(&self, record: RecordId, state: Option<RecordState>) {
        let key = rows::record(MEMBER, record);
        let old = self.index.get(&key).expect("readable").map(|item| item.check);
        self.stage(vec![Staged { key, old, new: state.map(|state| state.encode().into()) }]);
    }

    fn publish(&self) -> Manifest {
        let issue = Issue { note: "", now_ms: 1_000, used: self.used, claim: &|_| Ok(()) };
        self.releases().publish(&self.index, &issue, &mut |_| {}).expect("published")
    }
}

fn id(n: u8) -> RecordId {
    RecordId([n; 16])
}

fn member(name: &str) -> record::Member {
    record::Member {
        name: name.into(),
        birth_date: "1979-07-23".into(),
        status: record::MemberStatus::Active as i32,
        certificate_no: "C-77".into(),
        ..record::Member::default()
    }
}

fn cells(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default();
    let columns: Vec<ArrayFormatter<'_>> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).expect("shown"))
        .collect();
    let row = |at: usize| columns.iter().map(|column| column.value(at).to_string()).collect();
    (0..batch.num_rows()).map(row).collect()
}

/// All cells of a table, by the first column that is not the change.
fn table_cells(releases: &Releases, release: u64, role: Role, name: &str) -> Vec<Vec<String>> {
    let path = releases.path(release).join(role.name()).join(format!("{name}.parquet"));
    read::Rows::open(&path).expect("a table").flat_map(|batch| cells(&batch.expect("readable"))).collect()
}

#[test]
fn the_same_changes_give_the_same_bytes() {
    let mut shown = Shown::new();
    for (n, site) in SITES.into_iter().cycle().take(50).enumerate() {
        shown.put(id(n as u8), site, &member("王芳"));
    }
    let (first, second) = (shown.publish(), shown.publish());
    assert_eq!((first.release, second.release), (1, 2));
    assert_eq!(first.tables, second.tables);
    assert_eq!(first.schema_sha256, second.schema_sha256);
    shown.put(id(7), SITES[0], &member("李强"));
    let third = shown.publish();
    assert_ne!(first.table(Role::Registrar, "members"), third.table(Role::Registrar, "members"));
    assert_eq!((third.hub_seq, third.hub_generation.as_str()), (51, "0000000000000001"));
}

#[test]
fn rows_stand_by_city_and_record_and_drafts_are_left_out() {
    let mut shown = Shown::new();
    shown.put(id(9), SITES[1], &member("甲"));
    shown.put(id(3), SITES[1], &member("乙"));
    shown.put(id(5), SITES[0], &member("丙"));
    shown.put(id(1), SITES[0], &record::Member::default());
    shown.publish();
    let rows = table_cells(&shown.releases(), 1, Role::Registrar, "members");
    let order: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(order, [id(5), id(3), id(9)].map(|id| id.to_string()));
}

#[test]
fn what_names_a_person_is_in_no_file_of_an_analyst() {
    let mut shown = Shown::new();
    shown.put(id(1), SITES[0], &member("王芳芳"));
    let manifest = shown.publish();
    let releases = shown.releases();
    assert!(table_cells(&releases, 1, Role::Registrar, "members").concat().contains(&"王芳芳".into()));
    for table in manifest.tables.iter().filter(|table| table.role != Role::Registrar) {
        let cells = table_cells(&releases, 1, table.role, &table.name).concat();
        for forbidden in ["王芳芳", "C-77", "1979-07-23"] {
            assert!(!cells.iter().any(|cell| cell.contains(forbidden)), "{forbidden} in {}", table.path());
        }
    }
    let analyst = table_cells(&releases, 1, Role::Analyst, "members").concat();
    assert!(analyst.contains(&"1979".into()), "the year is there");
}

#[test]
fn one_document_number_is_one_person() {
    let mut shown = Shown::new();
    let with = |token: &str| record::Member { id_number: token.into(), ..member("王芳") };
    shown.put(id(1), SITES[0], &with("token-a"));
    shown.put(id(2), SITES[1], &with("token-a"));
    shown.put(id(3), SITES[1], &member("李强"));
    shown.publish();
    let rows = table_cells(&shown.releases(), 1, Role::Registrar, "members");
    let persons: BTreeMap<&str, &str> = rows.iter().map(|row| (row[0].as_str(), row[1].as_str())).collect();
    let of = |n: u8| persons[id(n).to_string().as_str()].to_owned();
    assert_eq!((of(1), of(2), of(3)), (id(1).to_string(), id(1).to_string(), id(3).to_string()));
    assert!(!rows.concat().iter().any(|cell| cell.contains("token-a")));
}

#[test]
fn a_part_of_a_release_is_none_and_goes_with_the_next() {
    let shown = Shown::new();
    let releases = shown.releases();
    let part = shown.dir.path().join("releases/.000001.part/registrar");
    fs::create_dir_all(&part).expect("made");
    assert_eq!(releases.list().expect("listed"), []);
    assert_eq!(shown.publish().release, 1);
    assert!(!part.exists());
    assert_eq!(releases.list().expect("listed").len(), 1);
}

#[test]
fn what_was_left_half_made_for_readers_goes_and_what_is_whole_stays() {
    let shown = Shown::new();
    let releases = shown.releases();
    releases.tidy().expect("nothing is there yet");
    let projects = shown.dir.path().join("releases/projects");
    let folder = projects.join("000001/registrar");
    fs::create_dir_all(&folder).expect("made");
    for (dir, name) in [(&projects, ".once.00.part"), (&folder, ".members.00.part"), (&folder, "members.csv")]
    {
        fs::write(dir.join(name), "王芳").expect("written");
    }
    releases.tidy().expect("removed");
    let left = |dir: &std::path::Path| fs::read_dir(dir).expect("a directory").count();
    assert_eq!((left(&projects), left(&folder)), (1, 1));
    assert!(folder.join("members.csv").exists());
}

#[test]
fn a_release_is_read_only_and_what_was_altered_is_named() {
    let mut shown = Shown::new();
    shown.put(id(1), SITES[0], &member("王芳"));
    let manifest = shown.publish();
    let releases = shown.releases();
    assert_eq!(releases.verify(1).expect("looked at"), []);
    let table = manifest.table(Role::Registrar, "members").expect("there");
    let path = releases.path(1).join(table.path());
    assert!(fs::metadata(&path).expect("there").permissions().readonly());
    let mut bytes = fs::read(&path).expect("readable");
    bytes[20] ^= 1;
    fs::remove_file(&path).expect("removed");
    fs::write(&path, bytes).expect("written");
    assert_eq!(releases.verify(1).expect("looked at"), [(table.clone(), Fault::Altered)]);
}

#[test]
fn a_withdrawn_release_stays_known_and_its_number_is_not_given_again() {
    let shown = Shown::new();
    let releases = shown.releases();
    shown.publish();
    releases.withdraw(1, 2_000).expect("withdrawn");
    assert!(!releases.path(1).exists());
    assert!(matches!(releases.manifest(1), Err(ReleaseError::Withdrawn(1))));
    assert!(matches!(releases.manifest(9), Err(ReleaseError::None(9))));
    assert_eq!(shown.publish().release, 2);
    assert_eq!(releases.latest().expect("read").map(|manifest| manifest.release), Some(2));
}

#[test]
fn an_arrow_file_has_the_rows_of_the_table_and_one_dictionary_for_each_column_of_codes() {
    let mut shown = Shown::new();
    for n in 0..60 {
        // Other codes in each piece of the file; what only a newer program knows is its number, what none can know nothing.
        let status = [[2, 3], [77, 2], [4, 20_000]][usize::from(n / 20)][usize::from(n % 2)];
        let member = record::Member { status, ..member(["甲", "乙", "丙"][usize::from(n) % 3]) };
        shown.put(id(n), SITES[usize::from(n / 20)], &member);
    }
    let manifest = shown.publish();
    let releases = shown.releases();
    for role in [Role::Registrar, Role::Analyst] {
        let reader = match role {
            Role::Registrar => Reader::Registrar,
            _ => Reader::Analyst(Box::new(Pseudonyms::new(&[1; 32], "a study"))),
        };
        for table in manifest.tables.iter().filter(|table| table.role == role) {
            let file =
                |form| releases.form(&manifest, &reader, &table.name, form).expect("made").expect("there");
            let (parquet, arrow) = (file(Form::Parquet), file(Form::Arrow));
            let read = read::Rows::open(&parquet).expect("a table");
            let expected: Vec<_> = read.flat_map(|batch| cells(&batch.expect("readable"))).collect();
            let open = fs::File::open(&arrow).expect("a file");
            let batches = arrow_ipc::reader::FileReader::try_new(open, None).expect("Arrow");
            let given: Vec<_> = batches.flat_map(|batch| cells(&batch.expect("readable"))).collect();
            assert_eq!(given, expected, "{}", table.name);
            let messages = Messages::open(&arrow).expect("Arrow");
            let rows: u64 = (0..messages.count()).map(|at| messages.read(at).expect("readable").rows).sum();
            assert_eq!(rows, table.rows, "{}", table.name);
        }
        let status: BTreeSet<String> = {
            let path =
                releases.form(&manifest, &reader, "members", Form::Parquet).expect("made").expect("there");
            let rows = read::Rows::open(&path).expect("a table");
            let at = rows.schema.index_of("status").expect("a column");
            rows.flat_map(|batch| cells(&batch.expect("readable")))
                .map(|mut row| row.swap_remove(at))
                .collect()
        };
        assert_eq!(
            status,
            ["", "77", "ACTIVE", "APPLIED", "RETURNED"].map(String::from).into(),
            "{status:?}"
        );
    }
    fs::write(shown.dir.path().join("bent"), b"ARROW1").expect("written");
    assert!(Messages::open(&shown.dir.path().join("bent")).is_err());
}

#[test]
fn what_is_made_of_a_release_goes_when_it_is_withdrawn_meanwhile() {
    let shown = Shown::new();
    let releases = shown.releases();
    shown.publish();
    let make = |part: &std::path::Path| {
        fs::write(part, "made").expect("written");
        releases.withdraw(1, 2_000)?;
        // Too late for the removal: the folder comes back.
        fs::create_dir_all(part.parent().expect("it has one")).expect("made");
        fs::write(part, "made").map_err(ReleaseError::file(part))
    };
    let made = releases.made(1, "some", "members.csv", make);
    assert!(matches!(made, Err(ReleaseError::Withdrawn(1))), "{made:?}");
    assert!(!releases.projects(1).exists());
}

#[test]
fn what_was_left_of_a_release_is_no_longer_there_after_an_erasure() {
    let mut shown = Shown::new();
    let releases = shown.releases();
    shown.put(id(1), SITES[0], &member("王芳"));
    shown.publish();
    // One that was cut short after its number was used, and one that is withdrawn but for its files.
    let part = releases.dir().join(".000002.part");
    fs::create_dir(&part).expect("made");
    fs::create_dir_all(releases.dir().join("projects")).expect("made");
    fs::write(releases.projects(1), "no folder").expect("written");
    releases.forget([(MEMBER, id(1))].iter(), 2_000).expect_err("it cannot be removed");
    assert!(!part.exists() && releases.path(1).exists());
    fs::remove_file(releases.projects(1)).expect("removed");
    assert_eq!(releases.forget([(MEMBER, id(1))].iter(), 2_000).expect("looked"), [1]);
    assert!(!releases.path(1).exists());
    assert_eq!(releases.forget([(MEMBER, id(1))].iter(), 2_000).expect("looked"), [0; 0]);
    fs::create_dir(&part).expect("made");
    shown.used = 2;
    assert_eq!(shown.publish().release, 3);
    assert!(!part.exists());
}

#[test]
fn a_full_disk_is_no_damage() {
    use std::io::{Error, ErrorKind};
    let full = || Error::from(ErrorKind::StorageFull);
    let (path, source) = (std::path::PathBuf::from("x"), full().into());
    let parquet = ReleaseError::Parquet { path: path.clone(), source };
    for error in [ReleaseError::File { path: path.clone(), source: full() }, parquet] {
        assert_eq!(SiteError::from(error).class(), liandong_node::site::Class::Full);
    }
    let damaged =
        ReleaseError::Parquet { path, source: parquet::errors::ParquetError::General("bent".into()) };
    assert_eq!(SiteError::from(damaged).class(), liandong_node::site::Class::Damaged);
}

#[test]
fn a_number_that_was_used_is_not_given_again_without_the_directory() {
    let mut shown = Shown::new();
    shown.publish();
    shown.used = 1;
    fs::rename(shown.releases().dir(), shown.dir.path().join("lost")).expect("moved away");
    assert_eq!(shown.publish().release, 2);
    shown.used = 7;
    assert_eq!(shown.publish().release, 8);
}

#[test]
fn a_release_whose_number_cannot_be_kept_is_not_there() {
    let shown = Shown::new();
    let releases = shown.releases();
    let refuse = |_| Err(SiteError::Refused("no log".into()));
    let issue = Issue { note: "", now_ms: 1_000, used: 0, claim: &refuse };
    releases.publish(&shown.index, &issue, &mut |_| {}).expect_err("it is refused");
    assert_eq!(releases.list().expect("listed"), []);
}

#[test]
fn what_is_erased_is_in_no_release_any_more() {
    let mut shown = Shown::new();
    let releases = shown.releases();
    shown.put(id(1), SITES[0], &member("王芳"));
    shown.publish();
    shown.put(id(2), SITES[1], &member("李强"));
    shown.publish();
    assert_eq!(releases.forget([(MEMBER, id(9))].iter(), 2_000).expect("looked"), [0; 0]);
    assert_eq!(releases.forget([(MEMBER, id(2))].iter(), 2_000).expect("looked"), [2]);
    assert_eq!(releases.numbers().expect("listed"), [1], "the one before stays");
    assert_eq!(releases.forget([(MEMBER, id(1))].iter(), 2_000).expect("looked"), [1]);
}

#[test]
fn whoever_follows_the_changes_has_the_newest() {
    (0..20).for_each(follow);
}

fn follow(seed: u64) {
    let mut random = SplitMix(seed);
    let mut shown = Shown::new();
    let releases = shown.releases();
    let mut mine: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for release in 1..=6 {
        for _ in 0..random.below(12) {
            let record = id(random.below(16) as u8);
            if random.below(4) == 0 {
                shown.remove(record);
            } else {
                let site = SITES[random.below(3) as usize];
                shown.put(record, site, &member(["甲", "乙", "丙"][random.below(3) as usize]));
            }
        }
        shown.publish();
        let path = |release: u64| releases.path(release).join("registrar/members.parquet");
        let older = (release > 1).then(|| path(release - 1));
        let found = Changes::between(older.as_deref(), &path(release)).expect("compared");
        for mut row in found.flat_map(|batch| cells(&batch.expect("readable"))) {
            let change = row.remove(0);
            if change == "removed" {
                mine.remove(&row[0]);
            } else {
                assert_eq!(mine.contains_key(&row[0]), change == "changed", "seed {seed}");
                mine.insert(row[0].clone(), row);
            }
        }
        let all = table_cells(&releases, release, Role::Registrar, "members");
        let all: BTreeMap<String, Vec<String>> = all.into_iter().map(|row| (row[0].clone(), row)).collect();
        assert_eq!(mine, all, "seed {seed}, release {release}: follow({seed})");
    }
}

struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}
