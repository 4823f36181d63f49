use super::*;
use core::cell::RefCell;
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

/// Offsets that the code has under other names, from the manual's table 11-1.
const ISR: usize = 0x100;
const EOI: usize = 0xb0;
const LINT1: usize = 0x360;

/// A local APIC as the manual describes it, as far as it matters here.
struct Fake(RefCell<State>);

struct State {
    registers: BTreeMap<usize, u32>,
    in_service: Vec<u8>,
    /// It does not react to the end of an interrupt.
    is_stuck: bool,
    ended: usize,
    /// Registers that were written, in order.
    written: Vec<usize>,
}

impl Fake {
    /// As after a reset, with these vectors in service and so many entries in its table.
    fn new(in_service: &[u8], last_entry: u32) -> Self {
        let lvt = [0x320, 0x330, 0x340, 0x350, LINT1, 0x370, 0x2f0].map(|entry| (entry, 0x1_0000));
        let mut registers = BTreeMap::from(lvt);
        registers.insert(0x30, last_entry << 16 | 0x14);
        registers.insert(0xf0, 0xff);
        registers.insert(LINT1, 0x400);
        let in_service = in_service.to_vec();
        let (is_stuck, ended, written) = (false, 0, vec![]);
        Self(RefCell::new(State { registers, in_service, is_stuck, ended, written }))
    }

    fn register(&self, offset: usize) -> u32 {
        self.0.borrow().registers.get(&offset).copied().unwrap_or(0)
    }
}

impl Registers for &Fake {
    fn read(&self, offset: usize) -> u32 {
        assert!(offset.is_multiple_of(16) && offset < 0x400, "{offset:#x}");
        let state = self.0.borrow();
        match offset {
            ISR..0x180 => {
                let of_part = |vector: &&u8| usize::from(**vector / 32) == (offset - ISR) / 16;
                state
                    .in_service
                    .iter()
                    .filter(of_part)
                    .fold(0, |bits, vector| bits | 1 << (vector % 32))
            }
            _ => state.registers.get(&offset).copied().unwrap_or(0),
        }
    }

    fn write(&self, offset: usize, value: u32) {
        assert!(offset.is_multiple_of(16) && offset < 0x400, "{offset:#x}");
        let mut state = self.0.borrow_mut();
        state.written.push(offset);
        match offset {
            EOI => {
                assert_eq!(value, 0, "an MSR that takes nothing else");
                state.ended += 1;
                if !state.is_stuck {
                    let highest = state.in_service.iter().copied().max();
                    state.in_service.retain(|vector| Some(*vector) != highest);
                }
            }
            // 11.4.7.2: while the APIC is off, an entry stays masked.
            0x320..=0x370 | 0x2f0 if state.registers[&0xf0] & 0x100 == 0 => {
                state.registers.insert(offset, value | 0x1_0000);
            }
            // 10.5.4.1: with a TSC deadline the count is not written.
            0x380 if state.registers[&0x320] >> 17 & 3 == 2 => {}
            0x380 => {
                state.registers.insert(0x380, value);
                state.registers.insert(0x390, value);
            }
            _ => {
                state.registers.insert(offset, value);
            }
        }
    }
}

#[test]
fn the_base_register_says_how_registers_are_reached() {
    assert_eq!(access(None), Err(Absent::NotThere));
    assert_eq!(access(Some(0xfee0_0900)), Ok(Access::Memory(0xfee0_0000)));
    assert_eq!(access(Some(0xfee0_0800)), Ok(Access::Memory(0xfee0_0000)), "not the boot CPU");
    assert_eq!(access(Some(0x12_3456_7900)), Ok(Access::Memory(0x12_3456_7000)), "above 4 GiB");
    assert_eq!(access(Some(0xfee0_0d00)), Ok(Access::Msr));
    assert_eq!(access(Some(0xfee0_0100)), Err(Absent::Off));
    assert_eq!(access(Some(0xfee0_0500)), Err(Absent::Off), "a state that cannot be");
}

#[test]
fn only_the_timer_gets_through() {
    let fake = Fake::new(&[], 6);
    for entry in [0x330, 0x340, 0x350, 0x370, 0x2f0] {
        fake.0.borrow_mut().registers.insert(entry, 0x700);
    }
    let timer = Timer::take(&fake, 0xf0, 0xff);
    assert_eq!(fake.register(0xf0) & 0x1ff, 0x1ff, "on");
    assert_eq!(fake.register(0x80), 0xe0, "all classes below that of the timer");
    for entry in [0x330, 0x340, 0x350, 0x370, 0x2f0] {
        assert_eq!(fake.register(entry), 0x1_0700, "{entry:#x}");
    }
    assert_eq!(fake.register(LINT1), 0x400, "NMIs come through as before");
    assert_eq!(fake.register(0x320), 0x1_00f0, "masked");
    timer.start(12345);
    assert_eq!((fake.register(0x320), fake.register(0x380)), (0x2_00f0, 12345));
    assert_eq!(fake.register(0x3e0), 0b1010);
    timer.stop();
    assert_eq!((fake.register(0x320), fake.register(0x380)), (0x1_00f0, 0));
}

/// In x2APIC mode a register that is not there is an exception.
#[test]
fn entries_that_are_not_there_are_left_alone() {
    let fake = Fake::new(&[], 3);
    Timer::take(&fake, 0xf0, 0xff);
    let written = &fake.0.borrow().written;
    assert!(written.contains(&0x350) && written.contains(&0x370), "{written:x?}");
    assert!(![0x330, 0x340, 0x2f0].iter().any(|entry| written.contains(entry)), "{written:x?}");
}

#[test]
fn a_deadline_of_the_dead_kernel_is_off() {
    let fake = Fake::new(&[], 6);
    fake.0.borrow_mut().registers.insert(0x320, 0x4_00ec);
    let timer = Timer::take(&fake, 0xf0, 0xff);
    timer.start(77);
    assert_eq!((fake.register(0x320), fake.register(0x380)), (0x2_00f0, 77));
}

#[test]
fn what_was_in_service_is_ended() {
    for vectors in [&[][..], &[0xfd], &[0x31, 0xec, 0xfd], &[0x20, 0x3f, 0x40, 0xff, 0xf0]] {
        let fake = Fake::new(vectors, 5);
        Timer::take(&fake, 0xf0, 0xff);
        let state = fake.0.borrow();
        assert_eq!((&state.in_service[..], state.ended), (&[][..], vectors.len()));
    }
    let fake = Fake::new(&[0xfd], 5);
    fake.0.borrow_mut().is_stuck = true;
    Timer::take(&fake, 0xf0, 0xff);
    assert_eq!(fake.0.borrow().ended, 256, "an end");
}

#[test]
fn counts_are_those_that_passed() {
    let fake = Fake::new(&[], 5);
    let timer = Timer::take(&fake, 0xf0, 0xff);
    let passed = timer.count(|| {
        assert_eq!(fake.register(0x320) & MASKED, MASKED);
        fake.0.borrow_mut().registers.insert(0x390, u32::MAX - 1000);
    });
    assert_eq!((passed, fake.register(0x380)), (1000, 0));
    assert_eq!(timer.count(|| {}), 0, "one that stands still");
}
