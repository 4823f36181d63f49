//! Lookups in tables of each encoding.

use super::fake::{Image, KINDS, Kind};
use super::*;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use proptest::prelude::*;

/// Symbols: their distance from the start of the image, type and name.
const SYMBOLS: [(u64, &str); 9] = [
    (0, "T_text"),
    (0, "T_stext"),
    (0x40, "Tdo_sys_read"),
    (0x40, "t__x64_sys_read"),
    (0x40, "Wread"),
    (0x48, "t__pfx"),
    (0x1000, "Tvery_long"),
    (0x2000, "D_etext"),
    (0x3000, "B_end"),
];

/// The symbols of a kernel of this kind; in front of them those of per-CPU variables.
fn symbols(kind: Kind) -> Vec<(u64, String)> {
    let small = [(0, "Afixed_percpu_data"), (0, "A__per_cpu_start"), (0x1000, "Acpu_hot")];
    let small = small.iter().filter(|_| kind.has_small()).map(|(at, name)| (*at, *name));
    let large = SYMBOLS.iter().map(|(at, name)| (kind.image + at, *name));
    let mut symbols: Vec<_> = small.chain(large).map(|(at, name)| (at, name.into())).collect();
    if kind.has_long {
        symbols.iter_mut().find(|(_, name)| name == "Tvery_long").expect("there").1 =
            String::from("T") + &"x".repeat(299);
    }
    symbols
}

fn image(kind: Kind) -> Image {
    let symbols = symbols(kind);
    let symbols: Vec<_> = symbols.iter().map(|(at, name)| (*at, name.as_str())).collect();
    Image::new(kind, &symbols)
}

/// The name, the offset and the size at an address.
fn name_at<M: ReadPhys>(kallsyms: &Kallsyms<'_, M>, at: u64) -> Option<(String, u64, u64)> {
    let located = kallsyms.locate(at).expect("tables")?;
    let mut name = None;
    let mut go_on = || true;
    let is_complete = kallsyms
        .names(&[located.index], &mut Budget::new(&mut go_on), &mut |index, bytes| {
            assert_eq!(index, located.index);
            name = String::from_utf8(bytes.to_vec()).ok();
        })
        .expect("names");
    assert!(is_complete);
    Some((name?, at - located.start, located.size))
}

#[test]
fn an_address_has_the_first_name_of_its_symbol() {
    for kind in KINDS {
        let image = image(kind);
        image.with(|memory| {
            let kallsyms = Kallsyms::find(memory, image.vmcoreinfo.as_bytes()).expect("tables");
            let name_at = |offset| name_at(&kallsyms, kind.image.wrapping_add(offset));
            let is = |name: &str, offset, size| Some((String::from(name), offset, size));
            assert_eq!(name_at(0), is("_text", 0, 0x40));
            assert_eq!(name_at(0x3f), is("_text", 0x3f, 0x40));
            assert_eq!(name_at(0x47), is("do_sys_read", 7, 8));
            assert_eq!(name_at(0xfff), is("__pfx", 0xfb7, 0xfb8));
            let last = if kind.has_long { "x".repeat(299) } else { String::from("very_long") };
            assert_eq!(name_at(0x1000), is(&last, 0, 0x1000));
            assert_eq!(name_at(0x2fff), is("_etext", 0xfff, 0x1000));
            assert_eq!(name_at(0x3000), None, "the last symbol is an end");
            assert_eq!(name_at(u64::MAX), None, "below the text");
            assert_eq!(kallsyms.locate(0x1001), Ok(None), "per-CPU variables are no code");
        });
    }
}

/// Linux 5.10 lays the tables out like the other kernels, and does not name them.
#[test]
fn tables_that_are_not_named_are_found() {
    for kind in KINDS.into_iter().filter(|kind| kind.encodes_as_before_6()) {
        let kind = Kind { has_long: false, ..kind };
        for count in [257, 512, 700] {
            let mut symbols = symbols(kind);
            let last = symbols.pop().expect("some");
            let more = (symbols.len() + 1..count)
                .map(|n| (kind.image + 0x2000 + n as u64, format!("tfiller_{n}")));
            symbols.extend(more);
            symbols.push(last);
            let symbols: Vec<_> = symbols.iter().map(|(at, name)| (*at, name.as_str())).collect();
            let mut image = Image::new(kind, &symbols);
            let named = KallsymsTables::of(image.vmcoreinfo.as_bytes()).expect("all");
            image.vmcoreinfo =
                image.vmcoreinfo.lines().take(2).map(|line| line.to_owned() + "\n").collect();
            image.with(|memory| {
                let info = image.vmcoreinfo.as_bytes();
                assert_eq!(
                    Kallsyms::find(memory, info).err(),
                    Some(Error::NoLine { key: "SYMBOL(kallsyms_names)" })
                );
                let kallsyms = Kallsyms::search(memory, info).expect("tables");
                assert_eq!(*kallsyms.tables(), named);
                assert_eq!(name_at(&kallsyms, kind.image + 0x47).expect("a name").0, "do_sys_read");
            });
        }
    }
}

