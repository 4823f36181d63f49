//! Damage: each kind leaves what it must.
//!
//! - Words of the stacks that belong to no frame may have any value, also that of a return address
//!   of a call that is over: the trace is the same.
//! - With any damage to the rest but code, return addresses and the registers of interrupted
//!   functions (unwind tables, saved bp, saved stack pointers, symbols): sure frames are true ones,
//!   each at most once.
//! - A return address that is none ends the sure frames there, but for one in the text of the
//!   start-up: that is freed, and no call before it can be asked for.
//! - With any damage at all, a trace ends, with a bounded number of reads.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::fake::{Fake, PIECE, amd64, i386};
use super::orc_tests::{Described, LAYOUTS, machine};
use super::{Start, Trust, frame_tests};
use crate::{Frame, Trace};

/// A machine, the start, and the true frames.
type Case = (Fake, Start, Vec<Frame>);

/// One of all machines.
fn case(number: prop::sample::Index) -> Case {
    let known = |layout: &'static Described| {
        let saved = ["AX", "DX", "DI", "R10", "R13"].into_iter();
        saved.filter(|name| layout.registers.contains(name)).map(move |name| (layout, name))
    };
    let tables: Vec<_> = LAYOUTS.iter().flat_map(known).collect();
    let number = number.index(tables.len() + 2);
    match tables.get(number) {
        Some((layout, saved)) => machine(layout, saved),
        None => frame_tests::interrupts(number == tables.len()),
    }
}

fn stacks(fake: &Fake) -> &'static [u64] {
    if fake.is_64 { &[amd64::TASK, amd64::IRQ, amd64::IST] } else { &[i386::TASK, i386::IRQ] }
}

fn sure(trace: &Trace) -> Vec<Frame> {
    trace.frames.iter().filter(|frame| frame.trust == Trust::Sure).copied().collect()
}

/// Words with return addresses, and with the registers of interrupted functions that tell so.
fn facts(fake: &Fake, frames: &[Frame]) -> BTreeSet<u64> {
    let mut facts = BTreeSet::new();
    for (at, value) in &fake.written {
        if let Some(frame) = frames.iter().find(|frame| frame.at == *value) {
            // Address, cs, flags.
            let count = if frame.is_return { 1 } else { 3 };
            facts.extend((0..count).map(|word| at + word * fake.word()));
        }
    }
    facts
}

/// The place of a random number, and a value of some kind: any, small, or an address.
fn value(fake: &Fake, frames: &[Frame], [kind, number]: [u64; 2]) -> u64 {
    let stacks = stacks(fake);
    match kind % 5 {
        0 => number,
        1 => number & 0xfff,
        2 => frames[number as usize % frames.len()].at,
        3 => stacks[number as usize % stacks.len()] + (number >> 8) % PIECE as u64 / 8 * 8,
        _ => 0,
    }
}

/// Sure frames that are not true ones, or come twice.
fn wrong(trace: &Trace, frames: &[Frame]) -> Vec<Frame> {
    let mut seen = BTreeSet::new();
    let mut frames_of_trace = sure(trace);
    frames_of_trace.retain(|frame| !frames.contains(frame) || !seen.insert(frame.at));
    frames_of_trace
}

/// Every bit of the unwind tables and of the frames, one at a time.
#[test]
fn a_flipped_bit_leads_to_no_wrong_frame() {
    let cases = [1, 3].map(|number| machine(&LAYOUTS[number], "R10")).into_iter();
    for (mut fake, start, frames) in cases.chain([frame_tests::interrupts(true)]) {
        let facts = facts(&fake, &frames);
        let words = fake.written.iter().map(|word| word.0).filter(|at| !facts.contains(at));
        let word = fake.word();
        let words = words.flat_map(|at| at..at + word);
        let tables = [(amd64::ADDRESSES, 4 * 14), (amd64::ENTRIES, 6 * 14)];
        let tables = tables.into_iter().filter(|_| fake.is_64);
        let all: Vec<_> = words.chain(tables.flat_map(|(at, length)| at..at + length)).collect();
        for at in all {
            for bit in 0..8 {
                fake.bytes(at)[0] ^= 1 << bit;
                let wrong = wrong(&fake.trace(start, 32), &frames);
                fake.bytes(at)[0] ^= 1 << bit;
                assert!(wrong.is_empty(), "bit {bit} at {at:#x}: {wrong:x?}");
            }
        }
    }
}

