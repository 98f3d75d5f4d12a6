//! The fuzz targets with a seeded generator and a bound, so that every run of the tests tries the same inputs.
//!
//! `LOADER_FUZZ_SECONDS` makes each target run that long, from a seed of its own that a failure prints.
//! `LOADER_FUZZ_SEEDS=DIR` writes the seeds to `DIR/TARGET/` for another fuzzer, and tries only them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]
#![allow(clippy::cast_possible_truncation, reason = "random numbers are cut on purpose")]

mod common;
#[path = "../fuzz/targets.rs"]
#[allow(unreachable_pub, reason = "shared with the fuzzer")]
mod targets;

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::clang::compile_both;
use common::sample;
use loader::Endian;
use loader::btf::{Btf, BtfData};
use loader::spec::ObjectSpec;

/// Inputs of each target in an ordinary run.
const RUNS: usize = 1000;
/// No input may take longer, on a slow machine and without optimisation.
const PATIENCE: Duration = Duration::from_secs(5);
/// How far the process may grow over one input: so many KiB whatever it is, and so many for each KiB of it.
const GROWTH: u64 = 4 << 10;
const GROWTH_OF_INPUT: u64 = 64;
/// One target at a time: the memory of the process is looked at.
static ALONE: Mutex<()> = Mutex::new(());

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// A seed with one to eight kinds of damage.
    fn damage(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(8) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => bytes[at..].iter_mut().take(1).for_each(|byte| *byte ^= 1 << (at % 8)),
                2 => self.overwrite(&mut bytes, at),
                3 => {
                    let from = self.below(bytes.len());
                    let piece: Vec<u8> = bytes[from..].iter().copied().take(16).collect();
                    bytes.splice(at.min(bytes.len()).., piece.into_iter().chain(bytes.clone().drain(at..)));
                }
                4 => bytes[at..].iter_mut().take(4).for_each(|byte| *byte = 0xff),
                _ => bytes[at..].iter_mut().take(4).for_each(|byte| *byte = 0),
            }
            if bytes.is_empty() {
                break;
            }
        }
        bytes
    }

    /// A word that is often one too many.
    fn overwrite(&mut self, bytes: &mut [u8], at: usize) {
        const WORDS: [u32; 8] = [0, 1, 2, 0x7fff_ffff, 0x8000_0000, 0xffff_fff8, 0xffff_ffff, 0x1000];
        let word = WORDS[self.below(WORDS.len())].to_le_bytes();
        bytes[at & !3..].iter_mut().zip(word).for_each(|(slot, byte)| *slot = byte);
    }
}

/// A figure of the process's memory, in KiB: `VmRSS` now, `VmHWM` the most since [`forget_peak`].
fn memory(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// See proc(5) on `clear_refs`.
fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// Feeds one input; a panic, a hang or too much memory is told with how to repeat it.
fn feed(case: &str, input: &[u8], target: &impl Fn(&[u8])) {
    forget_peak();
    let (begin, before) = (Instant::now(), memory("VmRSS"));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| target(input)));
    assert!(outcome.is_ok(), "{case}: panic");
    assert!(begin.elapsed() < PATIENCE, "{case}: {:?}", begin.elapsed());
    let (grown, allowed) =
        (memory("VmHWM").saturating_sub(before), GROWTH + GROWTH_OF_INPUT * (input.len() as u64 >> 10));
    assert!(grown <= allowed, "{case}: {grown} KiB more for {} bytes", input.len());
}