#[test]
fn names_have_the_addresses_of_the_kernel() {
    for kind in KINDS {
        let image = image(kind);
        image.with(|memory| {
            let kallsyms = Kallsyms::find(memory, image.vmcoreinfo.as_bytes()).expect("tables");
            let mut go_on = || true;
            let names = ["_end", "read", "rea", "readd", "_stext", "Tdo_sys_read", "cpu_hot", ""];
            let found = kallsyms.addresses_of(names, &mut Budget::new(&mut go_on));
            let at = |offset| Some(kind.image + offset);
            let small = kind.has_small().then_some(0x1000);
            let expected = [at(0x3000), at(0x40), None, None, at(0), None, small, None];
            assert_eq!(found, Ok(expected));
        });
    }
}

/// As for `_stext`, an address may be right by chance: the name decides.
#[test]
fn another_encoding_is_not_believed() {
    for kind in KINDS {
        let image = image(kind);
        let info = image.vmcoreinfo.replace(
            &format!("SYMBOL(_stext)={:x}", kind.image),
            &format!("SYMBOL(_stext)={:x}", kind.image + 0x40),
        );
        image.with(|memory| {
            let offsets = KallsymsTables::of(info.as_bytes()).expect("all").offsets;
            let error = Kallsyms::find(memory, info.as_bytes()).err();
            assert_eq!(error, Some(Error::BadSymbols { at: offsets }));
        });
    }
}

#[test]
fn names_end_with_the_time() {
    let image = image(KINDS[0]);
    image.with(|memory| {
        let kallsyms = Kallsyms::find(memory, image.vmcoreinfo.as_bytes()).expect("tables");
        let mut found = Vec::new();
        let mut never = || false;
        let mut budget = Budget::new(&mut never);
        let is_complete = kallsyms.names(&[0], &mut budget, &mut |index, _| found.push(index));
        assert_eq!((is_complete, found), (Ok(false), Vec::new()));
        assert_eq!(kallsyms.addresses_of(["_end"], &mut budget), Ok([None]));
        let mut go_on = || true;
        let mut budget = Budget::new(&mut go_on);
        let many = [1; MOST_NAMES + 1];
        let is_complete = kallsyms.names(&many, &mut budget, &mut |_, _| {});
        assert_eq!(is_complete, Ok(false), "no more than {MOST_NAMES} at once");
    });
}

proptest! {
    /// Tables with any bytes changed, and any of them elsewhere: every call returns, within the
    /// budget. A symbol that is found has the address that was asked for.
    #[test]
    fn damage_is_bounded(
        kind in 0..KINDS.len(),
        changes in prop::collection::vec((0x1000..0x2800_usize, any::<u8>()), 0..40),
        moved in prop::option::of((0..6_usize, prop_oneof![any::<u64>(), 0..0x3000_u64])),
        offsets in prop::collection::vec(0..0x4000_u64, 1..8),
    ) {
        let kind = KINDS[kind];
        let mut image = image(kind);
        for (at, byte) in changes {
            if let Some(place) = image.bytes.get_mut(at) {
                *place = byte;
            }
        }
        if let Some((table, to)) = moved {
            let (name, at) = image.places[table.min(image.places.len() - 1)];
            let to = if to < 0x3000 { kind.image + to } else { to };
            image.vmcoreinfo = image.vmcoreinfo.replace(&format!("{name})={at:x}"), &format!("{name})={to:x}"));
        }
        image.with(|memory| {
            let info = image.vmcoreinfo.as_bytes();
            let kallsyms = Kallsyms::find(memory, info).or_else(|_| Kallsyms::search(memory, info));
            let Ok(kallsyms) = kallsyms else { return Ok(()) };
            let asked = Cell::new(0_u64);
            let mut count = || { asked.set(asked.get() + 1); true };
            let mut budget = Budget::new(&mut count);
            for at in offsets.iter().map(|offset| kind.image + offset) {
                let Ok(Some(located)) = kallsyms.locate(at) else { continue };
                prop_assert!(located.start <= at && at - located.start < located.size);
                let _ = kallsyms.names(&[located.index], &mut budget, &mut |_, name| {
                    assert!(name.len() < MOST_NAME);
                });
            }
            let _ = kallsyms.addresses_of(["_stext", "read"], &mut budget);
            // A pass of 4 MiB for each.
            prop_assert!(asked.get() <= 1025 * (offsets.len() as u64 + 1), "{} pages", asked.get());
            Ok(())
        })?;
    }
}
