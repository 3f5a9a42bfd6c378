//! `outbound …`: what leaves this site, and the word that it may.

mod shown;

use std::io::{self, BufRead as _, IsTerminal as _};

use liandong_proto::id::hex;
use liandong_proto::pb::node::v1 as pb;
use pb::outbound_client::OutboundClient;
use serde_json::json;

use super::Setup;
use super::door::Door;
use super::exit::{Exit, Failure};
use crate::api::MESSAGE_BYTES;
use crate::say;

/// What to do about what leaves.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum OutboundCommand {
    /// 查看哪些内容会离开本市：各类数量、各字段的共享方式、样例 · Show what leaves: counts, how far each field travels, samples
    Preview(PreviewArgs),
    /// 确认这些内容可以离开本市；确认之前不同步 · Accept that; nothing syncs before
    Accept(AcceptArgs),
}

/// Flags of `preview`.
#[derive(Debug, Clone, clap::Args)]
pub struct PreviewArgs {
    /// 每类显示几条样例，最多 100 · Samples of each kind, at most 100
    #[arg(long, value_name = "N", default_value_t = 2)]
    rows: u32,
}

/// Flags of `accept`.
#[derive(Debug, Clone, clap::Args)]
pub struct AcceptArgs {
    /// 不再询问 · Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Carries out one of them.
///
/// # Errors
/// [`Failure`].
pub async fn run(door: &Door, command: &OutboundCommand, setup: &Setup) -> Result<Exit, Failure> {
    let mut client = OutboundClient::new(door.channel()).max_decoding_message_size(MESSAGE_BYTES);
    let rows = match command {
        OutboundCommand::Preview(args) => args.rows,
        OutboundCommand::Accept(_) => 0,
    };
    let caller = door.caller().doing("outbound preview");
    let asked = pb::PreviewRequest { rows, reader: caller.author, purpose: caller.purpose };
    let preview = client.preview(asked).await?.into_inner();
    let OutboundCommand::Accept(args) = command else {
        let screen = &setup.screen;
        screen.answer(&shown::json(&preview), || shown::text(&preview, screen.lang))?;
        return Ok(Exit::Done);
    };
    if !preview.accepted {
        let summary = shown::text(&preview, setup.screen.lang);
        setup.screen.note(&say!("{summary}", "{summary}"));
        if !args.yes {
            ask(setup)?;
        }
        let (fingerprint, author) = (preview.fingerprint.clone(), setup.author.clone());
        client.accept(pb::AcceptRequest { fingerprint, author }).await?;
    }
    let json = json!({ "accepted": true, "rules": hex(&preview.fingerprint), "before": preview.accepted });
    setup.screen.answer(&json, || {
        let shown = setup.data_dir.display();
        let said = match (preview.accepted, door.is_elsewhere()) {
            (true, _) => say!("现行共享规则早已确认，没有变化", "these rules have been accepted already"),
            (false, true) => {
                say!("已确认并记入本站点日志；同步随即开始", "accepted, and in this site's log; sync begins")
            }
            (false, false) => say!(
                "已确认并记入本站点日志\n下一步：liandong-node run --data-dir {shown}，同步随即开始",
                "accepted, and in this site's log\nNext: liandong-node run --data-dir {shown}, and sync begins"
            ),
        };
        said.in_lang(setup.screen.lang).to_owned()
    })?;
    Ok(Exit::Done)
}

/// Asks at a terminal; whoever is not at one says so by a flag.
fn ask(setup: &Setup) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(say!(
            "没有终端可以询问，没有确认；看过 outbound preview 之后，请加 --yes 再运行",
            "there is no terminal to ask at, so nothing was accepted; look at outbound preview, then run this with --yes"
        )));
    }
    setup.screen.note(&say!(
        "以上内容可以离开本市，发往省级枢纽？输入 yes 确认：",
        "may all this leave the city for the province's hub? Type yes:"
    ));
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.map_err(|error| Failure::file(std::path::Path::new("stdin"), &error))?;
    match line.trim() {
        "yes" => Ok(()),
        _ => Err(Failure::usage(say!("没有确认，仍不同步", "nothing was accepted, and nothing syncs"))),
    }
}
