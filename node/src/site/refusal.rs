//! Why a put was not taken, in words for whoever wrote it.

use liandong_proto::entry::Patch;
use liandong_proto::fields::{Fields, FieldsBuilder};
use liandong_proto::id::SiteCode;
use liandong_proto::pb::node::v1 as pb;
use liandong_proto::schema::{Enum, Kind, Party, Type, Value};
use liandong_proto::state::Reason;
use liandong_proto::validate::{self, View};

use crate::say;
use crate::text::Said;

/// Whether no record of the kind can be this site's to make.
pub fn is_anothers(kind: &Kind, site: SiteCode) -> bool {
    kind.owner == Party::Province && !site.is_province()
}

/// A kind of record that the province alone makes.
pub fn anothers(kind: &Kind) -> pb::Problem {
    let (zh, en) = (kind.title.zh, kind.title.en.to_lowercase());
    let said = say!(
        "{zh}由省级建立，没有保存；请联系省级",
        "{en}s are made by the province, nothing was saved; ask the province"
    );
    pb::Problem { code: "record.not_owner".into(), zh: said.zh, en: said.en, ..pb::Problem::default() }
}

/// A record that was erased stays erased.
pub fn erased(kind: &Kind) -> pb::Problem {
    let (zh, en) = (kind.title.zh, kind.title.en.to_lowercase());
    let said = say!(
        "这条{zh}已彻底删除，不能再改；如确有需要，请新建一条",
        "this {en} was erased and cannot be changed any more; make a new one if there is need"
    );
    pb::Problem { code: "record.erased".into(), zh: said.zh, en: said.en, ..pb::Problem::default() }
}

/// A patch that changes the status and nothing else.
pub fn step(kind: &Kind, to: i32) -> Patch {
    let mut set = FieldsBuilder::new();
    if let Some(status) = kind.status {
        set.u64(status, to as u64);
    }
    Patch { set: set.finish(), cleared: Vec::new() }
}

/// Which statuses the writer could choose instead.
pub fn next(kind: &Kind, before: &Fields, may: impl Fn(i32) -> bool) -> Said {
    let Some((tag, choices)) = statuses(kind) else { return Said::default() };
    let now = before.number(tag);
    let open: Vec<&Value> =
        choices.values.iter().filter(|value| value.number != now && may(value.number)).collect();
    let zh = open.iter().map(|value| value.label.zh).collect::<Vec<_>>().join("、");
    let en = open.iter().map(|value| value.label.en).collect::<Vec<_>>().join(", ");
    match (choices.value(now), open.is_empty()) {
        (None, true) => say!("本站点不能建立这类记录", "this site cannot begin such a record"),
        (None, false) => say!("新记录可选：{zh}", "a record may begin with: {en}"),
        (Some(Value { label, .. }), true) => {
            let (zh, en) = (label.zh, label.en);
            say!(
                "目前是“{zh}”，本站点没有可办的下一步",
                "it is \"{en}\" now, from where no step is this site's to make"
            )
        }
        (Some(Value { label, .. }), false) => {
            let (now_zh, now_en) = (label.zh, label.en);
            say!("目前是“{now_zh}”，可改为：{zh}", "it is \"{now_en}\" now and may become: {en}")
        }
    }
}

fn statuses(kind: &Kind) -> Option<(u32, &'static Enum)> {
    let field = kind.status.and_then(|tag| kind.field(tag))?;
    match field.ty {
        Type::Enum(choices) => Some((field.tag, choices)),
        _ => None,
    }
}

/// A status that does not follow, with those that do.
pub fn step_refused(kind: &Kind, tag: u32, next: Said) -> pb::Problem {
    let Said { zh, en } = next;
    let said = say!("状态不能这样变更；{zh}", "the status cannot go there; {en}");
    of_field(kind, tag, "record.step", &said)
}

/// Anything else that the rules refuse.
pub fn refused(
    kind: &Kind,
    tag: u32,
    reason: Reason,
    patch: &Patch,
    view: View,
    today: validate::Today,
) -> pb::Problem {
    if let (Reason::Invalid, Some(field)) = (reason, kind.field(tag)) {
        let group = field.group.iter().chain([&field.tag]);
        for field in group.filter_map(|tag| kind.field(*tag)) {
            if let Some(raw) = patch.set.get(field.tag)
                && let Err(found) = validate::check_value(kind, field, raw, &patch.set, view, today)
            {
                return problem(kind, &found);
            }
        }
    }
    let (code, said) = match reason {
        Reason::NotOwner => (
            "record.not_owner",
            say!(
                "不归本站点填写；请联系该字段的归属方",
                "not this site's to change; ask the party that owns it"
            ),
        ),
        _ => ("record.invalid", say!("不符合要求", "is not valid")),
    };
    of_field(kind, tag, code, &said)
}

fn of_field(kind: &Kind, tag: u32, code: &str, said: &Said) -> pb::Problem {
    let field = kind.field(tag);
    let label = field.map_or(kind.title, |field| field.label);
    pb::Problem {
        tag,
        field: field.map_or_else(String::new, |field| field.name.into()),
        code: code.into(),
        zh: format!("{}：{}", label.zh, said.zh),
        en: format!("{}: {}", label.en, said.en),
    }
}

/// What validation found.
pub fn problem(kind: &Kind, found: &validate::Problem) -> pb::Problem {
    pb::Problem {
        tag: found.tag,
        field: kind.field(found.tag).map_or_else(String::new, |field| field.name.into()),
        code: found.code().into(),
        zh: found.zh(),
        en: found.en(),
    }
}
