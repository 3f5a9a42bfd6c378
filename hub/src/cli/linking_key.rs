//! `linking-key …`: the province's key for tokens. Made and wrapped away from the hub, which must never have it; the hub
//! relays what was wrapped.

use std::path::{Path, PathBuf};

use liandong_node::cli::door::Door;
use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::cli::global::city_named;
use liandong_node::cli::screen::Screen;
use liandong_node::json::site_text;
use liandong_node::now::random;
use liandong_node::say;
use liandong_node::site::{read_key, write_key, write_private};
use liandong_node::trust::wrap;
use liandong_proto::pb::hub::v1::SendLinkingKeyRequest;
use liandong_proto::pb::hub::v1::hub_client::HubClient;
use liandong_proto::share::LinkingKey;
use serde_json::json;

use super::Setup;

/// What to do with the linking key.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum LinkingKeyCommand {
    /// 生成关联密钥；请在与枢纽分开的机器上运行 · Make a linking key; run it on another machine than the hub's
    New(NewArgs),
    /// 为一个城市封装关联密钥；请在与枢纽分开的机器上运行 · Wrap a linking key for one city; run it on another machine than the hub's
    Wrap(WrapArgs),
    /// 转交封装好的关联密钥 · Relay a linking key that was wrapped for a city
    Send(SendArgs),
}

/// Flags of `wrap`.
#[derive(Debug, Clone, clap::Args)]
pub struct WrapArgs {
    /// 关联密钥文件 · File with the linking key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// 该市的收件公钥（age1…），见 city list --json · The city's recipient (age1…), as city list --json shows it
    #[arg(long = "for", value_name = "RECIPIENT")]
    recipient: String,
    /// 写入的文件，不覆盖已有的 · The file to write; one that is there is left alone
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// What to send, and to whom.
#[derive(Debug, Clone, clap::Args)]
pub struct SendArgs {
    /// 城市代码或名称 · Code or name of the city
    city: String,
    /// linking-key wrap 写出的文件 · The file that linking-key wrap has written
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Flags of `new`.
#[derive(Debug, Clone, clap::Args)]
pub struct NewArgs {
    /// 写入的文件，不覆盖已有的 · The file to write; one that is there is left alone
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Makes or wraps a key; neither needs a hub.
///
/// # Errors
/// When there is such a file, or it cannot be written.
pub fn run(command: &LinkingKeyCommand, screen: &Screen) -> Result<Exit, Failure> {
    match command {
        LinkingKeyCommand::New(args) => new(args, screen),
        LinkingKeyCommand::Wrap(args) => wrap(args, screen),
        LinkingKeyCommand::Send(_) => Ok(Exit::Done),
    }
}

/// The fingerprint that tokens carry, and the one that people compare.
fn fingerprints(key: &[u8; 32]) -> (String, String) {
    let key = LinkingKey::new(key);
    (key.fingerprint().to_owned(), key.long_fingerprint())
}

/// Refuses to write over a file.
fn absent(out: &Path) -> Result<(), Failure> {
    if !out.exists() {
        return Ok(());
    }
    let shown = out.display();
    Err(Failure::usage(say!(
        "{shown} 已经存在，没有改动；请换一个文件名",
        "{shown} is there already, nothing was changed; choose another name"
    )))
}

fn new(NewArgs { out }: &NewArgs, screen: &Screen) -> Result<Exit, Failure> {
    absent(out)?;
    let shown = out.display();
    let key = random();
    write_key(out, &key)?;
    let (fingerprint, long) = fingerprints(&key);
    screen.answer(&json!({ "file": shown.to_string(), "fingerprint": fingerprint, "long_fingerprint": long }), || {
        let said = say!(
            "关联密钥已写入 {shown}，指纹 {long}\n请用 linking-key wrap 为各市封装后转交；不要放到枢纽上，并另存一份",
            "the linking key is in {shown}, fingerprint {long}\nWrap it for each city with linking-key wrap; never \
             put it on the hub, and keep a copy elsewhere"
        );
        said.in_lang(screen.lang).to_owned()
    })?;
    Ok(Exit::Done)
}

fn wrap(args: &WrapArgs, screen: &Screen) -> Result<Exit, Failure> {
    absent(&args.out)?;
    let recipient = wrap::recipient(&args.recipient).map_err(|why| {
        Failure::usage(say!(
            "收件公钥无法识别（{why}）；请从 city list --json 完整复制，以 age1 开头",
            "the recipient cannot be read ({why}); copy it whole from city list --json, with age1 at its beginning"
        ))
    })?;
    let key = read_key(&args.key)?;
    let wrapped = wrap::wrap(&key, &recipient).map_err(|error| {
        let en = error.to_string();
        Failure::internal(say!("无法封装：{en}", "the key cannot be wrapped: {en}"))
    })?;
    write_private(&args.out, &wrapped)?;
    let (shown, (fingerprint, long)) = (args.out.display(), fingerprints(&key));
    screen.answer(&json!({ "file": shown.to_string(), "fingerprint": fingerprint, "long_fingerprint": long }), || {
        let said = say!(
            "指纹为 {long} 的关联密钥已封装到 {shown}，只有该市能打开；该市收到后请用 linking-key list 核对\n请在枢纽上运行：liandong-hub linking-key send \
             城市 {shown}",
            "the linking key {long} is wrapped in {shown}; only that city opens it, and compares it by linking-key list\nAt the hub run: liandong-hub \
             linking-key send CITY {shown}"
        );
        said.in_lang(screen.lang).to_owned()
    })?;
    Ok(Exit::Done)
}

/// Has the hub relay a wrapped key.
///
/// # Errors
/// When it is none, or the city is no member.
pub async fn send(door: &Door, args: &SendArgs, setup: &Setup) -> Result<Exit, Failure> {
    let site = city_named(&args.city)?;
    let file = std::fs::read(&args.file).map_err(|error| Failure::file(&args.file, &error))?;
    let (author, linking_key) = (setup.author.clone(), file.into());
    let asked = SendLinkingKeyRequest { site: site.0, author, linking_key };
    HubClient::new(door.channel()).send_linking_key(asked).await?;
    setup.screen.answer(&json!({ "site": site.to_string(), "sent": true }), || {
        let name = site_text(site, setup.screen.lang);
        let said = say!(
            "{name} 在线时立即收到，否则在下次连接时收到，并自动换用",
            "{name} gets it at once if it is connected, else with its next connection, and takes it into use by itself"
        );
        said.in_lang(setup.screen.lang).to_owned()
    })?;
    Ok(Exit::Done)
}
