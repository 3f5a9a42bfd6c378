//! The settings of a city's node.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use liandong_proto::schema::Text;

use super::{Key, Settings, Shape, check_address, check_listen};
use crate::api::Transport;
use crate::text::{Lang, Said};

/// Every key of a node, in the order of the template.
pub static KEYS: &[Key] = &[
    Key {
        name: "data_dir",
        doc: Text {
            zh: "数据目录：日志、索引和密钥都在其中，请放在本机磁盘上并限制访问权限。",
            en: "Data directory with log, index and keys; keep it on a local disk that only this service can \
             read.",
        },
        shape: Shape::Path,
        default: "",
        example: "\"/var/lib/liandong-node\"",
    },
    Key {
        name: "hub",
        doc: Text {
            zh: "省级枢纽同步端口的地址。加入时已经记下，只有枢纽搬了地方才需要在这里写。",
            en: "Address of the hub's sync port. It was learned when the site joined; say it here only when the hub has \
             moved.",
        },
        shape: Shape::Checked(check_address),
        default: "",
        example: "\"hub.example.org:7443\"",
    },
    Key {
        name: "linking_key",
        doc: Text {
            zh: "秘书处当面交来的关联密钥文件。通常不用设：密钥封装后经枢纽送达，送达之后以送达的为准。没有关联密钥，证件号码和手机号不产生令牌。",
            en: "File with a linking key that the secretariat has handed over in person. Rarely needed: keys come wrapped over \
             the hub, and one that has come so is used in its place. Without any, ID numbers and mobiles get no tokens.",
        },
        shape: Shape::File,
        default: "",
        example: "\"/etc/liandong/linking.key\"",
    },
    Key {
        name: "accept_outbound_unattended",
        doc: Text {
            zh: "无人值守安装用：不经人确认（outbound accept）就开始同步。设为 true 表示负责人已另行看过哪些内容会离开本市；记入本站点日志。",
            en: "For unattended installs: sync begins without anybody having accepted what leaves this site (outbound \
                 accept). True says that whoever is responsible has looked at it another way; the site's log records it.",
        },
        shape: Shape::Flag,
        default: "false",
        example: "",
    },
    Key {
        name: "log.segment_mib",
        doc: Text {
            zh: "每个日志段文件的大小（MiB）。", en: "Size of one segment file of the log, in MiB."
        },
        shape: Shape::Whole { least: 1, most: 1024 },
        default: "16",
        example: "",
    },
    Key {
        name: "index.overlay_mib",
        doc: Text {
            zh: "索引写盘之前在内存中暂存的上限（MiB）；持续写入时内存约占三倍。",
            en: "How much the index keeps in memory before it writes, in MiB; a steady flow takes about three times that.",
        },
        shape: Shape::Whole { least: 1, most: 4096 },
        default: "40",
        example: "",
    },
    Key {
        name: "index.cache_mib",
        doc: Text { zh: "索引的读缓存（MiB）。", en: "Read cache of the index, in MiB." },
        shape: Shape::Whole { least: 1, most: 65_536 },
        default: "32",
        example: "",
    },
    Key {
        name: "sync.retry_max_s",
        doc: Text {
            zh: "连不上枢纽时，两次尝试之间最长等待的秒数。",
            en: "Longest wait between two tries to reach the hub, in seconds.",
        },
        shape: Shape::Whole { least: 1, most: 3600 },
        default: "60",
        example: "",
    },
    Key {
        name: "drain_seconds",
        doc: Text {
            zh: "收到停止信号后，最多用多少秒把手头的事做完。",
            en: "How many seconds there are to finish what is under way after a signal to stop.",
        },
        shape: Shape::Whole { least: 1, most: 600 },
        default: "20",
        example: "",
    },
    REQUIRE_PURPOSE,
    LOCAL,
    Key {
        name: "api_listen",
        doc: Text {
            zh: "供本单位其他系统使用的记录接口的地址和端口，只用 TLS，凭 api-token 发放的令牌；不设即关闭。",
            en: "Address and port where the city's other systems use the record API, over TLS with tokens of api-token; off \
                 unless set.",
        },
        shape: Shape::Checked(check_listen_or_off),
        default: "",
        example: "\"192.168.1.10:7445\"",
    },
    Key {
        name: "api_certificate",
        doc: Text {
            zh: "该接口的证书文件（PEM，可带中间证书），与 api_key 成对；都不设则自动生成一份自签名证书。",
            en: "Its certificate (PEM, with those in between), together with api_key; a self-signed one is made where \
                 neither is set.",
        },
        shape: Shape::File,
        default: "",
        example: "\"/etc/liandong/api.crt\"",
    },
    Key {
        name: "api_key",
        doc: Text {
            zh: "该证书的私钥文件（PEM）。", en: "The private key of that certificate (PEM)."
        },
        shape: Shape::File,
        default: "",
        example: "\"/etc/liandong/api.key\"",
    },
    LOG_LEVEL,
    LOG_FORMAT,
    LANG,
];

/// Whether reads of personal data must say what for.
pub const REQUIRE_PURPOSE: Key = Key {
    name: "require_purpose",
    doc: Text {
        zh: "是否必须说明用途（--purpose 或 LIANDONG_PURPOSE）才能查阅含个人信息的记录；不论是否必须，每次查阅都记入审计日志。",
        en: "Whether records with personal fields are shown only for a purpose (--purpose or LIANDONG_PURPOSE); every \
             read stands in the audit log in any case.",
    },
    shape: Shape::Flag,
    default: "false",
    example: "",
};

