//! Sessions as one can read them: `session_transcripts/*.txt` are played by both halves against each other.
//!
//! A transcript begins with its title. A line with `>` is what happens, the lines under it are what the halves put
//! out; other lines are comments. `UPDATE_TRANSCRIPTS=1` writes what was put out into the files. Below the
//! transcripts, the same world is driven at random, with cuts and restores.

#[path = "session_transcripts/disks.rs"]
mod disks;
#[path = "session_transcripts/names.rs"]
mod names;
#[path = "session_transcripts/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use disks::{Hub, KIND, entry_after, record};
use liandong_proto::entry::{Entry, Head, Op, Patch};
use liandong_proto::fields::FieldsBuilder;
use liandong_proto::id::{Epoch, Origin, SiteCode, sha256};
use liandong_proto::pb::sync::v1 as pb;
use liandong_proto::position::Position;
use liandong_proto::schema::{self, Type};
use liandong_proto::session::head_to_pb;
use liandong_proto::session::hub::HubSession;
use liandong_proto::session::node::{Input, NodeSession};
use liandong_proto::state::{RecordState, held_to_pb};
use world::{CITY, World};

// Transcripts ----------------------------------------------------------------------------------------------

/// A world, and what a transcript calls things.
struct Stage {
    world: World,
    /// First letter of the names of new entries.
    letter: String,
    entries: BTreeMap<String, (Entry, Head)>,
    /// What a half asks for is answered only on command.
    slow: bool,
}

/// `name=value` pairs as a patch; `-name` clears.
fn patch(words: &[&str]) -> Patch {
    let kind = schema::kind(KIND).expect("the kind of all records here");
    let (mut set, mut cleared): (BTreeMap<u32, (Type, &str)>, Vec<u32>) = Default::default();
    for word in words {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let clears = name.strip_prefix('-');
        let field = kind.field_by_name(clears.unwrap_or(name)).unwrap_or_else(|| panic!("no field {name}"));
        match clears {
            Some(_) => cleared.push(field.tag),
            None => drop(set.insert(field.tag, (field.ty, value))),
        }
    }
    let mut fields = FieldsBuilder::new();
    for (tag, (ty, value)) in set {
        match ty {
            Type::Enum(choices) => {
                let choice = choices.by_text(value).unwrap_or_else(|| panic!("no choice {value}"));
                fields.u64(tag, choice.number as u64);
            }
            _ => drop(fields.str(tag, value)),
        }
    }
    Patch::new(fields.finish(), cleared).expect("tags in range")
}

impl Stage {
    fn new() -> Stage {
        Stage { world: World::new(), letter: "a".into(), entries: BTreeMap::new(), slow: false }
    }

