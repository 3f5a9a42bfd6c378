//! Importing again: namesakes without a number, and records that were deleted meanwhile.

use super::*;

const TWINS: [&str; 2] = ["李伟,,13800000111,", "李伟,,13800000222,"];

fn mobiles(place: &Place) -> Vec<String> {
    let text = |record: &Value| record["fields"]["mobile"].as_str().unwrap_or_default().to_owned();
    let mut mobiles: Vec<String> = place.members().iter().map(text).collect();
    mobiles.sort_unstable();
    mobiles
}

/// Imports some rows; how many of them are new, updated, unchanged, sent back and, of these, unclear.
#[track_caller]
fn check_rows(place: &Place, rows: &[&str], exit: i32, expected: [u64; 5]) -> Value {
    let file = place.file("again.csv", roster(rows));
    let told = place.json(&["import", &file, "--kind", "member"], exit);
    let counts = ["saved", "updated", "unchanged", "rejected", "unclear"];
    assert_eq!(counts.map(|name| told[name].as_u64().unwrap_or(u64::MAX)), expected, "{told}");
    told
}

#[test]
fn namesakes_are_told_apart_by_their_mobiles() {
    let place = Place::new();
    check_rows(&place, &TWINS, 0, [2, 0, 0, 0, 0]);
    check_rows(&place, &TWINS[1..], 0, [0, 0, 1, 0, 0]);
    check_rows(&place, &[TWINS[1], TWINS[0]], 0, [0, 0, 2, 0, 0]);
    assert_eq!(mobiles(&place), ["13800000111", "13800000222"]);

    let told = check_rows(&place, &["李伟,,13800000333,"], 4, [0, 0, 0, 1, 1]);
    assert_eq!(row_and_code(&told["problems"][0]), (2, "row.twins"));
    let told = check_rows(&place, &["李伟,,,"], 4, [0, 0, 0, 1, 1]);
    assert_eq!(row_and_code(&told["problems"][0]), (2, "row.twins"));
    assert_eq!(mobiles(&place), ["13800000111", "13800000222"]);

    check_rows(&place, &["李伟,,13800000333,A3"], 0, [1, 0, 0, 0, 0]);
    assert_eq!(mobiles(&place), ["13800000111", "13800000222", "13800000333"]);
}

#[test]
fn another_mobile_may_be_another_person() {
    let place = Place::new();
    check_rows(&place, &["李伟,,,", "王芳,,13800000444,"], 0, [2, 0, 0, 0, 0]);
    check_rows(&place, &["李伟,,13800000111,"], 0, [0, 1, 0, 0, 0]);
    let rows = ["李伟,,13800000222,", "王芳,,13800000444,", ",,13800000555,"];
    let told = check_rows(&place, &rows, 3, [0, 0, 1, 2, 1]);
    assert_eq!(row_and_code(&told["problems"][0]), (2, "row.differs"));
    for lang in ["zh", "en"] {
        assert!(!told["problems"][0][lang].as_str().unwrap().contains("13800000"), "{told}");
    }
    assert_eq!(mobiles(&place), ["13800000111", "13800000444"]);
}

#[test]
fn the_same_name_and_mobile_mean_one_record_whatever_else_the_row_says() {
    let place = Place::new();
    let import = |rows: &str, exit| {
        let file = place.file("more.csv", format!("姓名,手机,出生日期,职务\n{rows}\n"));
        place.json(&["import", &file, "--kind", "member"], exit)
    };
    assert_eq!(import("王芳,13800000444,1985-03,督导", 0)["saved"], 1);
    assert_eq!(import("王芳,13800000444,1985-03-12,主任", 0)["updated"], 1);
    let told = import("王芳,13800000444,1999-01-01,主任", 4);
    assert_eq!(row_and_code(&told["problems"][0]), (2, "row.differs"));
    let told = import("王芳,13800000444,,主任\n王芳,13800000444,,主任\n王芳,13800000444,,干事", 4);
    assert_eq!((&told["unchanged"], &told["unclear"]), (&2.into(), &1.into()), "{told}");
    let members = place.members();
    assert_eq!((members.len(), &members[0]["fields"]["birth_date"]), (1, &"1985-03-12".into()));
}

#[test]
fn a_deleted_member_does_not_come_back_by_an_import() {
    let place = Place::new();
    let rows = [&format!("王芳,{ID},13800138000,"), "李娜,,13700137000,", "赵敏,,,", "钱多,,,A4"];
    check_rows(&place, &rows, 0, [4, 0, 0, 0, 0]);
    let members = place.members();
    let id_of = |record: &Value| record["id"].as_str().unwrap().to_owned();
    let ids: Vec<String> = members.iter().map(id_of).collect();
    let fang = members.iter().find(|record| record["fields"]["name"] == "王芳").map(id_of).unwrap();
    for id in &ids {
        place.json(&["record", "delete", id], 0);
    }
    let told = check_rows(&place, &rows, 3, [0, 0, 0, 4, 0]);
    for problem in told["problems"].as_array().unwrap() {
        let (zh, en) = (problem["zh"].as_str().unwrap(), problem["en"].as_str().unwrap());
        assert_eq!(problem["code"], "row.deleted");
        assert!(en.starts_with("deleted on 20") && zh.contains("删除"), "{problem}");
        assert!(ids.iter().any(|id| en.contains(&format!("record put --kind member --id {id}"))), "{en}");
    }
    assert!(place.members().is_empty());

    let (name, number) = ("name=王芳", format!("id_number={ID}"));
    let back = ["record", "put", "--kind", "member", "--set", name, "--set", &number, "--id"];
    let told = place.json(&["record", "list", "--kind", "member", "--deleted"], 0);
    assert_eq!(told["deleted"], true);
    place.json(&[&back[..], &[&fang, "--set", "status=ACTIVE"]].concat(), 0);
    place.json(&["rebuild"], 0);
    check_rows(&place, &rows[..1], 0, [0, 1, 0, 0, 0]);
    assert_eq!(mobiles(&place), ["13800138000"]);
}
