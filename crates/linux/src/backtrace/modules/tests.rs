use super::fake::{FakeModule, ModuleMemory, SHAPES, Shape};
use super::*;
use crate::backtrace::kallsyms::Budget;
use alloc::string::String;
use alloc::vec;
use proptest::prelude::*;
use vmcore::fake::{FakeMemory, logged};

/// Name of a function, offset in it, its size.
type Place = (String, u64, u64);

fn modules() -> [FakeModule; 2] {
    let symbols = vec![
        (0x40, "jfs_read"),
        (0x10, ""),
        (0x20, "U_not_here"),
        (0x40, "jfs_alias"),
        (0x70, "$x"),
        (0x78, ".Lmark"),
        (0x80, "jfs_write"),
        // Read-only data comes after the text.
        (0x2000, "jfs_table"),
    ];
    [
        FakeModule { name: "jfs", text: (0x2000, 0x100), init: (0, 0), symbols },
        FakeModule { name: "fuse", text: (0x2800, 0x80), init: (0x3000, 0x40), symbols: vec![] },
    ]
}

fn read(memory: VirtualMemory<'_, FakeMemory>, info: &str) -> Result<Modules, Error> {
    let symbols = Symbols::of(info.as_bytes()).expect("addresses");
    Modules::read(memory, info.as_bytes(), &symbols)
}

/// The module and the function at a distance from the start of the memory of modules.
fn at(
    shape: Shape,
    memory: VirtualMemory<'_, FakeMemory>,
    info: &str,
    offset: u64,
) -> Option<(String, Option<Place>)> {
    let modules = read(memory, info).expect("modules");
    let at = shape.at + offset;
    let module = modules.find(at)?;
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let name = text(modules.name(memory, module).expect("a name"));
    let mut go_on = || true;
    let symbol = modules.locate(memory, module, at, &mut Budget::new(&mut go_on)).expect("symbols");
    Some((name, symbol.map(|symbol| (text(symbol.name), at - symbol.start, symbol.size))))
}

#[test]
fn functions_of_modules_have_names() {
    for shape in SHAPES {
        let fake = ModuleMemory::new(shape, &modules());
        let info = fake.vmcoreinfo.as_str();
        fake.with(|memory| {
            let at = |offset| at(shape, memory, info, offset);
            let is = |name: &str, offset, size| {
                Some((String::from("jfs"), Some((String::from(name), offset, size))))
            };
            assert_eq!(at(0x2040), is("jfs_read", 0, 0x40), "the first of two");
            assert_eq!(at(0x207f), is("jfs_read", 0x3f, 0x40), "marks are no symbols");
            assert_eq!(at(0x20ff), is("jfs_write", 0x7f, 0x80), "to the end of the text");
            assert_eq!(at(0x2010), Some((String::from("jfs"), None)), "before the first");
            assert_eq!(at(0x2800), Some((String::from("fuse"), None)), "no symbols");
            assert_eq!(at(0x303f), at(0x2800), "its start-up");
            for outside in [0x1fff, 0x2100, 0x2880, 0x3040] {
                assert_eq!(at(outside), None);
            }
            let modules = read(memory, info).expect("modules");
            let orc = modules.iter().map(|module| modules.orc(memory, module));
            let expected = ModuleOrc { ip: 0x1111, entries: 0x2222, count: 3 };
            assert!(orc.into_iter().all(|orc| orc == Ok(Some(expected))));
            assert_eq!(modules.iter().count(), 2);
        });
    }
}

/// Without the lines that describe symbols, modules still have their names.
#[test]
fn lines_may_be_missing() {
    let fake = ModuleMemory::new(SHAPES[0], &modules());
    let without = |key: &str| -> String {
        fake.vmcoreinfo.split_inclusive('\n').filter(|line| !line.starts_with(key)).collect()
    };
    fake.with(|memory| {
        for key in ["OFFSET(module.core_layout)", "SYMBOL(modules)", "SIZE(list_head)"] {
            assert_eq!(read(memory, &without(key)).err(), Some(Error::NoLine { key }));
        }
        let modules = read(memory, &without("OFFSET(module.kallsyms)")).expect("modules");
        let module = modules.find(SHAPES[0].at + 0x2040).expect("a module");
        assert_eq!(modules.name(memory, module).as_deref(), Ok(&b"jfs"[..]));
        let mut go_on = || true;
        let found =
            modules.locate(memory, module, SHAPES[0].at + 0x2040, &mut Budget::new(&mut go_on));
        assert_eq!(found, Err(Error::NoLine { key: "OFFSET(module.kallsyms)" }));
    });
}

#[test]
fn a_list_that_is_damaged_has_the_modules_before_the_damage() {
    for shape in SHAPES {
        let mut fake = ModuleMemory::new(shape, &modules());
        // The pointer from the first module to the second.
        fake.put(0x400 + shape.word, &[0; 4]);
        let (count, complaints) = logged(|| {
            fake.with(|memory| read(memory, &fake.vmcoreinfo).expect("modules").iter().count())
        });
        assert_eq!((count, complaints.len()), (1, 1), "{complaints:?}");
    }
}

proptest! {
    /// Any bytes changed: every call returns, and a function has the address that was asked for.
    #[test]
    fn damage_is_bounded(
        shape in 0..SHAPES.len(),
        changes in prop::collection::vec((0..0xc00_usize, any::<u8>()), 0..30),
        offset in 0x1f00..0x2900_u64,
    ) {
        let shape = SHAPES[shape];
        let mut fake = ModuleMemory::new(shape, &modules());
        for (at, byte) in changes {
            fake.bytes[at] = byte;
        }
        fake.with(|memory| {
            let modules = read(memory, &fake.vmcoreinfo).expect("lines are whole");
            prop_assert!(modules.iter().count() <= MOST_MODULES);
            let at = shape.at + offset;
            let Some(module) = modules.find(at) else { return Ok(()) };
            let (mut asked, mut count) = (0, 0);
            let mut go_on = || { asked += 1; true };
            let symbol = modules.locate(memory, module, at, &mut Budget::new(&mut go_on));
            count += symbol.iter().flatten().filter(|symbol| symbol.start <= at && at - symbol.start < symbol.size).count();
            prop_assert_eq!(count, symbol.iter().flatten().count());
            prop_assert!(asked <= (4 << 20) / 1024, "{}", asked);
            if let Ok(name) = modules.name(memory, module) {
                prop_assert!(name.len() < MOST_MODULE_NAME && name.is_ascii());
            }
            let _ = modules.orc(memory, module);
            Ok(())
        })?;
    }
}
