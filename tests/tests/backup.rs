//! Backups of sites that run: made, checked, rehearsed, put back; and what is no backup is never taken for one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use liandong_node::site::Paths;
use liandong_proto::id::SiteCode;
use liandong_proto::pb::node::v1::Link;
use liandong_tests::cluster::Home;
use serde_json::Value;

use crate::province::{AWARD_ROUND, GUANGZHOU, MEMBER, Province, SHENZHEN, linked, member};
use liandong_proto::pb::record::v1 as pb;

/// Runs a command that must end well and answers in JSON.
pub async fn json(home: &Home, args: &[&str]) -> Value {
    let answer = home.answer(&[args, &["--json"]].concat()).await.unwrap_or_else(|error| panic!("{error}"));
    serde_json::from_str(&answer).expect("an object")
}

/// The exit code of a command that is refused, and what it says.
pub async fn refused(home: &Home, args: &[&str]) -> (i32, String) {
    let output = home.command(args).await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
    (output.status.code().unwrap_or(-1), said)
}

/// A file with a passphrase.
pub fn passphrase(province: &Province) -> String {
    let file = province.file("passphrase");
    fs::write(&file, "correct horse battery staple\n").expect("written");
    file.display().to_string()
}

pub fn round(title: &str) -> pb::AwardRound {
    let categories = vec!["优秀社工".into()];
    pb::AwardRound { year: 2026, title: title.into(), categories, ..pb::AwardRound::default() }
}

