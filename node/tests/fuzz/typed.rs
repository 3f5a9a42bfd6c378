//! What people type in, paste or write into files. What is taken reads back; what is not is answered with a text.

use std::path::Path;

use liandong_node::api::access::{Scope, token::Token};
use liandong_node::config::{Layers, NODE_KEYS as KEYS, check_address, check_listen};
use liandong_node::json;
use liandong_node::site::RecoveryKey;
use liandong_node::text::Lang;
use liandong_node::trust::Invitation;
use liandong_proto::fields::Fields;
use liandong_proto::validate::today;
use serde_json::Value;

use crate::runner::run;
use crate::source::Source;
use crate::valid::{self, NOW_MS};

const TEXTS: [&str; 12] = [
    "hub.example.org:7444",
    "[::1]:7444",
    "127.0.0.1:0",
    "member:read",
    "*:write",
    "liandong1.",
    "陈一",
    "1985-03-12",
    "",
    "member",
    "440100",
    "ACTIVE",
];

/// A valid text bent as text or as bytes.
fn bent(source: &mut Source, text: &str) -> String {
    if source.percent(50) {
        return source.text(&[text]);
    }
    String::from_utf8_lossy(&source.mutated(text.as_bytes().to_vec())).into_owned()
}

#[test]
fn invitations_and_keys_read_back() {
    run("invitations_and_keys_read_back", 10_000, |source| {
        let address = source.text(&TEXTS);
        let invitation = Invitation { address, pin: source.array(), secret: source.array() };
        let code = invitation.to_string();
        // Made here, but perhaps with an address that is none.
        assert!(
            code.parse::<Invitation>().is_ok_and(|read| read == invitation)
                || code.parse::<Invitation>().is_err()
        );
        if let Ok(read) = bent(source, &code).parse::<Invitation>() {
            assert_eq!(read, invitation, "a code with a mistake in it is not taken");
        }
        let letters: String =
            (0..55).map(|_| source.pick(&['0', '1', 'A', 'Z', 'x', 'o', 'L', '-', ' '])).collect();
        let letters = bent(source, &letters);
        if let Ok(key) = letters.parse::<RecoveryKey>() {
            assert_eq!(
                key.to_string().parse::<RecoveryKey>().map(|key| key.to_string()),
                Ok(key.to_string())
            );
        }
        let text = Token::new().text();
        assert!(text.parse::<Token>().is_ok());
        if let Ok(token) = bent(source, &text).parse::<Token>() {
            assert_eq!(token.text(), text);
        }
        if let Ok(scope) = source.text(&TEXTS).parse::<Scope>() {
            assert!(scope.to_string().parse::<Scope>() == Ok(scope));
        }
        let text = source.text(&TEXTS);
        let _ = (check_address(&text), check_listen(&text), json::kind_named(&text), json::site_named(&text));
    });
}

#[test]
fn settings_are_read_or_answered_with_every_mistake() {
    let template = liandong_node::config::template("liandong-node", KEYS);
    let lines: Vec<String> = template
        .lines()
        .filter_map(|line| {
            line.strip_prefix('#').filter(|line| !line.starts_with(' ') && line.contains(" = "))
        })
        .map(str::to_owned)
        .collect();
    assert!(lines.len() > 10, "{template}");
    run("settings_are_read_or_answered_with_every_mistake", 4_000, |source| {
        let some: Vec<String> =
            (0..source.below(8)).map(|_| lines[source.below(lines.len())].clone()).collect();
        let text = bent(source, &some.join("\n"));
        let pair = source.text(&["sync.retry_max_s=1", "lang=zh", "data_dir=x", "="]);
        let settings = Layers::new(KEYS)
            .file(Path::new("config.toml"), &text)
            .options(std::slice::from_ref(&pair))
            .finish();
        if let Err(mistakes) = settings {
            assert!(!mistakes.to_string().is_empty());
        }
    });
}

#[test]
fn records_go_through_json_and_text() {
    run("records_go_through_json_and_text", 5_000, |source| {
        let kind = valid::kind(source);
        let fields = valid::fields(source, kind).bytes().to_vec();
        let fields = source.mutated(fields);
        let today = today(NOW_MS);
        for field in kind.fields {
            let _ = json::shown(kind, field.tag, &fields.clone().into(), source.pick(&[Lang::Zh, Lang::En]));
        }
        let _ = json::to_text(kind, fields.clone().into(), Lang::Zh);
        let Ok(mut object) = json::to_json(kind, fields.into()) else { return };
        for value in object.values_mut() {
            if source.percent(30) {
                *value = match source.below(5) {
                    0 => Value::Null,
                    1 => source.edge().into(),
                    2 => source.text(&TEXTS).into(),
                    3 => Value::Array(vec![value.take(); source.below(3)]),
                    _ => serde_json::from_str(&bent(source, &value.to_string())).unwrap_or(Value::Bool(true)),
                };
            }
        }
        if let Ok(patch) = json::from_json(kind, &object, today) {
            let set = Fields::split(patch.set.clone()).expect("a message");
            assert!(
                json::to_json(kind, patch.set).is_ok()
                    && patch.cleared.iter().all(|tag| set.get(*tag).is_none())
            );
        }
        let mut texts = Vec::new();
        for field in kind.fields {
            if source.percent(20) {
                texts.push((field.name.to_owned(), source.text(&TEXTS)));
            }
        }
        let _ = json::from_texts(kind, &texts, &[source.text(&TEXTS)], today);
    });
}
