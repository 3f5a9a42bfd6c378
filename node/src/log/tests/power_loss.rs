//! What a power loss leaves of a log, and that the log copes with it.
//!
//! The model: everything before the synced place is on the disk. Of each 512-byte sector after it, the disk has the
//! new bytes, the old zeros, the first part of the new bytes, or rubbish. A segment that was being made may lie
//! around half made. Not in the model: a disk that loses what it said is durable.

use std::fs;
use std::path::Path;

use super::super::{Log, Options, Pos};
use super::{Dice, batch, payload};

/// Does to the log in `dir`, which nobody has open, what a power loss does when everything before `synced` was
/// durable. `dice` decides the fate of every sector after that.
pub(crate) fn strike(dir: &Path, synced: Pos, dice: &mut Dice) {
    const SECTOR: usize = 512;
    let path = dir.join(format!("{:020}.log", synced.segment));
    let mut bytes = fs::read(&path).expect("the last segment can be read");
    let mut at = synced.offset as usize;
    while at < bytes.len() {
        let end = (at / SECTOR * SECTOR + SECTOR).min(bytes.len());
        let sector = &mut bytes[at..end];
        match dice.below(4) {
            0 => {}
            1 => sector.fill(0),
            2 => {
                let kept = dice.below(sector.len() as u64) as usize;
                sector[kept..].fill(0);
            }
            _ => sector.iter_mut().for_each(|byte| *byte = dice.below(256) as u8),
        }
        // Far behind the end there was nothing to lose; rubbish there would only take time.
        if at > synced.offset as usize + (64 << 10) {
            break;
        }
        at = end;
    }
    fs::write(&path, bytes).expect("the last segment can be written");
    if dice.below(3) == 0 {
        let half_made = dir.join(format!("{:020}.log.tmp", synced.segment + 1));
        fs::write(half_made, vec![7; dice.below(600) as usize]).expect("a file can be written");
    }
}

/// Lives of a log, each ended by a power loss. What was synced must be there, what is there must be whole batches in
/// order, and nothing that was once gone may come back.
fn lives(seed: u64) {
    println!("replay: log::tests::power_loss::lives({seed})");
    let mut dice = Dice(seed);
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 600 + dice.below(6000), max_record_bytes: 1 << 20 };
    // All batches that a reopened log may hold, in order; the first `durable` of them it must hold.
    let mut written: Vec<Vec<Vec<u8>>> = Vec::new();
    let mut durable = 0;
    let mut number = 0;
    for _ in 0..6 {
        let (log, opened) = Log::open(dir.path(), options).expect("a power loss is no damage");
        let found: Vec<Vec<u8>> =
            log.read(Pos::START).map(|record| record.expect("readable").payload.to_vec()).collect();
        let mut whole = 0;
        let mut kept = 0;
        while whole < found.len() {
            whole += written[kept].len();
            kept += 1;
        }
        assert!(kept >= durable, "only {kept} of {durable} synced batches came back");
        written.truncate(kept);
        assert_eq!(found, written.concat(), "whole batches, in order, and nothing else");
        log.verify(&mut |_, _| {}).expect("what opens is sound");
        assert_eq!(opened.end, log.synced());

        let mut upto = kept;
        for _ in 0..dice.below(12) {
            let payloads: Vec<_> = (0..1 + dice.below(4))
                .map(|_| {
                    number += 1;
                    payload(number, dice.below(400) as usize)
                })
                .collect();
            let parts: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
            let segment = log.end().segment;
            let span = log.append(&batch(&parts), number as u64).unwrap();
            if span.start.segment > segment {
                upto = written.len();
            }
            written.push(payloads);
            if dice.below(3) == 0 {
                log.sync_to(span.end).unwrap();
                upto = written.len();
            }
        }
        durable = upto;
        let synced = log.synced();
        drop(log);
        strike(dir.path(), synced, &mut dice);
    }
}

#[test]
fn synced_batches_survive_power_losses() {
    for seed in 0..40 {
        lives(seed);
    }
}

#[test]
fn one_seed() {
    // Put the seed of a failing run here.
    lives(1);
}
