//! The settings of the hub.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use liandong_node::api::Transport;
use liandong_node::config::{
    Key, LANG, LOCAL, LOG_FORMAT, LOG_LEVEL, LogConfig, REQUIRE_PURPOSE, Settings, Shape, check_address,
    check_listen, transport_of,
};
use liandong_node::text::Said;
use liandong_proto::schema::Text;

/// Every key of the hub, in the order of the template.
pub static KEYS: &[Key] = &[
    Key {
        name: "data_dir",
        doc: Text {
            zh: "数据目录：日志和索引都在其中，请放在本机磁盘上并限制访问权限。",
            en: "Data directory with log and index; keep it on a local disk that only this service can read.",
        },
        shape: Shape::Path,
        default: "",
        example: "\"/var/lib/liandong-hub\"",
    },
    Key {
        name: "listen",
        doc: Text {
            zh: "各市站点同步用的地址和端口，双方都凭证书；0 号端口由系统选择。要让各市连进来，写本机对外的地址，如 0.0.0.0:7443。",
            en: "Address and port where members sync, both sides with certificates; port 0 lets the system choose. For \
             the cities to reach it, name an address of this machine that they see, such as 0.0.0.0:7443.",
        },
        shape: Shape::Checked(check_listen),
        default: "\"127.0.0.1:7443\"",
        example: "",
    },
    Key {
        name: "enrolment.listen",
        doc: Text {
            zh: "加入用的地址和端口：只办理凭邀请码加入，不传送任何记录。",
            en: "Address and port where cities join with an invitation; it serves nothing else, and no records.",
        },
        shape: Shape::Checked(check_listen),
        default: "\"127.0.0.1:7444\"",
        example: "",
    },
    Key {
        name: "enrolment.address",
        doc: Text {
            zh: "写进邀请码的主机和端口，即各市从外面看到的加入端口；不写则用 enrolment.listen。",
            en: "Host and port that stand in invitations: where the cities find the enrolment port. Without it, \
             enrolment.listen.",
        },
        shape: Shape::Checked(check_address),
        default: "",
        example: "\"hub.example.org:7444\"",
    },
    Key {
        name: "mirror",
        doc: Text {
            zh: "日志镜像的目录，请放在另一块磁盘上，并先建好：省级的写入在日志和镜像都落盘之后才回答。不写则没有镜像。",
            en: "Directory of the log's mirror: on another disk, and made beforehand. Writes of the province are answered once \
                 they are durable in both. Without it there is no mirror.",
        },
        shape: Shape::Path,
        default: "",
        example: "\"/srv/mirror/liandong\"",
    },
    Key {
        name: "analysts.listen",
        doc: Text {
            zh: "分析人员下载和查询（HTTPS 与 Arrow Flight SQL）用的地址和端口；不写则不开。",
            en: "Address and port for analysts: downloads over HTTPS, and Arrow Flight SQL. Without it there is none.",
        },
        shape: Shape::Checked(check_listen),
        default: "",
        example: "\"0.0.0.0:7445\"",
    },
    Key {
        name: "analysts.names",
        doc: Text {
            zh: "写进该端口证书的名称或地址，用逗号分隔：分析人员用它们访问本枢纽。",
            en: "Names or addresses in that port's certificate, with commas between them: what analysts call this hub.",
        },
        shape: Shape::Checked(any_text),
        default: "",
        example: "\"data.example.org\"",
    },
    Key {
        name: "analysts.publish_hours",
        doc: Text {
            zh: "有新内容时，每隔多少小时自动发布一版数据集；0 表示不自动发布。",
            en: "After how many hours a release is published by itself, if there is something new; 0 for never.",
        },
        shape: Shape::Whole { least: 0, most: 8_760 },
        default: "0",
        example: "",
    },
    Key {
        name: "log.segment_mib",
        doc: Text {
            zh: "每个日志段文件的大小（MiB）。", en: "Size of one segment file of the log, in MiB."
        },
        shape: Shape::Whole { least: 1, most: 1024 },
        default: "64",
        example: "",
    },
    Key {
        name: "index.overlay_mib",
        doc: Text {
            zh: "索引写盘之前在内存中暂存的上限（MiB）；持续写入时内存约占三倍。",
            en: "How much the index keeps in memory before it writes, in MiB; a steady flow takes about three times that.",
        },
        shape: Shape::Whole { least: 1, most: 4096 },
        default: "32",
        example: "",
    },
    Key {
        name: "index.cache_mib",
        doc: Text { zh: "索引的读缓存（MiB）。", en: "Read cache of the index, in MiB." },
        shape: Shape::Whole { least: 1, most: 65_536 },
        default: "48",
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
    LOG_LEVEL,
    LOG_FORMAT,
    LANG,
];

fn any_text(_: &str) -> Result<(), Said> {
    Ok(())
}

/// What the hub is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubConfig {
    /// Where its files are, when that was said.
    pub data_dir: Option<PathBuf>,
    /// Where members sync.
    pub listen: SocketAddr,
    /// Where cities join.
    pub enrolment: SocketAddr,
    /// What invitations say of that, where it is something else.
    pub enrolment_address: Option<String>,
    /// Where the log is mirrored, if it is.
    pub mirror: Option<PathBuf>,
    /// Where analysts read, if they do.
    pub analysts: Option<SocketAddr>,
    /// What they call this hub.
    pub analyst_names: Vec<String>,
    /// Hours between releases that are published by themselves; 0 for none.
    pub publish_hours: u64,
    /// Size of a log segment in bytes.
    pub segment_bytes: u64,
    /// How much the index stages before it writes, in bytes.
    pub overlay_bytes: usize,
    /// Cache of the store in bytes.
    pub cache_bytes: u64,
    /// Seconds to finish what is under way.
    pub drain_seconds: u64,
    /// Whether reads of personal data must say what for.
    pub require_purpose: bool,
    /// How commands on the same machine reach it.
    pub local: Transport,
    /// What is logged.
    pub log: LogConfig,
}

