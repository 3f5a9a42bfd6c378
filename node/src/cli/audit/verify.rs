//! `audit verify`.

use liandong_proto::id::{hex, unhex};
use liandong_proto::pb::audit::v1 as pb;
use serde_json::json;

use super::Way;
use crate::caller::Caller;
use crate::cli::exit::{Exit, Failure};
use crate::cli::screen::Screen;
use crate::say;
use crate::text::counted;

/// Flags of `audit verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// 以前记下的编号和哈希，这一条必须还在 · A number and hash noted before: that record must still be there
    #[arg(long, value_name = "NUMBER:HASH")]
    pub expect: Option<String>,
}

impl VerifyArgs {
    pub(super) fn asked(&self, caller: &Caller) -> Result<pb::VerifyRequest, Failure> {
        let mut asked = pb::VerifyRequest {
            reader: caller.author.clone(),
            purpose: caller.purpose.clone(),
            ..pb::VerifyRequest::default()
        };
        if let Some(text) = &self.expect {
            let read = text.trim().split_once(':').and_then(|(number, hash)| {
                let hash = unhex(hash.as_bytes()).filter(|hash| hash.len() == 32)?;
                Some((number.parse().ok().filter(|number| *number > 0)?, hash))
            });
            let (number, hash) = read.ok_or_else(|| {
                Failure::usage(say!(
                    "--expect 应写成 编号:哈希，照抄 status 或 audit verify 的输出",
                    "--expect is written as NUMBER:HASH, as status and audit verify show them"
                ))
            })?;
            (asked.expect_number, asked.expect_hash) = (number, hash.into());
        }
        Ok(asked)
    }
}

pub(super) async fn run(mut way: Way, asked: pb::VerifyRequest, screen: &Screen) -> Result<Exit, Failure> {
    let found = way.verify(asked).await?;
    let is_sound = found.zh.is_empty();
    let faults: Vec<_> =
        found.zh.iter().zip(&found.en).map(|(zh, en)| json!({ "zh": zh, "en": en })).collect();
    let (number, hash) = (found.number, hex(&found.hash));
    let json = json!({
        "sound": is_sound,
        "records": found.records,
        "number": number,
        "hash": hash,
        "faults": faults,
    });
    screen.answer(&json, || {
        let records = found.records;
        let (count, faults) = (counted(records, "record"), found.zh.len());
        let head = if is_sound {
            say!(
                "完好：{records} 条。最后一条 {number}:{hash}\n请把这一行记在本机之外，以后用 --expect 核对末尾没有被截掉",
                "sound: {count}. The newest is {number}:{hash}\nNote it away from this machine: --expect tells later \
                 whether the end was cut off"
            )
        } else {
            let found = counted(faults as u64, "fault");
            say!(
                "读到 {records} 条，发现 {faults} 处不符；请原样保留 audit/，查明是谁动过：",
                "{count} read, {found} found; keep audit/ as it is, and find out who touched it:"
            )
        };
        let faults = screen.lang.pick(&found.zh, &found.en).iter().map(String::as_str);
        std::iter::once(head.in_lang(screen.lang)).chain(faults).collect::<Vec<_>>().join("\n  ")
    })?;
    Ok(if is_sound { Exit::Done } else { Exit::Damaged })
}
