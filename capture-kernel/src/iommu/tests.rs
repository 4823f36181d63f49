use super::*;
use crate::fake::{FakeClock, logged};
use core::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::string::String;
use std::vec;
use std::vec::Vec;
use vmcore::PhysAddr;

/// Behaviour of a unit's registers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Vtd,
    Amd,
    /// No device: reads are this.
    Nothing(u32),
}

/// A unit: its registers, and the bits of status and control that do not change any more.
struct Unit {
    kind: Kind,
    words: BTreeMap<usize, u32>,
    stuck: u32,
    /// Reads until a command is done.
    delay: u32,
    pending: Option<(u32, usize, u32)>,
    writes: Vec<(usize, u32)>,
}

type Shared = Rc<RefCell<Unit>>;

fn unit(kind: Kind, words: &[(usize, u32)]) -> Shared {
    let words = words.iter().copied().collect();
    Rc::new(RefCell::new(Unit { kind, words, stuck: 0, delay: 3, pending: None, writes: vec![] }))
}

/// One as Linux leaves it: translation, interrupt remapping, the root table and the queue are set.
const VTD_STATES: u32 = 0xc700_0000;
fn vtd() -> Shared {
    unit(Kind::Vtd, &[(0, 0x10), (8, 0x60), (0x1c, VTD_STATES), (0x80, 0x40), (0x88, 0x40)])
}

/// The same of AMD: on, event log, command buffer, coherent; both run.
fn amd() -> Shared {
    unit(Kind::Amd, &[(0x18, 0x1c0d), (0x2020, 0x18)])
}

struct Access(Shared);

impl Registers for Access {
    fn read(&self, offset: usize) -> u32 {
        let mut unit = self.0.borrow_mut();
        if let Kind::Nothing(value) = unit.kind {
            return value;
        }
        if let Some((reads, at, value)) = unit.pending.take() {
            if reads == 0 {
                unit.words.insert(at, value);
            } else {
                unit.pending = Some((reads - 1, at, value));
            }
        }
        assert!(!(unit.kind == Kind::Vtd && offset == 0x18), "the command register is write-only");
        unit.words.get(&offset).copied().unwrap_or(0)
    }

    fn write(&mut self, offset: usize, value: u32) {
        let mut unit = self.0.borrow_mut();
        unit.writes.push((offset, value));
        assert_eq!(unit.pending, None, "a command is not done yet");
        let old = |unit: &Unit, at| unit.words.get(&at).copied().unwrap_or(0);
        let (at, value) = match (unit.kind, offset) {
            (Kind::Vtd, 0x18) => {
                let states = old(&unit, 0x1c);
                let changed = (states ^ value) & 0x9680_0000;
                assert!(changed.is_power_of_two(), "one at a time: {value:#x}");
                assert_eq!(value & 0x6900_0000, 0, "a command that is done once");
                (0x1c, states ^ changed & !unit.stuck)
            }
            (Kind::Vtd, 0x64) => {
                let state = old(&unit, 0x64);
                (0x64, value & !1 | state & unit.stuck & 1)
            }
            (Kind::Amd, 0x18) => {
                let value = value | old(&unit, 0x18) & unit.stuck;
                unit.words.insert(0x18, value);
                let run = (value & 4) << 1 | (value >> 12 & 1) << 4;
                (0x2020, run | old(&unit, 0x2020) & unit.stuck)
            }
            _ => panic!("{offset:#x} is not to be written"),
        };
        unit.pending = Some((unit.delay, at, value));
    }

    fn length(&self) -> usize {
        4096
    }
}

fn ram() -> RangeSet {
    let mut ram = RangeSet::new();
    let range = PhysRange::new(PhysAddr::new(0x10_0000), 0x7ff0_0000).expect("no wrap");
    ram.insert(range).expect("room");
    ram
}

const VTD_AT: u64 = 0xfed9_0000;
const AMD_AT: u64 = 0xfeb8_0000;

/// Turns the units of a command line off, each with these registers; and the log.
fn run(line: &str, units: &[&Shared]) -> (Translation, Vec<String>) {
    let options = cmdline::Options::parse(line.as_bytes(), &mut |problem| panic!("{problem}"));
    let list = options.iommu.expect("a list");
    let clock = FakeClock::default();
    let mut units = units.iter();
    let map = |_| units.next().map(|unit| Access(Rc::clone(unit)));
    logged(|| turn_off(list.iter(), &ram(), &clock, map))
}

fn value(unit: &Shared, at: usize) -> u32 {
    unit.borrow().words[&at]
}

#[test]
fn translation_ends_and_interrupts_stay_remapped() {
    let vtd = vtd();
    let (translation, said) = run("kdump.iommu=vtd@0xfed90000", &[&vtd]);
    assert_eq!(translation, Translation::Off);
    assert_eq!(said, ["IOMMU vtd@0xfed90000: translation turned off"]);
    // Translation and queue are off; the root table and interrupt remapping are as before.
    assert_eq!(value(&vtd, 0x1c), VTD_STATES & !(1 << 31 | 1 << 26));
    assert_eq!(vtd.borrow().writes, [(0x18, 0x0600_0000), (0x18, 0x0200_0000)]);
}

