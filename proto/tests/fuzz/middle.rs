//! Both halves against each other, and somebody between them who swaps, repeats, loses, keeps back and bends what they
//! say, over cuts, restarts and lost logs. None can do more than stop them: the hub holds what the node wrote and nothing
//! else, the node takes for confirmed only what the hub holds, and left alone they come together again.

use liandong_proto::entry::{Op, Patch};
use liandong_proto::fields::FieldsBuilder;
use liandong_proto::pb::sync::v1 as pb;
use prost::Message;

use crate::runner::run;
use crate::source::Source;
use crate::world::{CITY, World};

fn name(source: &mut Source) -> Patch {
    let text = format!("陈{}", source.below(9));
    Patch::new(FieldsBuilder::new().str(1, &text).take(), Vec::new()).expect("a patch")
}

/// What becomes of the messages that are on their way in one direction.
fn meddle<M: Message + Default + Clone>(
    source: &mut Source,
    queue: &mut std::collections::VecDeque<M>,
    old: &mut Vec<M>,
    bends: impl Fn(&M) -> bool,
) {
    if let Some(message) = queue.front() {
        old.push(message.clone());
        if old.len() > 32 {
            old.remove(0);
        }
    }
    match source.below(24) {
        0 => drop(queue.pop_front()),
        1 => queue.extend(queue.front().cloned()),
        2 if queue.len() > 1 => queue.swap(0, 1),
        3 if !old.is_empty() => queue.push_front(old[source.below(old.len())].clone()),
        4 => {
            let Some(message) = queue.pop_front() else { return };
            let bytes = source.mutated(message.encode_to_vec());
            let bent = M::decode(bytes.as_slice()).ok().filter(bends);
            queue.push_front(bent.unwrap_or(message));
        }
        _ => {}
    }
}

/// The hub holds what the node wrote, and the node knows of no more than that.
fn invariant_held_is_written(world: &World, lost: bool) {
    let held = world.hub.log(CITY);
    if !lost {
        for (held, (entry, ..)) in held.iter().zip(&world.node.log) {
            assert_eq!(&held.entry, entry);
        }
        assert!(held.len() <= world.node.log.len());
    }
}

#[test]
fn both_halves_with_somebody_between_them() {
    run("both_halves_with_somebody_between_them", 400, |source| {
        let mut world = World::new();
        (world.batch, world.limits.push_window) = (1 + source.below(4), 1 + source.below(4) as u32);
        let (mut up, mut down): (Vec<pb::Up>, Vec<pb::Down>) = Default::default();
        let (mut backup, mut lost) = (None, false);
        for _ in 0..120 {
            world.now_ms += source.number() % 2_000;
            match source.below(20) {
                0..=2 => {
                    let (record, patch) = (source.pick(&["x", "y", "z"]), name(source));
                    world.append("a", record, if source.percent(90) { Op::Put } else { Op::Delete }, patch);
                }
                3 => world.hub_edit(source.pick(&["x", "y"]), &name(source)),
                4 => world.commit(),
                5 if world.node_session.is_none() || source.percent(10) => world.connect(source.percent(5)),
                6 if source.percent(10) => world.cut(),
                7 if source.percent(5) => world.hub_starts(),
                8 if source.percent(10) => backup = Some(world.node.clone()),
                9 if source.percent(5) => {
                    // A node that came back from a copy, and does not know it.
                    let Some(node) = backup.take() else { continue };
                    world.cut();
                    (world.node, lost) = (node, true);
                }
                10..=13 => world.answer_to(source.percent(50)),
                _ => {}
            }
            meddle(source, &mut world.up, &mut up, |_| true);
            // A delivery comes from nobody but the hub: what is bent there is met in other targets.
            let bends = |message: &pb::Down| {
                !matches!(
                    message.message,
                    Some(pb::down::Message::Deliver(_) | pb::down::Message::Restore(_))
                )
            };
            meddle(source, &mut world.down, &mut down, bends);
            let _ = if source.percent(50) { world.carry_up() } else { world.carry_down() };
            invariant_held_is_written(&world, lost);
        }
        world.cut();
        world.queue.clear();
        world.printed.clear();
        world.connect(false);
        world.run();
        let told = world.printed.join("\n");
        let alike = world.node.log.len() == world.hub.log(CITY).len();
        assert!(alike || told.contains("DIVERGED") || lost, "{told}");
    });
}
