//! Keys of a site that has not joined yet: what replaces them, what goes on opening, and what is never shown.

use super::*;

fn check(place: &Place, typed: &str) -> (Option<i32>, String) {
    let data_dir = place.data_dir().display().to_string();
    let mut command = program(&["recovery-key", "check", "--data-dir", &data_dir]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("it starts");
    writeln!(child.stdin.take().expect("a pipe"), "{typed}").expect("written");
    let output = child.wait_with_output().expect("it ends");
    (output.status.code(), stderr(&output))
}

fn file(place: &Place, name: &str) -> String {
    std::fs::read_to_string(place.data_dir().join("keys").join(name)).expect("readable")
}

#[test]
fn a_recovery_key_is_replaced_and_what_the_one_before_sealed_still_opens() {
    let place = Place::new();
    let rows = [format!("王芳,{ID},13800138000,")];
    let sheet = place.file("roster.csv", roster(&[&rows[0]]));
    place.json(&["import", &sheet, "--kind", "member"], 0);
    let before = file(&place, "city.key");
    assert_eq!(place.run(&["recovery-key", "rotate"]).status.code(), Some(2), "nobody to type it again");
    assert_eq!(file(&place, "city.key"), before);
    let rotated = ["recovery-key", "rotate", "--unattended"];
    let keys = [&rotated, &rotated].map(|args| {
        let told = place.json(args, 0);
        assert_eq!(told["in_use"], true, "{told}");
        told["recovery_key"].as_str().expect("a key").to_owned()
    });
    assert_ne!(file(&place, "city.key"), before);
    assert_eq!(check(&place, &keys[1]).0, Some(0));
    let (code, told) = check(&place, &keys[0]);
    assert!(code == Some(3) && told.contains("has been replaced"), "{told}");
    // The log alone, under three keys.
    place.json(&["rebuild"], 0);
    assert_eq!(place.members()[0]["fields"]["id_number"], ID);
    assert_eq!(place.json(&["verify"], 0)["sound"], true);
    let modes = std::fs::read_dir(place.data_dir().join("keys/city")).expect("a directory").map(|entry| {
        std::os::unix::fs::PermissionsExt::mode(
            &entry.expect("an entry").metadata().expect("there").permissions(),
        )
    });
    assert_eq!(modes.map(|mode| mode & 0o777).collect::<Vec<_>>(), [0o600, 0o600]);
}

#[test]
fn a_signing_key_is_replaced_only_when_that_is_confirmed() {
    let place = Place::new();
    let before = file(&place, "signing.key");
    let output = place.run(&["signing-key", "rotate"]);
    assert!(output.status.code() == Some(2) && stderr(&output).contains("--yes"), "{output:?}");
    assert_eq!(file(&place, "signing.key"), before);
    let told = place.json(&["signing-key", "rotate", "--yes"], 0);
    assert_eq!(told["in_use"], true, "{told}");
    assert_ne!(file(&place, "signing.key"), before);
    assert_eq!(place.json(&["status"], 0)["signing_key"], told["new"]);
    assert!(!place.data_dir().join("keys/signing.next").exists());
}

#[test]
fn linking_keys_are_listed_by_their_fingerprints() {
    let place = Place::new();
    let none = place.json(&["linking-key", "list"], 0);
    assert!(
        none["in_use"].is_null() && none["recipient"].as_str().is_some_and(|it| it.starts_with("age1")),
        "{none}"
    );
    let key = "07".repeat(32);
    let path = place.file("linking.key", format!("{key}\n"));
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("private");
    let option = format!("linking_key={path}");
    let list = ["linking-key", "list", "--option", &option];
    let listed = place.json(&list, 0);
    let fingerprint = listed["in_use"].as_str().expect("a fingerprint").to_owned();
    assert_eq!((listed["fingerprints"].as_array().map(Vec::len), fingerprint.len()), (Some(1), 8));
    let shown = String::from_utf8(place.run(&list).stdout).expect("text");
    assert!(shown.replace(' ', "").contains(&fingerprint) && !shown.contains(&key), "{shown}");
    assert_eq!(listed["long_fingerprints"][0].as_str().map(str::len), Some(39), "{listed}");
    assert!(!shown.contains("AGE-SECRET-KEY"), "{shown}");
}