proptest! {
    #[test]
    fn words_of_no_frame_do_not_matter(
        number in any::<prop::sample::Index>(),
        noise in proptest::collection::vec(any::<[u64; 2]>(), 64),
    ) {
        let (fake, start, frames) = case(number);
        let mut damaged = fake.clone();
        let written: BTreeSet<u64> = fake.written.iter().map(|word| word.0).collect();
        let mut noise = noise.iter().cycle();
        for stack in stacks(&fake) {
            for at in (*stack..*stack + PIECE as u64).step_by(fake.word() as usize) {
                if !written.contains(&at) {
                    let value = value(&fake, &frames, *noise.next().expect("noise"));
                    damaged.words(at, &[value]);
                }
            }
        }
        let (before, after) = (fake.trace(start, 32), damaged.trace(start, 32));
        prop_assert_eq!(sure(&after), frames);
        prop_assert_eq!(before.end, after.end);
    }

    #[test]
    fn damaged_links_lead_to_no_wrong_frame(
        number in any::<prop::sample::Index>(),
        places in proptest::collection::vec((any::<[u32; 2]>(), any::<[u64; 2]>()), 1..48),
    ) {
        let (fake, start, frames) = case(number);
        let facts = facts(&fake, &frames);
        let mut damaged = fake.clone();
        for ([piece, offset], noise) in places {
            // All but the code.
            let piece = 2 + piece as usize % (fake.pieces.len() - 2);
            // The beginnings of tables are likelier than their zeros.
            let length = if piece < 5 && fake.is_64 { 100 } else { PIECE as u32 };
            let at = fake.pieces[piece].0 + u64::from(offset % length);
            let value = value(&fake, &[frames[0]], noise).to_le_bytes();
            for (at, byte) in (at..).zip(&value[..1 + noise[1] as usize % 4]) {
                if !facts.contains(&(at / fake.word() * fake.word())) {
                    damaged.write(at.min(fake.pieces[piece].0 + PIECE as u64 - 1), &[*byte]);
                }
            }
        }
        prop_assert_eq!(wrong(&damaged.trace(start, 32), &frames), []);
    }

    #[test]
    fn a_wrong_return_address_ends_the_sure_frames(
        number in any::<prop::sample::Index>(),
        wrong in any::<prop::sample::Index>(),
        value in any::<u64>(),
    ) {
        let (mut fake, start, frames) = case(number);
        // The text of the start-up is believed without its calls, which may be gone.
        let (init, mask) = if fake.is_64 { (amd64::INIT, u64::MAX) } else { (i386::INIT, 0xffff_ffff) };
        prop_assume!(!(init..init + PIECE as u64).contains(&(value & mask)));
        let returns: Vec<_> = frames.iter().filter(|frame| frame.is_return).collect();
        let wrong = returns[wrong.index(returns.len())];
        let place = fake.written.iter().find(|word| word.1 == wrong.at).expect("a word").0;
        fake.words(place, &[value]);
        let before = frames.iter().position(|frame| frame == wrong).expect("a frame");
        prop_assert_eq!(sure(&fake.trace(start, 32)), &frames[..before]);
    }

    #[test]
    fn a_trace_of_anything_ends(
        number in any::<prop::sample::Index>(),
        bytes in proptest::collection::vec((any::<[u32; 2]>(), any::<u8>()), 0..256),
        registers in proptest::option::of(any::<[u64; 4]>()),
        is_high in any::<bool>(),
        most in 0_usize..80,
    ) {
        let (mut fake, start, _) = case(number);
        for ([piece, offset], byte) in bytes {
            let piece = piece as usize % fake.pieces.len();
            let at = fake.pieces[piece].0 + u64::from(offset) % PIECE as u64;
            fake.write(at, &[byte]);
        }
        let start = match registers {
            Some([_, sp, bp, _]) if is_high => Start::Sleeping { sp: !(sp & bp & 0xff) },
            Some(registers) => {
                let all = registers.map(|value| if value & 4 == 0 { !(value >> 56) } else { value });
                let [ip, sp, bp, cs] = all;
                Start::Registers { ip, sp, bp, cs }
            }
            None => start,
        };
        let (trace, reads) = fake.counted_trace(start, most);
        prop_assert!(trace.frames.len() <= most);
        // Each step searches a table; each word of a stack may be a return address.
        prop_assert!(reads <= 200 + 64 * most as u64 + 2 * PIECE as u64 / fake.word(), "{reads}");
    }
}
