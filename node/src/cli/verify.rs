//! `verify`: reads the whole log and index and compares them.

use liandong_proto::pb::node::v1::{Pin, UpkeepRequest};
use liandong_proto::schema::Text;
use serde_json::json;

use super::door::Door;
use super::exit::{Exit, Failure};
use super::screen::Screen;
use crate::json::site_named;
use crate::say;
use crate::text::counted;

/// Flags of `verify`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct VerifyArgs {
    /// 以协议上写明的签名密钥指纹为准，可重复 · Trust this fingerprint of a site's first signing key, from the agreement; may
    /// be repeated
    #[arg(long = "pin", value_name = "CODE=FINGERPRINT")]
    pins: Vec<String>,
}

/// A pin as it is typed: code or name, `=`, 32 hexadecimal digits, in groups or not.
fn pin(text: &str) -> Result<Pin, Failure> {
    let wrong = || {
        Failure::usage(say!(
            "“{text}”不是“城市=指纹”；指纹是 32 位十六进制数字，如 city list --json 所示",
            "\"{text}\" is not CITY=FINGERPRINT; a fingerprint has 32 hexadecimal digits, as city list --json shows it"
        ))
    };
    let (site, fingerprint) = text.split_once('=').ok_or_else(wrong)?;
    let site = site_named(site.trim()).ok_or_else(wrong)?;
    let fingerprint: String = fingerprint.chars().filter(|c| !c.is_whitespace()).collect();
    if fingerprint.len() != 32 || !fingerprint.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    Ok(Pin { site: site.0, fingerprint: fingerprint.to_lowercase() })
}

/// Checks the site; every fault is listed.
///
/// # Errors
/// [`Failure`] when the check could not be finished.
pub async fn run(door: &Door, args: &VerifyArgs, screen: &Screen) -> Result<Exit, Failure> {
    let pins = args.pins.iter().map(|text| pin(text)).collect::<Result<Vec<Pin>, Failure>>()?;
    let bar = screen.bar(Text { zh: "检查日志和索引", en: "checking log and index" });
    let request = UpkeepRequest { author: door.caller().author.clone(), pins };
    let mut progress = door.upkeep().verify(request).await?.into_inner();
    let mut last = None;
    while let Some(step) = progress.message().await? {
        bar.at(step.done, step.total);
        if step.finished {
            last = Some(step);
        }
    }
    bar.finish();
    let found = last.ok_or_else(|| {
        Failure::internal(say!("检查没有做完，请重试", "the check was not finished; try again"))
    })?;
    let faults: Vec<_> =
        found.zh.iter().zip(&found.en).map(|(zh, en)| json!({ "zh": zh, "en": en })).collect();
    let json = json!({
        "sound": found.sound,
        "entries": found.total,
        "rows": found.records,
        "digest": found.digest,
        "faults": faults,
        "pins": found.pins_zh.iter().zip(&found.pins_en).map(|(zh, en)| json!({ "zh": zh, "en": en })).collect::<Vec<_>>(),
    });
    screen.answer(&json, || {
        let (entries, rows, digest) = (found.total, found.records, &found.digest);
        let (in_log, in_index) = (counted(entries, "record"), counted(rows, "row"));
        let head = if found.sound {
            say!(
                "完好：日志 {entries} 条，索引 {rows} 行，摘要 {digest}",
                "sound: {in_log} in the log, {in_index} in the index, digest {digest}"
            )
        } else {
            let faults = found.zh.len();
            let count = counted(faults as u64, "fault");
            say!(
                "发现 {faults} 处损坏；本地工作请先停下，联系维护人员。索引的问题可用 rebuild 重建，日志的损坏可用 repair 修复（停下程序后），或放回备份：",
                "{count} found; stop working here and tell whoever maintains this. Faults of the index are mended by \
                 rebuild, damage to the log by repair (with the program stopped) or a backup:"
            )
        };
        let pins = screen.lang.pick(&found.pins_zh, &found.pins_en).iter().map(String::as_str);
        let faults = screen.lang.pick(&found.zh, &found.en).iter().map(String::as_str);
        std::iter::once(head.in_lang(screen.lang)).chain(pins).chain(faults).collect::<Vec<_>>().join("\n  ")
    })?;
    Ok(if found.sound { Exit::Done } else { Exit::Damaged })
}