fn fuzz(name: &str, seeds: &[Vec<u8>], target: impl Fn(&[u8])) {
    let seconds: Option<u64> = std::env::var("LOADER_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let start = Instant::now();
    let mut random = Random(match seconds {
        None => 0x0dd_ba11,
        Some(_) => u64::from(std::process::id()) << 20 | 1,
    });
    for (number, seed) in seeds.iter().enumerate() {
        feed(&format!("{name}: seed {number}"), seed, &target);
    }
    if let Some(directory) = std::env::var_os("LOADER_FUZZ_SEEDS") {
        let directory = Path::new(&directory).join(name);
        std::fs::create_dir_all(&directory).unwrap();
        for (number, seed) in seeds.iter().enumerate() {
            std::fs::write(directory.join(number.to_string()), seed).unwrap();
        }
        return;
    }
    let mut runs = 0;
    while seconds.map_or(runs < RUNS, |seconds| start.elapsed() < Duration::from_secs(seconds)) {
        let case = format!("{name}: from state {:#x}, run {runs}", random.0);
        feed(&case, &random.damage(seeds), &target);
        runs += 1;
    }
}

/// What clang makes, or at least what the tests make themselves.
fn objects() -> Vec<Vec<u8>> {
    let orders = [Endian::Little, Endian::Big];
    let mut objects: Vec<Vec<u8>> = orders.map(sample::object).into();
    for name in ["maps", "functions", "checks"] {
        objects.extend(compile_both(name).into_iter().flatten());
    }
    objects
}

fn blobs() -> Vec<Vec<u8>> {
    let specs = objects().into_iter().map(|object| ObjectSpec::parse(&object).unwrap());
    specs.map(|spec| spec.btf.unwrap().raw().to_vec()).collect()
}

#[test]
fn damaged_objects_are_errors_and_nothing_worse() {
    let tables = [Endian::Little, Endian::Big].map(|endian| sample::switching(endian, 5 * 8).build());
    let arenas = compile_both("arena").into_iter().flatten();
    let seeds: Vec<Vec<u8>> = objects().into_iter().chain(tables).chain(arenas).collect();
    fuzz("elf", &seeds, targets::elf);
}

#[test]
fn damaged_types_are_errors_and_nothing_worse() {
    fuzz("btf", &blobs(), targets::btf);
}

#[test]
fn damaged_records_are_errors_and_nothing_worse() {
    let with_types = |object: Vec<u8>| {
        let elf = goblin::elf::Elf::parse(&object).unwrap();
        let section = |name: &str| {
            let header = elf.section_headers.iter().find(|header| &elf.shdr_strtab[header.sh_name] == name);
            object[header.unwrap().file_range().unwrap()].to_vec()
        };
        let (types, ext) = (section(".BTF"), section(".BTF.ext"));
        let length = u16::try_from(types.len()).unwrap().to_le_bytes();
        [&length[..], &types, &ext].concat()
    };
    let seeds: Vec<Vec<u8>> = objects().into_iter().map(with_types).collect();
    fuzz("btf_ext", &seeds, targets::btf_ext);
}

#[test]
fn relocating_against_damaged_types_is_an_error_and_nothing_worse() {
    let spec = ObjectSpec::parse(objects().last().unwrap()).unwrap();
    fuzz("core_reloc", &blobs(), |data| targets::core_reloc(&spec, data));
}

#[test]
fn a_damaged_configuration_is_an_error_and_nothing_worse() {
    let types = Btf::parse(BtfData::from(blobs().pop().unwrap())).unwrap();
    let seeds = ["CONFIG_X=y", "CONFIG_X=0x7fffffff", "CONFIG_X=\"text\"", "CONFIG_X=-1\nCONFIG_XY=m"];
    let seeds = seeds.map(|text| format!("# CONFIG_W is not set\n{text}\n").into_bytes());
    fuzz("kconfig", &seeds, |data| targets::kconfig(&types, data));
}

#[test]
fn a_damaged_ring_is_an_error_and_nothing_worse() {
    // Positions, then records: of 3 bytes, given up, of 5 bytes, one that is still written.
    let words: [u64; 11] = [0, 72, 3, 0x00ab_cdef, 16 | 1 << 30, 7, 7, 5, 0x12_3456_789a, 1 << 31, 0];
    let records: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut wrapped = [4088_u64, 4088 + 4096].map(u64::to_le_bytes).concat();
    wrapped.resize(16 + 4096, 0xff);
    wrapped[16 + 4088..].copy_from_slice(&4088_u64.to_le_bytes());
    fuzz("ring", &[records, wrapped], targets::ring);
}
