//! The hub's machine and a city's, each as it was, put back from an old backup, or lost: all nine pairs. Whatever was
//! acknowledged is there again: the city's records, and with a mirror the province's.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use liandong_node::site::{Paths, RecoveryKey};
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::node::v1::Link;
use liandong_tests::cluster::Home;

use crate::backup::{json, refused, round};
use crate::province::{AWARD_ROUND, GUANGZHOU, MEMBER, Province, SHAOGUAN, linked, member};

/// What has become of a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Machine {
    Recent,
    /// Put back from a backup that is older than the second half of what was written.
    Old,
    /// Gone, with everything on it.
    Lost,
}

use Machine::{Lost, Old, Recent};

struct Case {
    province: Province,
    /// Of backups, for both.
    identity: String,
    mirror: Option<PathBuf>,
    recovery_key: String,
    members: Vec<RecordId>,
    rounds: Vec<RecordId>,
}

impl Case {
    /// Both have written, twice; the backups are from between, and everything is synced.
    async fn made(mirror: bool) -> Case {
        let mut province = Province::made(&[GUANGZHOU, SHAOGUAN]).await;
        let mirror = mirror.then(|| province.file("mirror"));
        if let Some(dir) = &mirror {
            fs::create_dir(dir).expect("made");
        }
        province.mirror(mirror.clone());
        province.start_hub().await.expect("it starts");
        province.start_nodes().await.expect("they start");
        let paths = Paths::new(&province.node(GUANGZHOU).data_dir);
        let recovery_key = RecoveryKey::of(&paths).expect("a key").to_string();
        let identity = province.file("identity");
        fs::copy(paths.dir.join("keys/linking.identity"), &identity).expect("copied");
        let identity = identity.display().to_string();
        let mut case =
            Case { province, identity, mirror, recovery_key, members: Vec::new(), rounds: Vec::new() };
        case.write(0..3).await;
        let recipient = paths.linking_recipient().expect("a recipient").to_string();
        for (name, home, flags) in [
            ("hub.backup", case.province.hub(), &[][..]),
            ("hub.keys", case.province.hub(), &["--only-keys"][..]),
            ("node.backup", case.province.node(GUANGZHOU), &[][..]),
        ] {
            let file = case.file(name);
            let create = [&["backup", "create", &file, "--recipient", &recipient], flags].concat();
            json(home, &create).await;
        }
        case.write(3..6).await;
        case
    }

    fn file(&self, name: &str) -> String {
        self.province.file(name).display().to_string()
    }

    async fn write(&mut self, numbers: std::ops::Range<u32>) {
        for n in numbers {
            let node = self.province.door(GUANGZHOU).await;
            self.members.push(node.put(MEMBER, None, &member(n)).await.expect("a member"));
            let hub = self.province.door(SiteCode::PROVINCE).await;
            let round = round(&format!("第{n}届评选"));
            self.rounds.push(hub.put(AWARD_ROUND, None, &round).await.expect("a round"));
        }
        self.province.equal().await;
    }

    /// Hub and city sign with other keys from now on, and the hub's are backed up again.
    async fn rotated(&mut self) {
        for home in [self.province.hub(), self.province.node(GUANGZHOU)] {
            json(home, &["signing-key", "rotate", "--yes"]).await;
        }
        fs::rename(self.file("hub.keys"), self.file("hub.old-keys")).expect("renamed");
        let recipient =
            Paths::new(&self.province.node(GUANGZHOU).data_dir).linking_recipient().expect("a recipient");
        let create = [
            "backup",
            "create",
            &self.file("hub.keys"),
            "--only-keys",
            "--recipient",
            &recipient.to_string(),
        ];
        json(self.province.hub(), &create).await;
        self.write(6..8).await;
    }

    async fn put_back(&self, home: &Home, backup: &str, flags: &[&str]) {
        let backup = self.file(backup);
        let args = [&["backup", "restore", &backup, "--identity", &self.identity], flags].concat();
        let told = json(home, &args).await;
        assert_eq!(told["opened"], true, "{told}");
    }

