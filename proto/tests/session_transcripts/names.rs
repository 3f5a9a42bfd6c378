//! What the two halves say, in words.

use liandong_proto::fields::{Fields, Value, numbers, values};
use liandong_proto::id::{Hash, RecordId};
use liandong_proto::pb::log::v1::{HeldValue, Reason};
use liandong_proto::pb::sync::v1 as pb;
use liandong_proto::position::{Generations, Position};
use liandong_proto::schema::{self, Type};
use liandong_proto::session::{generations_from_pb, head_from_pb, hub, node};

use super::disks::KIND;
use super::world::Names;

impl Names {
    /// A head by the line of the log it belongs to: `a3`.
    pub fn head(&self, head: Option<&pb::Head>) -> String {
        let head = head_from_pb(head);
        if head.seq == 0 { "-".into() } else { self.hash(&head.hash, head.seq) }
    }

    fn hash(&self, hash: &Hash, seq: u64) -> String {
        self.hashes.get(hash).cloned().unwrap_or_else(|| format!("?{seq}"))
    }

    fn record(&self, id: &[u8]) -> String {
        let name = RecordId::from_slice(id).and_then(|id| self.records.get(&id).cloned());
        name.unwrap_or_else(|| "?".into())
    }

    fn entries(&self, entries: &[liandong_proto::entry::Entry]) -> String {
        let names = entries.iter().map(|entry| {
            let hash = liandong_proto::id::sha256(&entry.header);
            self.hashes.get(&hash).cloned().unwrap_or_else(|| "?".into())
        });
        names.collect::<Vec<String>>().join(" ")
    }

    pub fn node_output(&self, output: &node::Output) -> String {
        use node::Output;
        match output {
            Output::Send(up) => self.up(up),
            Output::Welcomed(known) => format!("welcomed; knows the history {}", history(known)),
            Output::HubKeys(keys) => format!("pin {} keys of the hub", keys.len()),
            Output::Read { after, .. } => format!("read behind {}", self.head_of(after)),
            Output::Heads(places) => format!("look up own entries {places:?}"),
            Output::Persist(deliver) => format!("persist the delivery up to {}", place(deliver.cursor)),
            Output::Confirmed(receipt) => format!("confirmed up to {}", self.head(receipt.up_to.as_ref())),
            Output::Digest(ask) => match ask {
                node::Ask::Kinds => "digest kinds".into(),
                node::Ask::Buckets(kinds) => format!("digest buckets of {} kinds", kinds.len()),
                node::Ask::Records(wanted) => format!("digest records in {} buckets", wanted.len()),
            },
            Output::Compared(node::Comparison::Equal { own_head, cursor }) => {
                format!("EQUAL at own entry {own_head}, feed {}@{}", cursor.hub_seq, cursor.generation)
            }
            Output::Compared(node::Comparison::Different(records)) => {
                let names: Vec<String> = records.iter().map(|(_, record)| self.record(record)).collect();
                format!("DIFFERENT: {}", names.join(" "))
            }
            Output::PersistOwn { entries, last } => {
                format!("persist own {}{}", self.entries(entries), if *last { ", the last" } else { "" })
            }
            Output::Diverged(diverged) => format!("DIVERGED, {}", self.diverged(diverged)),
            Output::Refused(refusal) => format!("REFUSED: {}", refusal.en),
        }
    }

    pub fn hub_output(&self, output: &hub::Output) -> String {
        use hub::Output;
        match output {
            Output::Send(down) => self.down(down),
            Output::Admit(hello) => format!("admit {}?", hello.site),
            Output::Intake { entries, .. } => {
                let names: Vec<String> =
                    entries.iter().map(|entry| self.hash(&entry.hash, entry.header.seq)).collect();
                format!("take in {}", names.join(" "))
            }
            Output::ReadFeed { after, .. } => format!("read the feed behind {after}"),
            Output::Applied(place) => format!("the node has the feed up to {place}"),
            Output::Locate(heads) => {
                let names: Vec<String> = heads.iter().map(|head| self.head_of(head)).collect();
                format!("locate {}", names.join(" "))
            }
            Output::Compare(ask) => {
                let depth = match (ask.buckets_of.is_empty(), ask.records_of.is_empty()) {
                    (true, true) => "kinds",
                    (false, _) => "buckets",
                    _ => "records",
                };
                format!("digest {depth} at {}, feed {}", self.head_of(&ask.own_head), ask.feed_head)
            }
            Output::Restore { after_seq } => format!("read own entries behind {after_seq}"),
            Output::Verdict(Ok(())) => "note: equal".into(),
            Output::Verdict(Err(records)) => format!("note: {} records differ", records.len()),
            Output::Close => "close".into(),
        }
    }

    fn head_of(&self, head: &liandong_proto::entry::Head) -> String {
        if head.seq == 0 { "-".into() } else { self.hash(&head.hash, head.seq) }
    }