/// How commands on the same machine reach the site.
pub const LOCAL: Key = Key {
    name: "local",
    doc: Text {
        zh: "本机命令怎样连到站点：socket（数据目录中的 Unix 套接字）；loopback（127.0.0.1 上的随机端口，凭数据目录中的密钥文件），用于没有 \
             Unix 套接字的系统。",
        en: "How commands on this machine reach the site: socket (a Unix socket in the data directory); loopback (a random \
             port of 127.0.0.1 with a secret in a file there), for systems without Unix sockets.",
    },
    shape: Shape::Choice(Transport::NAMES),
    default: Transport::DEFAULT,
    example: "",
};

/// How much is logged.
pub const LOG_LEVEL: Key = Key {
    name: "log_level",
    doc: Text {
        zh: "日志的详细程度：error、warn、info、debug、trace；也可按模块写，如 info,liandong_node=debug。",
        en: "How much is logged: error, warn, info, debug, trace; or by module, such as \
         info,liandong_node=debug.",
    },
    shape: Shape::Checked(check_level),
    default: "\"info\"",
    example: "",
};

/// In which form it is logged.
pub const LOG_FORMAT: Key = Key {
    name: "log_format",
    doc: Text {
        zh: "日志格式：auto（终端上为文字，否则为 JSON）、text、json。日志里从不出现个人信息。",
        en: "Form of the log: auto (text on a terminal, JSON otherwise), text, json. It never holds personal \
         values.",
    },
    shape: Shape::Choice(&["auto", "text", "json"]),
    default: "\"auto\"",
    example: "",
};

/// In which language people are spoken to.
pub const LANG: Key = Key {
    name: "lang",
    doc: Text {
        zh: "给人看的语言：auto（随系统区域设置，未设时为中文）、zh、en。",
        en: "Language for people: auto (follows the locale, Chinese when none is set), zh, en.",
    },
    shape: Shape::Choice(&["auto", "zh", "en"]),
    default: "\"auto\"",
    example: "",
};

fn check_listen_or_off(text: &str) -> Result<(), Said> {
    if text.is_empty() { Ok(()) } else { check_listen(text) }
}

fn check_level(level: &str) -> Result<(), Said> {
    match tracing_subscriber::EnvFilter::try_new(level) {
        Ok(_) if !level.trim().is_empty() => Ok(()),
        _ => Err(crate::say!(
            "应为 error、warn、info、debug、trace 之一，或 info,liandong_node=debug 这样的写法",
            "one of error, warn, info, debug, trace is wanted, or something like info,liandong_node=debug"
        )),
    }
}

/// What a node is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// Where its files are, when that was said.
    pub data_dir: Option<PathBuf>,
    /// Address of the hub, where it is another than the one learned when joining.
    pub hub: Option<String>,
    /// File with the province's linking key.
    pub linking_key: Option<PathBuf>,
    /// Sync without anybody having accepted what leaves the site.
    pub accept_outbound_unattended: bool,
    /// Size of a log segment in bytes.
    pub segment_bytes: u64,
    /// How much the index stages before it writes, in bytes.
    pub overlay_bytes: usize,
    /// Cache of the store in bytes.
    pub cache_bytes: u64,
    /// Longest wait between two tries to reach the hub, in seconds.
    pub retry_max_s: u64,
    /// Seconds to finish what is under way.
    pub drain_seconds: u64,
    /// Whether reads of personal data must say what for.
    pub require_purpose: bool,
    /// How commands reach it.
    pub local: Transport,
    /// Where the city's other systems are served; `None` for not at all.
    pub api_listen: Option<SocketAddr>,
    /// Certificate and key for that, where they are not the site's own.
    pub api_identity: (Option<PathBuf>, Option<PathBuf>),
    /// What is logged.
    pub log: LogConfig,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// Filter directives.
    pub level: String,
    /// `auto`, `text` or `json`.
    pub format: String,
}

impl LogConfig {
    /// Reads the keys [`LOG_LEVEL`] and [`LOG_FORMAT`].
    pub fn read(settings: &Settings) -> LogConfig {
        let text = |key| settings.text(key).unwrap_or_default().to_owned();
        LogConfig { level: text("log_level"), format: text("log_format") }
    }
}

/// The language that the settings name; `None` for `auto`.
pub fn lang_of(settings: &Settings) -> Option<Lang> {
    settings.text("lang").and_then(Lang::named)
}

/// What the settings say of [`LOCAL`].
pub fn transport_of(settings: &Settings) -> Transport {
    Transport::named(settings.text(LOCAL.name).unwrap_or_default())
}

impl NodeConfig {
    /// Reads checked settings of [`KEYS`].
    pub fn read(settings: &Settings) -> NodeConfig {
        let mib = |key| settings.whole(key) << 20;
        let path = |key| settings.path(key).map(Path::to_path_buf);
        NodeConfig {
            data_dir: settings.path("data_dir").map(Path::to_path_buf),
            hub: settings.text("hub").map(str::to_owned),
            linking_key: settings.path("linking_key").map(Path::to_path_buf),
            accept_outbound_unattended: settings.flag("accept_outbound_unattended"),
            segment_bytes: mib("log.segment_mib"),
            overlay_bytes: mib("index.overlay_mib") as usize,
            cache_bytes: mib("index.cache_mib"),
            retry_max_s: settings.whole("sync.retry_max_s"),
            drain_seconds: settings.whole("drain_seconds"),
            require_purpose: settings.flag("require_purpose"),
            local: transport_of(settings),
            api_listen: settings.text("api_listen").and_then(|text| text.parse().ok()),
            api_identity: (path("api_certificate"), path("api_key")),
            log: LogConfig::read(settings),
        }
    }
}
