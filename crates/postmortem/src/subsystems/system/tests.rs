//! Tests over a small kernel.

use super::*;
use crate::fake::Fake;

fn timekeeper(fake: &mut Fake) {
    let base = [("base", "u64", 0), ("xtime_nsec", "u64", 8), ("shift", "u32", 16)];
    fake.structure("tk_read_base", 24, &base);
    fake.structure(
        "timekeeper",
        40,
        &[
            ("tkr_mono", "struct tk_read_base", 0),
            ("xtime_sec", "u64", 24),
            ("offs_boot", "u64", 32),
        ],
    );
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn system(fake: &Fake) -> System {
    let dump = fake.dump();
    let kernel = Kernel::open(&dump).expect("a kernel");
    read(&kernel, None).expect("always")
}

/// 100.5 s since the boot without the time asleep, 7 s asleep.
const KEEPER: [u64; 5] = [100_000_000_000, 500_000_000 << 8, 8, 1_795_899_311, 7_000_000_000];

#[test]
fn clocks_are_found_in_every_layout() {
    for is_named in [false, true] {
        let mut fake = Fake::amd64();
        timekeeper(&mut fake);
        let at = match is_named {
            true => {
                fake.structure(
                    "tk_data",
                    48,
                    &[("seq", "u32", 0), ("timekeeper", "struct timekeeper", 8)],
                );
                fake.place(&words(&KEEPER)) - 8
            }
            false => {
                fake.structure("seqcount", 4, &[("sequence", "u32", 0)]);
                fake.typedef("seqcount_t", "struct seqcount");
                fake.place(&words(&KEEPER)) - 8
            }
        };
        fake.symbol(if is_named { "timekeeper_data" } else { "tk_core" }, at);
        let system = system(&fake);
        assert_eq!(system.uptime_ns, Some(107_500_000_000), "{:?}", system.missing);
        assert_eq!(system.date.as_deref(), Some("Sat Nov 28 20:55:11 UTC 2026"));
    }
}

/// Linux: `get_avenrun(loads, FIXED_1 / 200, 0)`, `LOAD_INT`, `LOAD_FRAC`.
#[test]
fn load_averages_are_rounded_as_the_kernel_does() {
    let mut fake = Fake::amd64();
    let at = fake.place(&words(&[3072, 2047, 0]));
    fake.symbol("avenrun", at);
    let system = System { online_cpus: vec![0], possible_cpus: vec![0], ..system(&fake) };
    assert_eq!(system.load, Some([1.5, 1.0, 0.0]));
    assert!(warnings(&system).is_empty());
    let busy = System { load: Some([2.0, 0.0, 0.0]), ..system };
    assert_eq!(warnings(&busy)[0].text, "load 2.00 with 1 of 1 CPUs online");
}

#[test]
fn names_and_taints() {
    let mut fake = Fake::amd64();
    let names =
        [("nodename", "char [65]", 0), ("release", "char [65]", 65), ("machine", "char [65]", 130)];
    fake.structure("new_utsname", 195, &names);
    fake.structure("uts_namespace", 200, &[("name", "struct new_utsname", 4)]);
    let mut bytes = vec![0; 200];
    bytes[4..8].copy_from_slice(b"host");
    bytes[134..140].copy_from_slice(b"x86_64");
    let at = fake.place(&bytes);
    fake.symbol("init_uts_ns", at);
    // A note of four bytes, type 3.
    let notes =
        [&words(&[4 | 4 << 32])[..], &3_u32.to_le_bytes(), b"GNU\0", &[0xab, 0, 1, 2]].concat();
    let at = fake.place(&notes);
    fake.symbol("__start_notes", at);
    fake.symbol("__stop_notes", at + notes.len() as u64);
    let at = fake.place_words(&[1 << 12 | 1 << 9 | 1 << 40]);
    fake.symbol("tainted_mask", at);
    let system = system(&fake);
    assert_eq!(system.hostname.as_deref(), Some("host"));
    assert_eq!(system.machine.as_deref(), Some("x86_64"));
    assert_eq!(system.release.as_deref(), Some("6.1.0-fake"));
    assert_eq!(system.build_id.as_deref(), Some("ab000102"));
    let letters: String = system.taints.iter().map(|taint| taint.letter).collect();
    assert_eq!(letters, "WO?");
    assert!(system.missing.iter().any(|part| part.starts_with("command line: ")));
}