impl HubConfig {
    /// Reads checked settings of [`KEYS`].
    ///
    /// # Panics
    /// Never for settings that were checked against the table.
    pub fn read(settings: &Settings) -> HubConfig {
        let mib = |key| settings.whole(key) << 20;
        let address = |key| {
            let address = settings.text(key).and_then(|text| text.parse().ok());
            address.expect("the table has a default and a check for it")
        };
        HubConfig {
            data_dir: settings.path("data_dir").map(Path::to_path_buf),
            listen: address("listen"),
            enrolment: address("enrolment.listen"),
            enrolment_address: settings.text("enrolment.address").map(str::to_owned),
            mirror: settings.path("mirror").map(Path::to_path_buf),
            analysts: settings.text("analysts.listen").and_then(|text| text.parse().ok()),
            analyst_names: settings.text("analysts.names").map_or_else(Vec::new, |names| {
                names.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
            }),
            publish_hours: settings.whole("analysts.publish_hours"),
            segment_bytes: mib("log.segment_mib"),
            overlay_bytes: mib("index.overlay_mib") as usize,
            cache_bytes: mib("index.cache_mib"),
            drain_seconds: settings.whole("drain_seconds"),
            require_purpose: settings.flag("require_purpose"),
            local: transport_of(settings),
            log: LogConfig::read(settings),
        }
    }
}

#[cfg(test)]
mod tests {
    use liandong_node::config::{Layers, template};

    use super::*;

    #[test]
    fn the_defaults_hold() {
        let config = HubConfig::read(&Layers::new(KEYS).finish().unwrap());
        assert_eq!((config.listen.port(), config.drain_seconds, config.data_dir), (7443, 20, None));
    }

    #[test]
    fn an_address_to_listen_on_has_a_port() {
        for address in ["127.0.0.1:0", "0.0.0.0:7443", "[::]:7443"] {
            assert_eq!(check_listen(address), Ok(()), "{address}");
        }
        for address in ["7443", "localhost:7443", "127.0.0.1"] {
            assert!(check_listen(address).unwrap_err().en.contains("with a port"), "{address}");
        }
    }

    #[test]
    fn the_template_names_every_key_and_reads_back() {
        let text = template("liandong-hub", KEYS);
        let active: String = text
            .lines()
            .filter_map(|line| line.strip_prefix('#').filter(|setting| !setting.starts_with(' ')))
            .map(|setting| format!("{setting}\n"))
            .collect();
        let settings = Layers::new(KEYS).file(Path::new("config.toml"), &active).finish().unwrap();
        assert_eq!(settings.iter().count(), KEYS.len());
        assert_eq!(HubConfig::read(&settings).listen, "127.0.0.1:7443".parse().unwrap());
    }

    #[test]
    fn mistakes_name_the_setting() {
        let mistakes = Layers::new(KEYS).options(&["listen=0.0.0.0".into(), "listn=x".into()]).finish();
        let said: Vec<String> = mistakes.unwrap_err().0.into_iter().map(|said| said.en).collect();
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(
            said[0].contains("did you mean listen?") && said[1].contains("--option: listen:"),
            "{said:?}"
        );
    }
}