    /// Does what a command says; everything the halves put out is printed.
    fn act(&mut self, command: &str) {
        let words: Vec<&str> = command.split_whitespace().collect();
        let world = &mut self.world;
        match words.as_slice() {
            ["append", n] if n.parse::<u64>().is_ok() => {
                for _ in 0..n.parse().unwrap_or(0) {
                    let name = format!("{}{}", self.letter, world.node.head().seq + 1);
                    let set = patch(&["name=陈", "status=ACTIVE", &format!("post={name}")]);
                    world.append(&self.letter, &format!("m-{name}"), Op::Put, set);
                }
            }
            ["append", name, words @ ..] => world.append(&self.letter, name, Op::Put, patch(words)),
            ["delete", name] => world.append(&self.letter, name, Op::Delete, Patch::default()),
            ["letter", letter] => self.letter = (*letter).to_owned(),
            ["hub", "edits", name, words @ ..] => world.hub_edit(name, &patch(words)),
            ["hub", "backup"] => world.hub_backup = Some(world.hub.clone()),
            ["hub", "restored"] => {
                world.hub = world.hub_backup.clone().expect("a backup");
                world.hub_starts();
            }
            ["hub", "starts"] => world.hub_starts(),
            ["hub", "forgets", "nonces"] => world.hub.nonce.clear(),
            ["node", "backup"] => world.node_backup = Some(world.node.clone()),
            ["node", "restored"] => {
                world.cut();
                world.node = world.node_backup.clone().expect("a backup");
            }
            ["node", "lost"] => {
                world.cut();
                world.node = World::new().node;
            }
            ["node", "opens", "epoch", n] => {
                world.cut();
                world.node.origin.epoch = Epoch([n.parse().expect("a number"); 16]);
                world.node.log.clear();
            }
            ["connect"] => world.connect(false),
            ["connect", "restore"] => world.connect(true),
            ["cut"] => world.cut(),
            ["commit"] => world.commit(),
            ["up", n @ ..] => times(n, || world.carry_up()),
            ["down", n @ ..] => times(n, || world.carry_down()),
            ["run"] => world.run(),
            ["slow"] => self.slow = true,
            ["answer", half] => world.answer_to(*half == "node"),
            ["tick", ms] => {
                world.now_ms += ms.parse::<u64>().expect("milliseconds");
                world.node_input(Input::Tick);
            }
            ["limits", words @ ..] => {
                for word in words {
                    let (name, n) = word.split_once('=').expect("name=number");
                    let n: u32 = n.parse().expect("a number");
                    match name {
                        "push" => world.limits.push_window = n,
                        "deliver" => world.limits.deliver_window = n,
                        "batch" => world.batch = n as usize,
                        _ => panic!("no limit {name}"),
                    }
                }
            }
            ["rot", name] => {
                let state = world.hub.states.get_mut(&record(name)).expect("a record");
                state.fields = state.fields.patched(&patch(&["employer=腐"]).set, &[]);
            }
            ["stranger", n] => self.stranger(n.parse().expect("a number")),
            ["say", "up", words @ ..] => {
                let message = Some(self.up(words));
                self.world.up.push_front(pb::Up { message });
                self.world.carry_up();
            }
            ["say", "down", words @ ..] => {
                let message = Some(self.down(words));
                self.world.down.push_front(pb::Down { message });
                self.world.carry_down();
            }
            ["show", name] => {
                let at_node = shown(world.node.view(record(name)));
                let at_hub = shown(world.hub.states.get(&record(name)).cloned());
                world.printed.push(format!("node shows {at_node}"));
                world.printed.push(format!("hub shows {at_hub}"));
            }
            ["logs"] => {
                let (node, hub) = (world.node.head(), world.hub.head(world.node.origin));
                let name = |head: Head| world.names.head(Some(&head_to_pb(&head)));
                let line = format!(
                    "node at {}, hub at {}, {} confirmed, feed {}",
                    name(node),
                    name(hub),
                    world.node.confirmed,
                    names::place_of(world.node.cursor)
                );
                world.printed.push(line);
            }
            _ => panic!("no such command: {command}"),
        }
        while !self.slow && self.world.answer() {}
        for (entry, header, hash) in &self.world.node.log {
            let head = Head { seq: header.seq, hash: *hash };
            self.entries.insert(self.world.names.head(Some(&head_to_pb(&head))), (entry.clone(), head));
        }
    }

    /// A log of another site, named `s1`, `s2`, ….
    fn stranger(&mut self, n: u64) {
        let origin = Origin { site: SiteCode(440_300), epoch: Epoch([7; 16]) };
        let mut head = Head::default();
        for _ in 0..n {
            let set = patch(&["name=陈"]);
            let (entry, _, next) =
                entry_after(origin, head, 0, Position::default(), record("s"), Op::Put, &set);
            head = next;
            self.world.names.hashes.insert(head.hash, format!("s{}", head.seq));
            self.entries.insert(format!("s{}", head.seq), (entry, head));
        }
    }

    fn head(&self, name: &str) -> pb::Head {
        if name == "-" { pb::Head::default() } else { head_to_pb(&self.entries[name].1) }
    }

    fn up(&self, words: &[&str]) -> pb::up::Message {
        use pb::up::Message;
        match words {
            ["hello"] => Message::Hello(pb::Hello { site: CITY.site.0, ..pb::Hello::default() }),
            ["hello", "nonces", n] => Message::Hello(pb::Hello {
                site: CITY.site.0,
                epoch: Bytes::from_static(&[1; 16]),
                protocol_min: 1,
                protocol_max: 1,
                nonces: vec![Bytes::from_static(&[2; 16]); n.parse().expect("a number")],
                ..pb::Hello::default()
            }),
            ["hello", site, min, max] => Message::Hello(pb::Hello {
                site: site.parse().expect("a site"),
                epoch: Bytes::from_static(&[1; 16]),
                protocol_min: min.parse().expect("a version"),
                protocol_max: max.parse().expect("a version"),
                ..pb::Hello::default()
            }),
            ["applied", place] => {
                let hub_seq = place.parse().expect("a place");
                Message::Applied(pb::Applied { cursor: Some(pb::Position { generation: 1, hub_seq }) })
            }
            ["push", names @ .., "behind", after] => {
                let after = self.head(after);
                let entries = names.iter().map(|name| {
                    let (name, bend) = name.split_once('!').unwrap_or((name, ""));
                    let mut entry = self.entries[name].0.clone();
                    match bend {
                        "open" => entry.open = flip(&entry.open),
                        "header" => entry.header = Bytes::from_static(&[0xff]),
                        _ => {}
                    }
                    entry
                });
                Message::Push(pb::Push {
                    after_seq: after.seq,
                    after_hash: after.hash,
                    entries: entries.collect(),
                    ..pb::Push::default()
                })
            }
            ["restore"] => Message::Restore(pb::RestoreAsk { from_seq_exclusive: 0 }),
            _ => panic!("cannot say {words:?} up"),
        }
    }

