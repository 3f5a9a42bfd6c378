//! Random work over every engine of this crate against a plain map, with crashes in between.

use std::collections::BTreeMap;

use super::*;
use crate::store::open_sled;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

type Model = BTreeMap<Bytes, Bytes>;

/// The models of all positions: what a replay of the log up to there gives.
fn run(seed: u64, sled: bool) {
    println!("seed {seed}, sled {sled}: random::run({seed}, {sled}) replays it");
    let dir = tempfile::tempdir().expect("a directory");
    let memory = Arc::new(MemoryStore::default());
    let open = || {
        let mut options = options(&dir.path().join("index"), vec![Arc::clone(&memory) as Arc<dyn Store>]);
        options.overlay_bytes = 20_000;
        if sled {
            options.engine = Box::new(|dir: &Path| open_sled(dir, 4 << 20));
        }
        Index::open(options).expect("the index opens")
    };
    let mut random = Random(seed);
    let mut past: Vec<Model> = vec![Model::new()];
    let (mut index, _) = open();
    for _ in 0..400 {
        let model = past.last().expect("one").clone();
        match random.below(40) {
            0 => index.flush().expect("stored"),
            1 => {
                index.verify(&mut |_, _| {}).expect("sound");
            }
            2 => {
                let clean = random.below(2) == 0;
                if clean {
                    index.close().expect("closed");
                }
                drop(index);
                if !sled && !clean {
                    memory.lose_power();
                }
                let opened;
                (index, opened) = open();
                assert_eq!(opened.rebuilt, None);
                let at =
                    opened.position.map_or(0, |at| u32::from_be_bytes(at[..4].try_into().expect("four")));
                past.truncate(at as usize + 1);
                assert!(!clean || past.last() == Some(&model), "a clean stop loses nothing");
            }
            3..6 => {
                let from = random.below(300).to_string();
                let to = (random.below(3) > 0).then(|| random.below(300).to_string());
                let found = index.scan(from.as_bytes(), to.as_deref().map(str::as_bytes));
                let found: Vec<_> = found.map(|row| row.expect("sound")).collect();
                let in_range = |key: &Bytes| {
                    *key >= from.as_bytes() && to.as_ref().is_none_or(|to| *key < to.as_bytes())
                };
                let expected: Vec<_> = model.into_iter().filter(|(key, _)| in_range(key)).collect();
                assert!(found == expected, "a scan from {from} to {to:?} differs from the model");
            }
            _ => {
                let mut model = model;
                let mut staged = Vec::new();
                for _ in 0..random.below(20) {
                    let key = Bytes::from(random.below(300).to_string());
                    if staged.iter().any(|other: &Staged| other.key == key) {
                        continue;
                    }
                    let old = index.get(&key).expect("sound");
                    assert_eq!(old.as_ref().map(|item| &item.value), model.get(&key));
                    let size = random.below(500) as usize;
                    let new = (random.below(5) > 0).then(|| Bytes::from(vec![random.next() as u8; size]));
                    match &new {
                        Some(value) => model.insert(key.clone(), value.clone()),
                        None => model.remove(&key),
                    };
                    staged.push(Staged { key, old: old.map(|item| item.check), new });
                }
                let mut position = [0; 16];
                position[..4].copy_from_slice(&(past.len() as u32).to_be_bytes());
                index.stage(&staged, position);
                past.push(model);
            }
        }
    }
}

#[test]
fn random_work_over_memory() {
    for seed in 0..60 {
        run(seed, false);
    }
}

#[test]
fn random_work_over_sled() {
    for seed in 100..104 {
        run(seed, true);
    }
}
