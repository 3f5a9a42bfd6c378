//! Everything that `doctor` can find: what it is, what follows, what to do. `docs/doctor.md` has a section for each.

use liandong_proto::schema::Text;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something does not work, or is lost unless somebody acts.
    Fault,
    /// Something will not work before long, or would be missed after an accident.
    Warning,
    /// Good to know; it does not count for the exit code.
    Note,
}

impl Severity {
    /// A word for programs, and for people.
    pub const fn words(self) -> (&'static str, Text) {
        match self {
            Severity::Fault => ("fault", Text { zh: "故障", en: "fault" }),
            Severity::Warning => ("warning", Text { zh: "警告", en: "warning" }),
            Severity::Note => ("note", Text { zh: "提示", en: "note" }),
        }
    }
}

/// One thing that can be found.
#[derive(Debug, PartialEq)]
pub struct Code {
    /// Its name, which never changes.
    pub name: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What is the matter.
    pub cause: Text,
    /// What follows from it.
    pub effect: Text,
    /// What to do.
    pub next: Text,
}

macro_rules! codes {
    ($($name:ident $severity:ident
        cause $cause_zh:literal $cause_en:literal
        effect $effect_zh:literal $effect_en:literal
        next $next_zh:literal $next_en:literal;)*) => {
        $(#[doc = $cause_en]
        pub static $name: Code = Code {
            name: stringify!($name),
            severity: Severity::$severity,
            cause: Text { zh: $cause_zh, en: $cause_en },
            effect: Text { zh: $effect_zh, en: $effect_en },
            next: Text { zh: $next_zh, en: $next_en },
        };)*
        /// All of them, in the order of the page.
        pub static CODES: &[&Code] = &[$(&$name),*];
    };
}