    fn down(&self, words: &[&str]) -> pb::down::Message {
        use pb::down::Message;
        match words {
            ["welcome"] => Message::Welcome(pb::Welcome::default()),
            ["receipt", "beyond"] => Message::Receipt(pb::Receipt {
                up_to: Some(pb::Head { seq: 99, hash: Bytes::copy_from_slice(&sha256(b"x")) }),
                ..pb::Receipt::default()
            }),
            ["compare"] => Message::Compare(pb::Compare {
                verdict: pb::compare::Verdict::Equal as i32,
                ..pb::Compare::default()
            }),
            _ => panic!("cannot say {words:?} down"),
        }
    }
}

fn flip(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[0] ^= 1;
    bytes.into()
}

fn times(words: &[&str], mut act: impl FnMut() -> bool) {
    let n = words.first().map_or(1, |n| n.parse().expect("a number"));
    for _ in 0..n {
        act();
    }
}

fn shown(state: Option<RecordState>) -> String {
    let Some(state) = state else { return "nothing".into() };
    let held = state.held.iter().map(|held| format!(" [held {}]", names::held_value(&held_to_pb(held))));
    let fields = if state.deleted() { "deleted".into() } else { names::fields(&state.fields) };
    format!("{fields}{}", held.collect::<String>())
}

/// A transcript as it comes out when it is played.
fn play(text: &str) -> String {
    let mut stage = Stage::new();
    let mut out = String::new();
    let mut in_output = false;
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            stage.world.printed.clear();
            stage.act(command);
            in_output = true;
            out.push_str(&format!("{line}\n"));
            stage.world.printed.iter().for_each(|line| out.push_str(&format!("{line}\n")));
        } else if line.is_empty() || line.starts_with("# ") || line.starts_with("// ") {
            in_output = false;
            out.push_str(&format!("{line}\n"));
        } else {
            assert!(in_output, "neither a command, nor a comment, nor output: {line}");
        }
    }
    out
}

/// Lines that differ, with their place.
fn diff(expected: &str, found: &str) -> String {
    let (expected, found): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let same = expected.iter().zip(&found).take_while(|(a, b)| a == b).count();
    let tail = |lines: &[&str], sign: &str| {
        let lines = lines.iter().skip(same).take(12);
        lines.map(|line| format!("{sign} {line}\n")).collect::<String>()
    };
    format!("from line {}:\n{}{}", same + 1, tail(&expected, "-"), tail(&found, "+"))
}

fn transcripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/session_transcripts");
    let files =
        fs::read_dir(&folder).expect("the folder of transcripts").map(|file| file.expect("a file").path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|ext| ext == "txt")).collect();
    files.sort();
    files
}