fn contains(file: &Path, text: &str) -> bool {
    let bytes = fs::read(file).expect("read");
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The names in a directory.
pub fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).expect("a directory").map(|it| it.expect("one").file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().expect("text")).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_running_site_is_whole_and_whatever_is_not_is_told() {
    let mut province = Province::running(&[GUANGZHOU, SHENZHEN]).await;
    for n in 0..30 {
        province.door(GUANGZHOU).await.put(MEMBER, None, &member(n)).await.expect("a member");
    }
    province.door(SiteCode::PROVINCE).await.put(AWARD_ROUND, None, &round("评选")).await.expect("a round");
    province.equal().await;
    let recipient = Paths::new(&province.node(GUANGZHOU).data_dir).linking_recipient().expect("a recipient");
    let recipient = recipient.to_string();
    // In place of keys that somebody made with age.
    let key_of = |city, name: &str| {
        let file = province.file(name);
        fs::copy(province.node(city).data_dir.join("keys/linking.identity"), &file).expect("copied");
        file.display().to_string()
    };
    let (identity, wrong) = (key_of(GUANGZHOU, "identity"), key_of(SHENZHEN, "wrong"));
    let dir = province.file("backups");
    fs::create_dir(&dir).expect("made");
    for site in [GUANGZHOU, SiteCode::PROVINCE] {
        let home = if site.is_province() { province.hub() } else { province.node(site) };
        let made = dir.display().to_string();
        let (code, said) = refused(home, &["backup", "create", &made]).await;
        assert_eq!(code, 2, "it was not said how to encrypt it: {said}");
        assert!(names(&dir).iter().all(|name| !name.contains(&site.to_string())), "nothing was made");
        let made = json(home, &["backup", "create", &made, "--recipient", &recipient]).await;
        let file = PathBuf::from(made["file"].as_str().expect("a file"));
        assert_eq!((&made["keys"], &made["encrypted"]), (&true.into(), &true.into()), "{made}");
        assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
        assert!(file.file_name().is_some_and(|name| name.to_string_lossy().contains(&site.to_string())));
        let shown = file.display().to_string();
        let open = ["--identity", &identity];

        // It is not written over.
        let before = fs::read(&file).expect("read");
        let (code, said) =
            refused(home, ["backup", "create", &shown, "--recipient", &recipient].as_slice()).await;
        assert_eq!(code, 2, "{said}");
        assert_eq!(fs::read(&file).expect("read"), before);

        let found = json(home, &[&["backup", "verify", &shown], &open[..]].concat()).await;
        assert_eq!(found["sound"], true);
        assert!(found["audit_records"].as_u64() > Some(0) && found["entries"].as_u64() > Some(29), "{found}");
        let tried = json(home, &[&["backup", "restore", &shown, "--rehearse"], &open[..]].concat()).await;
        assert_eq!((&tried["sound"], &tried["rehearsal"]), (&true.into(), &true.into()), "{tried}");
        assert!(tried["records"].as_u64() > Some(29), "{tried}");
        assert!(!Path::new(tried["data_dir"].as_str().expect("a directory")).exists(), "it is gone");

        // What opens it is needed, and the right one.
        let (code, _) = refused(home, &["backup", "verify", &shown]).await;
        assert_eq!(code, 2);
        let (code, said) = refused(home, &["backup", "verify", &shown, "--identity", &wrong]).await;
        assert_eq!(code, 6, "{said}");
        // A byte that differs, an end that is missing.
        let other = province.file("other");
        let shown_other = other.display().to_string();
        for bent in [
            {
                let mut bytes = before.clone();
                let at = bytes.len() / 2;
                bytes[at] ^= 1;
                bytes
            },
            before[..before.len() - 1].to_vec(),
            before[..before.len() / 2].to_vec(),
        ] {
            fs::write(&other, bent).expect("written");
            let (code, said) =
                refused(home, &[&["backup", "verify", &shown_other], &open[..]].concat()).await;
            assert!([6, 7].contains(&code), "{code} {said}");
            let target = province.file("target");
            let args = [&["backup", "restore", &shown_other, "--rehearse"], &open[..]].concat();
            refused(home, &args).await;
            assert!(!target.exists());
        }
        fs::remove_file(&other).expect("removed");
        // The data directory of a site that is there is not touched.
        let (code, said) = refused(home, &[&["backup", "restore", &shown], &open[..]].concat()).await;
        assert_eq!(code, 2, "{said}");
        // The other program says whose it is.
        let stranger = if site.is_province() { province.node(GUANGZHOU) } else { province.hub() };
        let (code, said) = refused(stranger, &[&["backup", "verify", &shown], &open[..]].concat()).await;
        assert!(
            code == 2 && said.contains(if site.is_province() { "liandong-hub" } else { "liandong-node" }),
            "{said}"
        );

        // It stands in the audit log, and in the audit log of the backup itself.
        let audit = home.answer(&["audit", "list", "--json"]).await.expect("listed");
        assert!(audit.contains("BACKED_UP") && audit.contains("keys, encrypted"), "{audit}");
    }
    assert!(names(&dir).iter().all(|name| name.ends_with(".backup")), "{:?}", names(&dir));
    province.stop().await.expect("they stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_encrypted_is_said_to_be_and_a_recipient_opens_what_is_made_for_it() {
    let mut province = Province::made(&[GUANGZHOU]).await;
    province.start_hub().await.expect("it starts");
    let node = province.node(GUANGZHOU).clone();
    let key = fs::read_to_string(Paths::new(&node.data_dir).city_key()).expect("a key");
    let plain = province.file("plain").display().to_string();
    let made = json(&node, &["backup", "create", &plain, "--unencrypted", "--without-keys"]).await;
    assert_eq!((&made["keys"], &made["encrypted"]), (&false.into(), &false.into()));
    let found = json(&node, &["backup", "verify", &plain]).await;
    assert_eq!(found["sound"], true, "{found}");

    let recipient = Paths::new(&node.data_dir).linking_recipient().expect("a recipient").to_string();
    let identity = province.file("identity");
    fs::copy(node.data_dir.join("keys/linking.identity"), &identity).expect("copied");
    let identity = identity.display().to_string();
    let sealed = province.file("sealed").display().to_string();
    json(&node, &["backup", "create", &sealed, "--recipient", &recipient]).await;
    assert!(!contains(Path::new(&sealed), key.trim()));
    let (code, _) = refused(&node, &["backup", "verify", &sealed]).await;
    assert_eq!(code, 2, "an identity is needed");
    json(&node, &["backup", "verify", &sealed, "--identity", &identity]).await;
    let (secret, wrong, short) = (passphrase(&province), province.file("wrong"), province.file("short"));
    fs::write(&wrong, "another passphrase\n").expect("written");
    fs::write(&short, "too short\n").expect("written");
    let [wrong, short] = [wrong, short].map(|file| file.display().to_string());
    let locked = province.file("locked").display().to_string();
    let (code, said) = refused(&node, &["backup", "create", &locked, "--passphrase-file", &short]).await;
    assert!(code == 2 && !Path::new(&locked).exists(), "{said}");
    json(&node, &["backup", "create", &locked, "--passphrase-file", &secret]).await;
    json(&node, &["backup", "verify", &locked, "--passphrase-file", &secret]).await;
    let (code, said) = refused(&node, &["backup", "verify", &locked, "--passphrase-file", &wrong]).await;
    assert_eq!(code, 6, "{said}");

    // Without keys it is put back, and not opened before they are there.
    let back = province.file("back").display().to_string();
    let told =
        node.answer(&["backup", "restore", &plain, "--json", "--option", &format!("data_dir={back}")]).await;
    assert!(told.is_err(), "the data directory that is named is not empty");
    fs::rename(&node.data_dir, province.file("gone")).expect("lost");
    let told = json(&node, &["backup", "restore", &plain]).await;
    assert_eq!(told["opened"], false, "{told}");
    let (code, said) = refused(&node, &["status"]).await;
    assert_eq!(code, 1, "{said}");
    fs::create_dir(node.data_dir.join("keys")).expect("made");
    for name in names(&province.file("gone/keys")) {
        let (from, to) = (province.file("gone/keys").join(&name), node.data_dir.join("keys").join(&name));
        if from.is_file() {
            fs::copy(from, to).expect("put back");
        }
    }
    assert_eq!(json(&node, &["verify"]).await["sound"], true);
    // Not even with what came with it can a leftover be taken for a site.
    fs::remove_dir_all(&node.data_dir).expect("removed");
    fs::create_dir_all(node.data_dir.join(".restoring/log")).expect("a restore that was cut short");
    json(&node, &["backup", "restore", &sealed, "--identity", &identity]).await;
    assert!(!node.data_dir.join(".restoring").exists());
    assert_eq!(json(&node, &["verify"]).await["sound"], true);
    let audit = node.answer(&["audit", "list", "--json"]).await.expect("listed");
    assert!(audit.contains("PUT_BACK"), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sites_that_are_put_back_know_that_they_are_old_copies() {
    let mut province = Province::running(&[GUANGZHOU]).await;
    province.door(GUANGZHOU).await.put(MEMBER, None, &member(1)).await.expect("a member");
    province.equal().await;
    let secret = passphrase(&province);
    let (hub, node) = (province.hub().clone(), province.node(GUANGZHOU).clone());
    let (of_hub, of_node) = (
        province.file("hub.backup").display().to_string(),
        province.file("node.backup").display().to_string(),
    );
    json(&hub, &["backup", "create", &of_hub, "--passphrase-file", &secret]).await;
    json(&node, &["backup", "create", &of_node, "--passphrase-file", &secret]).await;

    // The hub: nobody is let in before a person has looked, though no city can prove a loss.
    province.stop_hub().await.expect("it stops");
    fs::remove_dir_all(&hub.data_dir).expect("lost");
    json(&hub, &["backup", "restore", &of_hub, "--passphrase-file", &secret]).await;
    province.start_hub().await.expect("it starts");
    let (code, said) = refused(&hub, &["city", "invite", "440100"]).await;
    assert!(code != 0 && said.contains("city confirm"), "{said}");
    json(&hub, &["city", "confirm", "--yes"]).await;
    linked(&province.door(GUANGZHOU).await, Link::Connected).await;

    // The node: it has begun another session since, so that this is an old copy.
    province.door(GUANGZHOU).await.put(MEMBER, None, &member(2)).await.expect("a member");
    province.equal().await;
    province.stop_node(GUANGZHOU).await.expect("it stops");
    fs::remove_dir_all(&node.data_dir).expect("lost");
    json(&node, &["backup", "restore", &of_node, "--passphrase-file", &secret]).await;
    province.start_node(GUANGZHOU).await.expect("it starts");
    linked(&province.door(GUANGZHOU).await, Link::Diverged).await;
    for home in [&hub, &node] {
        assert_eq!(json(home, &["verify"]).await["sound"], true);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_belong_among_the_keys_is_named_and_the_backup_is_good() {
    let province = Province::made(&[GUANGZHOU]).await;
    let node = province.node(GUANGZHOU).clone();
    let keys = node.data_dir.join("keys");
    for name in ["linking.identity~", ".city.key.swp", "own.key"] {
        fs::write(keys.join(name), name).expect("written");
    }
    let file = province.file("site.backup").display().to_string();
    let output = node.command(&["backup", "create", &file, "--unencrypted", "--lang", "en"]).await;
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for name in ["linking.identity~", ".city.key.swp"] {
        let line = said.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name}: {said}"));
        assert!(line.contains("is not in the backup"), "{line}");
    }
    assert!(!said.contains("own.key"), "{said}");
    assert_eq!(json(&node, &["backup", "verify", &file]).await["sound"], true);
    fs::remove_dir_all(&node.data_dir).expect("lost");
    json(&node, &["backup", "restore", &file]).await;
    let back = names(&keys);
    assert!(back.contains(&"own.key".into()) && back.contains(&"city.key".into()), "{back:?}");
    assert!(!back.iter().any(|name| name.contains('~') || name.contains("swp")), "{back:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_others_can_read_is_told() {
    let province = Province::made(&[GUANGZHOU]).await;
    let node = province.node(GUANGZHOU).clone();
    let told = async |verb: &str, file: &str, flag: &str, secret: &str, mode: u32| {
        fs::set_permissions(secret, fs::Permissions::from_mode(mode)).expect("set");
        let args = ["backup", verb, file, flag, secret, "--lang", "en"];
        let output = node.command(&args).await.expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "it is taken all the same: {said}");
        said.contains(&format!("chmod 600 {secret}"))
    };
    let (sealed, locked) = (province.file("sealed"), province.file("locked"));
    let [sealed, locked] = [sealed, locked].map(|file| file.display().to_string());
    let recipient = Paths::new(&node.data_dir).linking_recipient().expect("a recipient").to_string();
    json(&node, &["backup", "create", &sealed, "--recipient", &recipient]).await;
    let identity = node.data_dir.join("keys/linking.identity").display().to_string();
    for (mode, expected) in [(0o644, true), (0o640, true), (0o400, false), (0o600, false)] {
        assert_eq!(told("verify", &sealed, "--identity", &identity, mode).await, expected, "{mode:o}");
    }
    assert!(told("create", &locked, "--passphrase-file", &passphrase(&province), 0o644).await);
}