    async fn hub_is(&mut self, machine: Machine) {
        if machine == Recent {
            return;
        }
        if machine == Lost {
            // Without a word.
            self.province.kill_hub().await.expect("it ends");
        } else {
            self.province.stop_hub().await.expect("it stops");
        }
        fs::remove_dir_all(&self.province.hub().data_dir).expect("lost");
        let mirror = self.mirror.as_ref().map(|dir| dir.display().to_string());
        match (machine, &mirror) {
            (Old, None) => self.put_back(self.province.hub(), "hub.backup", &[]).await,
            (Old, Some(mirror)) => {
                self.put_back(self.province.hub(), "hub.backup", &["--mirror", mirror]).await;
            }
            (_, Some(mirror)) => {
                self.put_back(self.province.hub(), "hub.keys", &["--mirror", mirror]).await;
            }
            (_, None) => {
                // Nothing is left of it: another hub takes its place.
                self.province.hub().answer(&["init"]).await.expect("made");
                self.province.start_hub().await.expect("it starts");
                for city in [GUANGZHOU, SHAOGUAN] {
                    self.province.join(city).await.expect("joined anew");
                }
                return;
            }
        }
        self.province.start_hub().await.expect("it starts");
        let (code, said) = refused(self.province.hub(), &["city", "invite", "440200"]).await;
        assert!(
            code != 0 && said.contains("city confirm"),
            "nobody is let in before somebody looked: {said}"
        );
        json(self.province.hub(), &["city", "confirm", "--yes"]).await;
    }

    async fn node_is(&mut self, machine: Machine) {
        let node = self.province.node(GUANGZHOU).clone();
        if machine == Recent {
            return;
        }
        self.province.stop_node(GUANGZHOU).await.expect("it stops");
        fs::remove_dir_all(&node.data_dir).expect("lost");
        if machine == Old {
            self.put_back(&node, "node.backup", &[]).await;
            self.province.start_node(GUANGZHOU).await.expect("it starts");
            linked(&self.province.door(GUANGZHOU).await, Link::Diverged).await;
            self.province.stop_node(GUANGZHOU).await.expect("it stops");
            json(&node, &["takeover", "--yes"]).await;
        } else {
            let code = self.province.invited("440100").await;
            let key = self.file("recovery.key");
            fs::write(&key, format!("{}\n", self.recovery_key)).expect("written");
            json(&node, &["restore", &code, "--site", "440100", "--recovery-key", &key]).await;
            self.province.agree(GUANGZHOU).await.expect("agreed");
        }
        self.province.start_node(GUANGZHOU).await.expect("it starts");
    }

    /// How many members and rounds are missing at either side; everything is written to once more before.
    async fn lost(mut self, pair: (Machine, Machine)) -> (usize, usize) {
        for city in [GUANGZHOU, SHAOGUAN] {
            linked(&self.province.door(city).await, Link::Connected).await;
        }
        self.write(90..91).await;
        let mut lost = (HashSet::new(), HashSet::new());
        for site in [SiteCode::PROVINCE, GUANGZHOU] {
            let door = self.province.door(site).await;
            for (kind, ids, lost) in
                [(MEMBER, &self.members, &mut lost.0), (AWARD_ROUND, &self.rounds, &mut lost.1)]
            {
                for id in ids {
                    let found = door.get(kind, *id).await.expect("a call");
                    if found.is_none_or(|record| record.deleted) {
                        lost.insert(*id);
                    }
                }
            }
            let home = if site.is_province() { self.province.hub() } else { self.province.node(site) };
            let found = json(home, &["verify"]).await;
            assert_eq!(found["sound"], true, "{pair:?}: {found}");
        }
        self.province.stop().await.expect("they stop");
        (lost.0.len(), lost.1.len())
    }
}

async fn check(hub: Machine, node: Machine, mirror: bool, expected: (usize, usize)) {
    let mut case = Case::made(mirror).await;
    case.hub_is(hub).await;
    case.node_is(node).await;
    let lost = case.lost((hub, node)).await;
    assert_eq!(lost, expected, "lost of city and province; hub {hub:?}, node {node:?}, mirror {mirror}");
    println!("hub {hub:?}, node {node:?}, mirror {mirror}: lost of city and province {lost:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_with_the_hub_as_it_was() {
    for node in [Recent, Old, Lost] {
        check(Recent, node, true, (0, 0)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_with_an_old_hub_and_its_mirror() {
    for node in [Recent, Old, Lost] {
        check(Old, node, true, (0, 0)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_with_a_hub_that_is_gone_and_its_mirror() {
    for node in [Recent, Old, Lost] {
        check(Lost, node, true, (0, 0)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_where_keys_were_rotated_between_two_backups() {
    let mut case = Case::made(true).await;
    case.rotated().await;
    case.hub_is(Lost).await;
    assert_eq!(case.lost((Lost, Recent)).await, (0, 0));
}

/// What the mirror is for: without it the province has its backup, or nothing. The cities have all that is theirs.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_mirror_the_cities_bring_back_all_that_is_theirs() {
    check(Old, Recent, false, (0, 3)).await;
    check(Lost, Recent, false, (0, 6)).await;
}