#[test]
fn transcripts_come_out_as_written() {
    let mut differing = Vec::new();
    let files = transcripts();
    assert!(files.len() >= 15, "the transcripts are there");
    for path in files {
        let expected = fs::read_to_string(&path).expect("a readable transcript");
        assert!(expected.starts_with("# "), "{} begins with its title", path.display());
        let found = play(&expected);
        if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
            fs::write(&path, &found).expect("a writable transcript");
        } else if found != expected {
            differing.push(format!("{} {}", path.display(), diff(&expected, &found)));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

// At random ------------------------------------------------------------------------------------------------

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// Drives both halves at random; at the end everything must have arrived, once.
fn drive(seed: u64) {
    let mut random = Random(seed);
    let mut world = World::new();
    world.batch = 1 + random.below(4) as usize;
    world.limits.push_window = 1 + random.below(3) as u32;
    world.limits.deliver_window = 1 + random.below(3) as u32;
    let may_restore = random.below(3) == 0;
    for _ in 0..random.below(200) + 20 {
        world.now_ms += random.below(300);
        let name = format!("m{}", random.below(5));
        let value = format!("employer=甲{}", random.below(9));
        let shared =
            ["qualification_level=SENIOR", "qualification_level=ASSISTANT"][random.below(2) as usize];
        match random.below(24) {
            0..4 => world.append("a", &name, Op::Put, patch(&["name=陈", "status=ACTIVE", &value])),
            4 => world.append("a", &name, Op::Put, patch(&[shared])),
            5 if world.hub.states.contains_key(&record(&name)) => world.hub_edit(&name, &patch(&[shared])),
            6 => world.append("a", &name, Op::Delete, Patch::default()),
            7 => world.connect(false),
            8 => world.cut(),
            9 => world.commit(),
            10 => world.node_input(Input::Tick),
            11 if may_restore && random.below(4) == 0 => match world.hub_backup.take() {
                None => world.hub_backup = Some(world.hub.clone()),
                Some(backup) => {
                    // Nonces are younger than any backup: the node is known to be the only one.
                    let nonce = std::mem::take(&mut world.hub.nonce);
                    world.hub = Hub { nonce, ..backup };
                    world.hub_starts();
                }
            },
            12..15 => {
                world.carry_up();
            }
            15..18 => {
                world.carry_down();
            }
            // Answers come late, and a half's own answers in order.
            n => world.answer_to(n % 2 == 0),
        }
        invariant_no_gap_and_no_duplicate(&world, seed);
        invariant_nobody_refuses(&world, seed);
    }
    settle(&mut world, seed);
}

/// Whatever the hub holds of the node is a beginning of the node's log, entry by entry.
fn invariant_no_gap_and_no_duplicate(world: &World, seed: u64) {
    let hub = world.hub.log(CITY).iter().map(|entry| entry.hash);
    let node = world.node.log.iter().map(|(_, _, hash)| *hash);
    assert!(
        hub.zip(node).all(|(hub, node)| hub == node),
        "seed {seed}: the hub holds the node's entries in order"
    );
    assert!(world.hub.log(CITY).len() <= world.node.log.len(), "seed {seed}: and none twice");
}

/// Both halves keep to the protocol, so neither ever has a reason to end a session.
fn invariant_nobody_refuses(world: &World, seed: u64) {
    let refused =
        |line: &&String| ["REFUSED", "Refusal", "DIVERGED", "but CAUSE"].iter().any(|no| line.contains(no));
    let refusal = world.printed.iter().find(refused);
    assert!(refusal.is_none(), "seed {seed}: {refusal:?}\n{}", world.printed.join("\n"));
}

fn settle(world: &mut World, seed: u64) {
    // A session that lives must get there by itself: a new one would hide that it was stuck.
    if world.node_session.is_none() {
        world.connect(false);
    }
    world.run();
    invariant_nobody_refuses(world, seed);
    assert!(world.node_session.is_some(), "seed {seed}: nobody refused\n{}", world.printed.join("\n"));
    for _ in 0..3 {
        world.now_ms += 2_000;
        world.node_input(Input::Tick);
        world.run();
    }
    assert_eq!(world.hub.head(CITY), world.node.head(), "seed {seed}: all entries have arrived");
    assert_eq!(world.hub.log(CITY).len(), world.node.log.len(), "seed {seed}");
    assert!(world.node_session.as_ref().is_some_and(NodeSession::drained), "seed {seed}");
    assert_eq!(world.hub_session.as_ref().map(HubSession::uncommitted), Some(0), "seed {seed}");
    for (record, state) in &world.hub.states {
        let view = world.node.view(*record).map(|view| (view.fields, view.deleted_by.is_some()));
        let expected = (state.fields.clone(), state.deleted());
        assert_eq!(view, Some(expected), "seed {seed}: both show the same\n{}", world.printed.join("\n"));
    }
    let verdict =
        world.printed.iter().rev().find(|line| line.contains("EQUAL") || line.contains("DIFFERENT"));
    assert!(verdict.is_some_and(|line| line.starts_with("node: EQUAL")), "seed {seed}: {verdict:?}");
}

#[test]
fn whatever_is_cut_everything_arrives_once() {
    let runs = std::env::var("LIANDONG_HISTORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000);
    for seed in 0..runs {
        drive(seed);
    }
}

/// Paste the seed of a failed run here.
#[test]
fn one_run() {
    drive(0);
}