    fn up(&self, up: &pb::Up) -> String {
        use pb::up::Message;
        match up.message.as_ref().expect("a message") {
            Message::Hello(hello) => {
                let restore = if hello.restore { ", asks for its log" } else { "" };
                let head = self.head(hello.head.as_ref());
                format!(
                    "→ Hello at {head}, feed {}, {} nonces{restore}",
                    place(hello.cursor),
                    hello.nonces.len()
                )
            }
            Message::Locate(locate) => {
                let heads: Vec<String> = locate.heads.iter().map(|head| self.head(Some(head))).collect();
                format!("→ Locate {}", heads.join(" "))
            }
            Message::Push(push) => {
                let after = pb::Head { seq: push.after_seq, hash: push.after_hash.clone() };
                format!("→ Push {} behind {}", self.entries(&push.entries), self.head(Some(&after)))
            }
            Message::Applied(applied) => format!("→ Applied {}", place(applied.cursor)),
            Message::Compare(compare) => {
                let depth = if compare.buckets.is_empty() { "kinds" } else { "buckets and records" };
                let head = self.head(compare.own_head.as_ref());
                format!("→ Compare {depth} at {head}, feed {}", place(compare.feed_head))
            }
            Message::Restore(ask) => format!("→ Restore behind {}", ask.from_seq_exclusive),
        }
    }

    fn down(&self, down: &pb::Down) -> String {
        use pb::down::Message;
        match down.message.as_ref().expect("a message") {
            Message::Welcome(welcome) => match &welcome.diverged {
                Some(diverged) => format!("→ Welcome, but {}", self.diverged(diverged)),
                None => {
                    let generations = generations_from_pb(&welcome.generations);
                    format!(
                        "→ Welcome, holds {}, history {}",
                        self.head(welcome.held.as_ref()),
                        history(&generations)
                    )
                }
            },
            Message::Locate(locate) => format!("→ Locate, common {}", self.head(locate.common.as_ref())),
            Message::Receipt(receipt) => {
                format!("→ Receipt up to {}, order {}", self.head(receipt.up_to.as_ref()), place(receipt.at))
            }
            Message::Deliver(deliver) => {
                let items: Vec<String> = deliver.items.iter().map(|item| self.item(item)).collect();
                let (from, to) = (place(deliver.from_exclusive), place(deliver.cursor));
                format!(
                    "→ Deliver {from} to {to}, own {} in: {}",
                    deliver.own_seq_inclusive,
                    items.join("; ")
                )
            }
            Message::Compare(compare) => {
                let verdict = compare.verdict().as_str_name();
                let asks = if compare.buckets.is_empty() { "" } else { ", here are the buckets" };
                format!("→ Compare {verdict}{asks}")
            }
            Message::Restore(restore) => format!("→ Restore {}", self.entries(&restore.entries)),
            Message::Refusal(refusal) => {
                format!("→ Refusal {}: {}", refusal.code().as_str_name(), refusal.en)
            }
        }
    }

    fn diverged(&self, diverged: &pb::Diverged) -> String {
        let common = match &diverged.common {
            Some(head) => format!(", common {}", self.head(Some(head))),
            None => String::new(),
        };
        format!("{}, hub holds {}{common}", diverged.cause().as_str_name(), self.head(diverged.held.as_ref()))
    }

    fn item(&self, item: &pb::Item) -> String {
        let name = self.record(&item.record);
        let (what, held) = match item.what.as_ref().expect("an item") {
            pb::item::What::State(state) => {
                (fields(&Fields::split(state.fields.clone()).expect("a message")), state.held.as_slice())
            }
            pb::item::What::Tombstone(gone) => ("deleted".into(), gone.held.as_slice()),
            pb::item::What::Withdrawn(_) => ("withdrawn".into(), &[][..]),
        };
        let held: String = held.iter().map(|value| format!(" [held {}]", held_value(value))).collect();
        format!("{name}@{} {what}{held}", item.hub_seq)
    }
}

/// Fields by name, `name=value`.
pub fn fields(fields: &Fields) -> String {
    let kind = schema::kind(KIND).expect("the kind of all records here");
    let one = |(tag, raw): (u32, &[u8])| {
        let field = kind.field(tag);
        let name = field.map_or_else(|| tag.to_string(), |field| field.name.to_owned());
        let value = match (field.map(|field| field.ty), values(raw).last()) {
            (Some(Type::Enum(choices)), _) => {
                let number = numbers(raw).last().copied().unwrap_or(0) as i32;
                choices.value(number).map_or_else(|| number.to_string(), |value| value.name.to_owned())
            }
            (_, Some(Value::Delimited(bytes))) => String::from_utf8_lossy(bytes).into_owned(),
            (_, value) => format!("{value:?}"),
        };
        format!("{name}={value}")
    };
    fields.iter().map(one).collect::<Vec<String>>().join(" ")
}

/// A held value: what, by whom, why.
pub fn held_value(held: &HeldValue) -> String {
    let reason = Reason::try_from(held.reason).expect("a reason").as_str_name();
    let set = fields(&Fields::split(held.set.clone()).expect("a message"));
    format!("{set} by {} {reason}", held.site)
}

fn place(position: Option<pb::Position>) -> String {
    let position = position.unwrap_or_default();
    format!("{}@{}", position.hub_seq, position.generation)
}

fn history(generations: &Generations) -> String {
    let starts = generations.starts().iter();
    let starts = starts.map(|start| format!("{}from{}", start.generation, start.first_hub_seq));
    starts.collect::<Vec<String>>().join(" ")
}

/// A place in the hub's order.
pub fn place_of(position: Position) -> String {
    format!("{}@{}", position.hub_seq, position.generation)
}
