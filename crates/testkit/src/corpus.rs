//! Inputs that the fuzzers found worth keeping, replayed as ordinary tests: as they are, and changed a little by a seed.
//!
//! A target is a function that any bytes may be handed to; it fails by panicking. It stands beside the decoder that it
//! tries, in the crate's `fuzzing` module, and `fuzz/` hands it to libFuzzer.

use std::{
    env, fs,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
};

use rand::{Rng, SeedableRng, rngs::SmallRng, seq::IndexedRandom};

/// Changed copies of each file, unless `TIDEGATE_FUZZ_ROUNDS` says otherwise.
const ROUNDS: u64 = 200;
/// Most changes of one copy.
const CHANGES_MAX: usize = 6;
/// Longest input that changes may lead to.
const BYTES_MAX: usize = 64 << 10;

/// Runs `target` over `fuzz/corpus/<name>` and over changed copies of its files.
///
/// # Panics
/// When the target does: the input is then kept under `fuzz/artifacts` and named. When there is no corpus.
pub fn replay(name: &str, target: fn(&[u8])) {
    let rounds = env::var("TIDEGATE_FUZZ_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("a number of rounds"));
    let files = files(name);
    let inputs: Vec<&[u8]> = files.iter().map(|(_, bytes)| &bytes[..]).collect();
    for (at, (file, bytes)) in files.iter().enumerate() {
        attempt(name, target, file, bytes);
        for round in 1..=rounds {
            let mut rng = SmallRng::seed_from_u64((at as u64) << 32 | round);
            let changed = change(bytes, &inputs, &mut rng);
            attempt(name, target, &format!("{file}-{round}"), &changed);
        }
    }
}

/// Where a target's inputs are kept, or its failures.
fn folder(kind: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(kind).join(name)
}

/// Names and bytes of the corpus, in the order of names.
fn files(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder("corpus", name);
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.expect("the corpus can be listed");
        (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).expect("the corpus can be read"))
    };
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(read).collect();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.sort_unstable();
    files
}

fn attempt(name: &str, target: fn(&[u8]), input: &str, bytes: &[u8]) {
    let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| target(bytes))) else { return };
    let kept = folder("artifacts", name).join(input);
    let written = fs::create_dir_all(folder("artifacts", name)).and_then(|()| fs::write(&kept, bytes));
    eprintln!("the target {name} failed; its input is {} ({written:?}): {:02x?}", kept.display(), head(bytes));
    panic::resume_unwind(panic);
}

fn head(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(256)]
}

/// A copy of `bytes` with a few of the changes that decoders are known to stumble over.
fn change(bytes: &[u8], others: &[&[u8]], rng: &mut SmallRng) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..rng.random_range(1..=CHANGES_MAX) {
        let at = rng.random_range(0..=out.len());
        let span = rng.random_range(0..=(out.len() - at).min(32));
        match rng.random_range(0..8) {
            0 => flip(&mut out, at, rng.random_range(0..8)),
            1 => set(&mut out, at, *[0, 1, 0x7f, 0x80, 0xff].choose(rng).expect("five of them")),
            2 => set(&mut out, at, rng.random()),
            3 => out.truncate(at),
            4 => drop(out.drain(at..at + span)),
            5 => insert(&mut out, at, &std::iter::repeat_with(|| rng.random()).take(span).collect::<Vec<_>>()),
            6 => {
                let copy = out[at..at + span].to_vec();
                let to = rng.random_range(0..=out.len());
                insert(&mut out, to, &copy);
            }
            _ => {
                let other = others.choose(rng).copied().unwrap_or_default();
                let from = rng.random_range(0..=other.len());
                let piece = &other[from..(from + rng.random_range(0..=64)).min(other.len())];
                insert(&mut out, at, piece);
            }
        }
    }
    out.truncate(BYTES_MAX);
    out
}

fn flip(out: &mut [u8], at: usize, bit: u32) {
    if let Some(byte) = out.get_mut(at) {
        *byte ^= 1 << bit;
    }
}

fn set(out: &mut [u8], at: usize, value: u8) {
    if let Some(byte) = out.get_mut(at) {
        *byte = value;
    }
}

fn insert(out: &mut Vec<u8>, at: usize, piece: &[u8]) {
    out.splice(at..at, piece.iter().copied());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Each target has a file that libFuzzer is built from, an entry in the manifest, and a corpus that is replayed.
    #[test]
    fn targets_manifest_and_corpora_have_the_same_names() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
        let names = |folder: &str| -> BTreeSet<String> {
            let entries = fs::read_dir(fuzz.join(folder)).unwrap();
            entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect()
        };
        let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
        let (_, bins) = manifest.split_once("[[bin]]").unwrap();
        let listed: BTreeSet<String> = bins
            .lines()
            .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"').map(str::to_owned))
            .collect();
        assert_eq!(names("targets"), listed);
        assert_eq!(names("corpus"), listed);
    }

    #[test]
    fn a_seed_decides_the_changes() {
        let changed = |seed| change(b"some input", &[b"another"], &mut SmallRng::seed_from_u64(seed));
        assert_eq!(changed(7), changed(7));
        let all: BTreeSet<Vec<u8>> = (0..50).map(changed).collect();
        assert!(all.len() > 30, "{all:?}");
    }
}
