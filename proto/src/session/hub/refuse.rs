//! What the hub says to whoever does not keep to the protocol.

use super::{HubSession, Output};
use crate::entry::EntryError;
use crate::pb::sync::v1 as pb;
use crate::session::refusal;
use pb::refusal::Code;

impl HubSession {
    pub(super) fn refuse_entry(&mut self, error: &EntryError, out: &mut Vec<Output>) {
        let (code, zh) = match error {
            EntryError::PayloadHash { .. } => (Code::HashMismatch, "条目内容与其哈希不符"),
            EntryError::Chain { .. } => (Code::ChainBroken, "条目与前一条不衔接"),
            EntryError::Header(_) | EntryError::Open(_) => (Code::Malformed, "条目无法读取"),
        };
        let next = "请在节点上运行 verify 检查日志";
        let en = format!("{error}; run verify at the node");
        self.refuse(refusal(code, &format!("{zh}；{next}"), &en), out);
    }

    pub(super) fn unexpected(&mut self, out: &mut Vec<Output>) {
        self.refuse(
            refusal(Code::UnexpectedMessage, "消息不符合协议顺序", "a message that has no place here"),
            out,
        );
    }
}