#[test]
fn amd_units_write_nothing_to_memory_any_more() {
    let amd = amd();
    let (translation, said) = run("kdump.iommu=amd@0xfeb80000", &[&amd]);
    assert_eq!(translation, Translation::Off);
    assert_eq!(said, ["IOMMU amd@0xfeb80000: translation turned off"]);
    assert_eq!((value(&amd, 0x18), value(&amd, 0x2020)), (0xc00, 0));
    assert_eq!(amd.borrow().writes, [(0x18, 0xc0d), (0x18, 0xc01), (0x18, 0xc00)]);
}

#[test]
fn units_that_are_off_are_not_written() {
    let (vtd, amd) = (vtd(), amd());
    vtd.borrow_mut().words.insert(0x1c, 0x0200_0000);
    amd.borrow_mut().words.insert(0x18, 0);
    let (translation, said) = run("kdump.iommu=vtd@0xfed90000,amd@0xfeb80000", &[&vtd, &amd]);
    assert_eq!(translation, Translation::Off);
    assert_eq!(said[1], "IOMMU amd@0xfeb80000: translation is off");
    assert!(vtd.borrow().writes.is_empty() && amd.borrow().writes.is_empty());
    assert_eq!(run("kdump.iommu=none", &[]).0, Translation::Off);
}

#[test]
fn protected_memory_is_released() {
    let vtd = vtd();
    vtd.borrow_mut().words.insert(0x64, 1 << 31 | 1);
    assert_eq!(run("kdump.iommu=vtd@0xfed90000", &[&vtd]).0, Translation::Off);
    assert_eq!(value(&vtd, 0x64), 0);
}

/// Faults of a unit, the word on each, and the registers that are written all the same.
#[test]
fn a_unit_that_may_go_on_translating_is_named() {
    let stuck = |unit: Shared, bits| {
        unit.borrow_mut().stuck = bits;
        unit
    };
    let protected = stuck(vtd(), 1);
    protected.borrow_mut().words.insert(0x64, 1 << 31 | 1);
    let nothing = |value| unit(Kind::Nothing(value), &[]);
    for (kind, unit, expected) in [
        ("vtd", stuck(vtd(), 1 << 31), "the IOMMU did not turn translation off in time"),
        ("amd", stuck(amd(), 1), "the IOMMU did not turn translation off in time"),
        ("vtd", protected, "the IOMMU did not release protected memory in time"),
        ("vtd", nothing(u32::MAX), "no IOMMU answers there (it reads 0xffffffff)"),
        ("amd", nothing(u32::MAX), "no IOMMU answers there (it reads 0xffffffff)"),
        ("vtd", nothing(0), "no IOMMU answers there (it reads 0x00000000)"),
        ("vtd", nothing(0x1237_8086), "no IOMMU answers there (it reads 0x12378086)"),
    ] {
        let is_nothing = matches!(unit.borrow().kind, Kind::Nothing(_));
        let (translation, said) = run(&std::format!("kdump.iommu={kind}@0xfed90000"), &[&unit]);
        assert_eq!(translation, Translation::On(PhysAddr::new(VTD_AT)), "{expected}");
        let said = said.last().expect("a line");
        let whole = std::format!(
            "IOMMU {kind}@0xfed90000: {expected}; devices that it may translate for are not used"
        );
        assert_eq!(*said, whole);
        assert!(!is_nothing || unit.borrow().writes.is_empty());
    }
}

/// The dump does not need them to stop.
#[test]
fn a_queue_or_a_log_that_does_not_stop_does_not_matter() {
    let busy = vtd();
    busy.borrow_mut().words.insert(0x88, 0x80);
    let queue = vtd();
    queue.borrow_mut().stuck = 1 << 26;
    let logs = amd();
    logs.borrow_mut().stuck = 1 << 3;
    for (kind, unit) in [("vtd", busy), ("vtd", queue), ("amd", logs)] {
        let (translation, said) = run(&std::format!("kdump.iommu={kind}@0xfed90000"), &[&unit]);
        assert_eq!(translation, Translation::Off);
        assert!(said[0].contains("not stop; going on") && said[1].ends_with("turned off"));
    }
}

#[test]
fn wrong_places_are_not_touched() {
    for (unit, expected) in [
        ("vtd@0x1000000", "that is memory, not an IOMMU"),
        ("amd@0x7fffc000", "that is memory, not an IOMMU"),
        ("vtd@0xfed90800", "registers begin at a multiple of 0x1000"),
        ("amd@0xfed91000", "registers begin at a multiple of 0x4000"),
        ("vtd@0xfffffffffffff000", "cannot be mapped"),
        ("vtd@0xfed90000", "cannot be mapped"),
    ] {
        let (translation, said) = run(&std::format!("kdump.iommu={unit}"), &[]);
        assert!(matches!(translation, Translation::On(_)), "{unit}");
        assert!(said[0].contains(expected), "{said:?}");
    }
}

#[test]
fn each_of_several_units_is_turned_off_also_after_one_that_is_not() {
    let units = [vtd(), vtd(), amd()];
    units[0].borrow_mut().stuck = 1 << 31;
    let line = "kdump.iommu=vtd@0xfed90000,vtd@0xfed91000,amd@0xfeb80000";
    let (translation, said) = run(line, &units.each_ref());
    assert_eq!(translation, Translation::On(PhysAddr::new(VTD_AT)));
    assert_eq!(said.len(), 3);
    assert_eq!(value(&units[1], 0x1c) >> 31, 0);
    assert_eq!(value(&units[2], 0x18) & 1, 0);
    assert!(said[2].starts_with(&std::format!("IOMMU amd@{AMD_AT:#x}: ")));
}