codes! {
    DISK_FULL Fault
    cause "数据目录所在的磁盘几乎没有空间" "the disk of the data directory has next to no space"
    effect "保存会被拒绝，索引写不进去；已保存的不受影响" "saving is refused, the index cannot be written; what is saved is safe"
    next "腾出空间或扩大磁盘；站点会自己继续，不要删除数据目录中的文件"
        "free some space or enlarge the disk; the site goes on by itself. Delete nothing in the data directory";

    DISK_LOW Warning
    cause "数据目录所在的磁盘空间不多了" "the disk of the data directory is running out of space"
    effect "不久之后保存会被拒绝；升级和重建索引也需要空间" "before long saving is refused; an upgrade and a rebuild need space as well"
    next "腾出空间或扩大磁盘" "free some space or enlarge the disk";

    SITE_NOT_OPEN Fault
    cause "站点打不开" "the site does not open"
    effect "不能录入、查询和同步；以下凡需要打开站点的检查都没有做" "nothing can be saved, read or synced; checks that need it open were not done"
    next "按显示的原因处理；日志损坏时原样保留数据目录，地市运行 repair，枢纽由 backup restore 恢复"
        "see to the reason shown; where the log is damaged keep the directory as it is: at a city run repair, the hub comes back by backup restore";

    LOG_DAMAGED Fault
    cause "日志中有内容不是当初写下的" "something in the log is not what was written"
    effect "损坏处的内容读不出来；由它重建的索引会缺少这些" "what stood there cannot be read, and an index made from it lacks it"
    next "停下站点，原样保留数据目录；地市运行 repair，读得出的保留，其余从枢纽取回；枢纽用 backup restore（有镜像时加 --mirror）"
        "stop the site and keep the directory as it is; at a city run repair, which keeps what can be read and fetches the rest from the hub; the hub uses backup restore, with --mirror where there is one";

    AUDIT_DAMAGED Fault
    cause "审计日志的链断裂，或少了末尾" "the chain of the audit log is broken, or its end is missing"
    effect "何人查阅过什么，不再能证明完整" "who read what can no longer be proved to be all of it"
    next "保留数据目录，运行 audit verify 看断在哪里，告知数据保护负责人"
        "keep the data directory, see with audit verify where it breaks, and tell whoever answers for data protection";

    AUDIT_NOT_WRITTEN Fault
    cause "审计日志写不进去" "the audit log cannot be written"
    effect "个人信息暂不提供查阅；保存和同步照常" "nothing personal is shown; saving and syncing go on"
    next "检查磁盘空间和 audit/ 目录的权限" "check the free space, and the permissions of audit/";

    INDEX_DAMAGED Fault
    cause "索引与其摘要不符" "the index is not what its digest says"
    effect "查询结果可能有误；日志里的都在" "what is shown may be wrong; the log has everything"
    next "重新启动站点，索引会由日志重建；或停下后运行 rebuild" "restart the site, which makes it again from the log; or stop it and run rebuild";

    INDEX_NOT_WRITTEN Fault
    cause "索引写不进去" "the index cannot be written"
    effect "查询落后于已保存的内容；日志里的都在" "what is shown falls behind what is saved; the log has everything"
    next "检查磁盘空间和权限，再重新启动" "check the free space and the permissions, then restart";

    CLOCK_OFF Warning
    cause "本机的时钟与枢纽相差超过一分钟" "this machine's clock differs from the hub's by more than a minute"
    effect "两地改同一处时，显示哪一个会受影响；证书可能被误判为未生效或已过期"
        "where two change the same field it sways which value is shown; a certificate may be taken for one that is over"
    next "启用时间同步（如 chrony），核对时区" "switch on time synchronisation (chrony, say), and check the time zone";

    CLOCK_BEHIND_LOG Warning
    cause "枢纽的时钟早于日志中最新的提交" "the hub's clock is earlier than the newest commit in its log"
    effect "接收时间停在最新提交处，直到时钟追上；证书的有效期会算错" "times of receipt stand still until the clock has caught up; lives of certificates are reckoned wrongly"
    next "启用时间同步（如 chrony）" "switch on time synchronisation (chrony, say)";

    LINK_OFFLINE Warning
    cause "连不上枢纽" "the hub cannot be reached"
    effect "本地工作照常，改动留在待上报中" "local work goes on, changes wait in the outbox"
    next "检查网络和防火墙（只需向外连枢纽的同步端口）；恢复后自动同步" "check the network and the firewall (outbound to the hub's sync port is all it takes); sync goes on by itself";

    LINK_DIVERGED Fault
    cause "本机日志与枢纽所存已分叉：多半是旧备份、机器的副本，或启动了两份" "this machine's log and the hub's copy have parted: by an old backup, a copy of the machine, or two that run"
    effect "同步已停止，本地工作照常" "sync has stopped, local work goes on"
    next "确认由哪台机器继续，在那里停下站点，运行 takeover" "decide which machine is to live, stop the site there and run takeover";

    LINK_REFUSED Fault
    cause "枢纽拒绝了本站点" "the hub refuses this site"
    effect "同步已停止，本地工作照常" "sync has stopped, local work goes on"
    next "按显示的原因处理；需要新邀请码或协议时联系省协会" "see to the reason shown; ask the province for a fresh invitation or an agreement where it takes one";

    LINK_WAITING Warning
    cause "还没有人确认哪些内容会离开本市" "nobody has accepted yet what leaves this city"
    effect "什么都不发送，也不接收" "nothing is sent, and nothing comes"
    next "用 outbound preview 查看，再运行 outbound accept" "look with outbound preview, then run outbound accept";

    NOT_JOINED Note
    cause "本站点没有加入联动" "this site has not joined the federation"
    effect "只在本地工作；枢纽那里没有副本" "local work only; the hub holds no copy"
    next "向省协会索取邀请码，运行 join" "ask the province for an invitation and run join";

    SYNC_OLD Warning
    cause "有改动等了一天以上没有上报" "changes have waited for more than a day to be sent"
    effect "机器若在此时损坏，这些改动没有第二份" "if the machine breaks now there is no other copy of them"
    next "看同步一项的原因；先用 backup create 备份" "see why under sync; make a backup with backup create meanwhile";

    RECORDS_DIFFER Fault
    cause "与枢纽核对，记录不一致" "the comparison with the hub found records that differ"
    effect "两边显示的内容不同；不会自动覆盖任何一边" "the two show different things; neither is written over"
    next "两边都运行 verify；索引的问题用 rebuild，其余联系维护人员" "run verify at both; rebuild mends an index, tell whoever maintains this of anything else";

    HELD_VALUES Note
    cause "有核对事项等人处理：有的值暂存，没有采用" "findings wait for somebody: values that were kept and not applied"
    effect "这些字段显示的是另一个值，直到有人选择" "those fields show another value until somebody chooses"
    next "用 finding list 查看，finding settle 处理" "see them with finding list, settle them with finding settle";

    CERTIFICATE_OVER Fault
    cause "证书已过期" "the certificate is over"
    effect "同步已停止，本地工作照常" "sync has stopped, local work goes on"
    next "向省协会索取新的邀请码，运行 join" "ask the province for a fresh invitation and run join";

    CERTIFICATE_ENDING Warning
    cause "证书不到 25 天就过期，没有按时更新" "the certificate ends within 25 days and was not renewed in time"
    effect "过期后同步停止" "sync stops when it is over"
    next "让站点连上枢纽，证书会自动更新；连不上时索取新的邀请码" "let the site reach the hub, which renews it; ask for a fresh invitation if it cannot";

    NO_BACKUP Note
    cause "本站点没有做过备份" "no backup of this site was ever made"
    effect "机器损坏时，要靠恢复密钥从枢纽取回，尚未上报的改动会丢失" "if the machine breaks it takes the recovery key to fetch everything from the hub, and what was not sent is lost"
    next "运行 backup create，把文件放到别的机器上" "run backup create, and keep the file on another machine";

    HUB_NO_BACKUP Warning
    cause "枢纽没有做过备份" "no backup of the hub was ever made"
    effect "机器损坏时，证书颁发机构和签名密钥都没有了：各市须凭新邀请码重新加入，省级的记录丢失"
        "if the machine breaks its authority and signing key are gone: every city has to join anew, and the province's records are lost"
    next "运行 backup create，把文件放到别的机器上；有镜像时 --only-keys 也够" "run backup create, and keep the file on another machine; with a mirror --only-keys will do";

    KEYS_NOT_BACKED_UP Warning
    cause "备份过记录，但没有备份过密钥" "records were backed up, the keys never"
    effect "机器损坏时，没有 keys/ 的副本，恢复后的站点不能启动，密封的内容读不出来"
        "if the machine breaks, what is restored does not start without a copy of keys/, and nothing sealed in it can be read"
    next "运行 backup create --only-keys，或不带 --without-keys 的 backup create；文件另处存放"
        "run backup create --only-keys, or backup create without --without-keys, and keep the file elsewhere";

    BACKUP_OLD Warning
    cause "最近一次备份太旧（枢纽 7 天，地市 30 天）" "the newest backup is old (7 days at the hub, 30 at a city)"
    effect "由它恢复时，其后的内容要靠镜像或对方补回" "after a restore what came later has to come from the mirror or the other side"
    next "定期运行 backup create" "run backup create regularly";

    NO_MIRROR Note
    cause "没有设置日志镜像" "no mirror of the log is configured"
    effect "机器损坏时，省级自上次备份以来的写入会丢失；各市的记录由各市补回" "if the machine breaks the province loses what it wrote since its last backup; the cities bring back what is theirs"
    next "在另一块磁盘上建一个目录，写进设置 mirror，重新启动" "make a directory on another disk, name it in the setting mirror, and restart";

    MIRROR_NOT_WRITTEN Fault
    cause "日志镜像写不进去" "the mirror of the log cannot be written"
    effect "省级的写入被拒绝；各市同步照常" "writes of the province are refused; cities sync on"
    next "按显示的原因处理，镜像会自己补齐；要先写入，去掉设置 mirror 后重启" "see to the reason shown, and it catches up by itself; to write before that, restart without the setting mirror";

    MIRROR_BEHIND Warning
    cause "镜像正在补齐" "the mirror is being brought up to the log"
    effect "省级的写入要等它" "writes of the province wait for it"
    next "稍后再看；第一次补齐大的日志需要几分钟" "look again later; a large log takes minutes the first time";

    MIRROR_SAME_DISK Warning
    cause "镜像与数据目录在同一块磁盘上" "the mirror is on the disk of the data directory"
    effect "磁盘损坏时两份一起丢失；多半是镜像的磁盘没有挂载" "both are lost with the disk; most likely the mirror's disk is not mounted"
    next "挂载镜像的磁盘，或把 mirror 改到另一块磁盘" "mount the mirror's disk, or name another disk in mirror";

    MIRROR_DISK_FULL Fault
    cause "镜像所在的磁盘几乎没有空间" "the mirror's disk has next to no space"
    effect "镜像写不进去时，省级的写入会被拒绝；各市同步照常" "once the mirror cannot be written the province's writes are refused; cities sync on"
    next "腾出空间或扩大磁盘；镜像会自己补齐" "free some space or enlarge the disk; the mirror catches up by itself";

    MIRROR_DISK_LOW Warning
    cause "镜像所在的磁盘空间不多了" "the mirror's disk is running out of space"
    effect "不久之后镜像写不进去，省级的写入会被拒绝" "before long the mirror cannot be written, and the province's writes are refused"
    next "腾出空间或扩大磁盘" "free some space or enlarge the disk";

    HUB_UNCONFIRMED Fault
    cause "枢纽由备份恢复，还没有人确认停用名单" "the hub was restored from a backup, and nobody has confirmed who is cut off"
    effect "没有一个市能同步" "no city can sync"
    next "核对停用名单，备份之后停用的先再停用一次，然后运行 city confirm" "look at who is cut off, cut off again whoever was since the backup, then run city confirm";

    CITY_SILENT Warning
    cause "有的市七天以上没有上报，也没有连着" "some city has sent nothing for more than seven days and is not connected"
    effect "汇总中缺少它的新内容；它的机器若损坏，未上报的改动没有第二份" "what is merged lacks its news; what it has not sent is nowhere else"
    next "用 city list 查看，联系该市" "see city list, and call the city";

    CITY_CERTIFICATE_ENDING Warning
    cause "有的市证书不到 25 天就过期，没有按时更新" "some city's certificate ends within 25 days and was not renewed in time"
    effect "过期后该市不能同步" "that city cannot sync when it is over"
    next "用 city list 查看，联系该市；需要时 city invite" "see city list, and call the city; city invite where it takes one";
}

/// The sections of the page, one for each code.
pub fn page() -> String {
    let section = |code: &&Code| {
        let Code { name, severity, cause, effect, next } = code;
        let (word, shown) = severity.words();
        let row = |what: &str, text: &Text| format!("| {what} | {} | {} |\n", text.en, text.zh);
        format!("### `{name}`\n\n| {word} · {} | en | zh |\n|---|---|---|\n", shown.zh)
            + &row("cause · 原因", cause)
            + &row("effect · 影响", effect)
            + &row("next · 下一步", next)
    };
    CODES.iter().map(section).collect::<Vec<_>>().join("\n")
}
