//! What was looked at, and what was found.

use liandong_proto::schema::Text;
use serde_json::{Value, json};

use super::codes::{Code, Severity};
use crate::cli::screen::Screen;
use crate::text::{Lang, Said};

/// What there is to look at, in the order of the answer.
pub static CHECKS: &[(&str, Text)] = &[
    ("site", Text { zh: "站点", en: "site" }),
    ("disk", Text { zh: "磁盘", en: "disk" }),
    ("clock", Text { zh: "时钟", en: "clock" }),
    ("log", Text { zh: "日志链", en: "log chain" }),
    ("audit", Text { zh: "审计日志", en: "audit log" }),
    ("index", Text { zh: "索引摘要", en: "index digest" }),
    ("sync", Text { zh: "同步", en: "sync" }),
    ("held", Text { zh: "暂存的值", en: "held values" }),
    ("certificate", Text { zh: "证书", en: "certificate" }),
    ("cities", Text { zh: "各市", en: "cities" }),
    ("mirror", Text { zh: "镜像", en: "mirror" }),
    ("backup", Text { zh: "备份", en: "backup" }),
];

/// How a check ended.
#[derive(Debug, PartialEq)]
enum Outcome {
    Fine(Said),
    Found(&'static Code, Said),
    NotDone(Said),
}

/// What `doctor` has to say.
#[derive(Debug, Default)]
pub struct Report(Vec<(&'static str, Outcome)>);

impl Report {
    /// All is well with something.
    pub fn fine(&mut self, check: &'static str, said: Said) {
        self.0.push((check, Outcome::Fine(said)));
    }

    /// Something was found; `said` is about this case.
    pub fn found(&mut self, check: &'static str, code: &'static Code, said: Said) {
        self.0.push((check, Outcome::Found(code, said)));
    }

    /// Something could not be looked at.
    pub fn not_done(&mut self, check: &'static str, why: Said) {
        self.0.push((check, Outcome::NotDone(why)));
    }

    /// Takes over what another has to say.
    pub fn append(&mut self, mut other: Report) {
        self.0.append(&mut other.0);
    }

    /// Whether there is something to do.
    pub fn is_sound(&self) -> bool {
        self.findings().all(|(_, code, _)| code.severity == Severity::Note)
    }

    fn findings(&self) -> impl Iterator<Item = (&'static str, &'static Code, &Said)> {
        self.0.iter().filter_map(|(check, outcome)| match outcome {
            Outcome::Found(code, said) => Some((*check, *code, said)),
            _ => None,
        })
    }

    /// What there is of each check, in their order.
    fn checks(&self) -> impl Iterator<Item = (&'static str, Text, &Outcome)> {
        CHECKS.iter().flat_map(|(name, label)| {
            let of = self.0.iter().filter(move |(check, _)| check == name);
            of.map(move |(_, outcome)| (*name, *label, outcome))
        })
    }

    /// For programs.
    pub fn json(&self, is_running: bool) -> Value {
        let both = |text: &Text| json!({ "zh": text.zh, "en": text.en });
        let said = |said: &Said| json!({ "zh": said.zh, "en": said.en });
        let findings = self.findings().map(|(check, code, detail)| {
            json!({
                "code": code.name,
                "severity": code.severity.words().0,
                "check": check,
                "detail": said(detail),
                "cause": both(&code.cause),
                "effect": both(&code.effect),
                "next": both(&code.next),
            })
        });
        let checks = self.checks().map(|(name, _, outcome)| {
            let (result, detail) = match outcome {
                Outcome::Fine(detail) => ("fine", detail),
                Outcome::Found(_, detail) => ("found", detail),
                Outcome::NotDone(why) => ("not_done", why),
            };
            json!({ "check": name, "result": result, "detail": said(detail) })
        });
        json!({
            "sound": self.is_sound(),
            "running": is_running,
            "findings": findings.collect::<Vec<_>>(),
            "checks": checks.collect::<Vec<_>>(),
        })
    }

    /// For people.
    pub fn text(&self, is_running: bool, screen: &Screen) -> String {
        let lang = screen.lang;
        let mut out = String::new();
        let mut line = |text: String| {
            out.push_str(&text);
            out.push('\n');
        };
        line(self.head(lang).to_owned());
        if !is_running {
            line(
                lang.pick(
                    "站点没有运行，由本命令临时打开：与枢纽有关的没有检查",
                    "the site is not running and was opened for this command: nothing about the hub was checked",
                )
                .to_owned(),
            );
        }
        for (_, label, outcome) in self.checks() {
            let (label, colon) = (lang.of(label), lang.pick("：", ": "));
            match outcome {
                Outcome::Fine(said) => line(format!("  ✓ {label}{colon}{}", said.in_lang(lang))),
                Outcome::NotDone(why) => {
                    let words = lang.pick("没有检查：", "not checked: ");
                    line(format!("  - {label}{colon}{words}{}", why.in_lang(lang)));
                }
                Outcome::Found(code, said) => {
                    let severity = lang.of(code.severity.words().1);
                    line(format!("  ✗ {label}{colon}{} [{severity}] {}", code.name, lang.of(code.cause)));
                    line(format!("      {}", said.in_lang(lang)));
                    line(format!("      {}{}", lang.pick("影响：", "effect: "), lang.of(code.effect)));
                    line(format!("      {}{}", lang.pick("下一步：", "next: "), lang.of(code.next)));
                }
            }
        }
        out
    }

    fn head(&self, lang: Lang) -> &'static str {
        if self.is_sound() {
            lang.pick("没有发现需要处理的问题", "nothing was found that needs to be mended")
        } else {
            lang.pick(
                "发现问题；各代码的说明见 docs/doctor.md",
                "something was found; docs/doctor.md explains each code",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::codes::{CODES, DISK_LOW, NO_BACKUP};
    use crate::say;

    #[test]
    fn a_note_is_no_reason_to_act_and_a_warning_is() {
        let mut report = Report::default();
        report.fine("disk", say!("有", "some"));
        report.not_done("clock", say!("没有", "none"));
        report.found("backup", &NO_BACKUP, say!("没有", "none"));
        assert!(report.is_sound());
        report.found("disk", &DISK_LOW, say!("少", "little"));
        assert!(!report.is_sound());
        let json = report.json(true);
        assert_eq!(json["findings"][1]["code"], "DISK_LOW");
        assert_eq!(json["checks"].as_array().map(Vec::len), Some(4));
        let text = report.text(true, &Screen::new(Lang::En, false, false));
        assert!(text.contains("DISK_LOW [warning]") && text.contains("next: free some space"), "{text}");
    }

    #[test]
    fn every_code_says_all_of_it_in_both_languages() {
        for code in CODES {
            for text in [code.cause, code.effect, code.next] {
                assert!(!text.zh.is_empty() && !text.en.is_empty(), "{}", code.name);
                assert!(
                    !text.zh.contains('|') && !text.en.contains('|'),
                    "{}: it stands in a table",
                    code.name
                );
            }
        }
        let mut names: Vec<&str> = CODES.iter().map(|code| code.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CODES.len());
    }
}
