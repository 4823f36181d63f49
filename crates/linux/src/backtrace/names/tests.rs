use super::*;
use crate::backtrace::kallsyms::fake::{Image, KINDS};
use crate::backtrace::modules::fake::{FakeModule, ModuleMemory, SHAPES};
use crate::backtrace::symbols::Symbols;
use alloc::string::{String, ToString};
use alloc::vec;

/// A kernel's image: `exit` ends with a call that does not return.
fn image(kind: usize) -> Image {
    let at = KINDS[kind].image;
    let symbols =
        [(at, "T_stext"), (at + 0x40, "Texit"), (at + 0x60, "tpan\u{7f}ic"), (at + 0x100, "B_end")];
    Image::new(KINDS[kind], &symbols)
}

fn frame(at: u64, is_return: bool, trust: Trust) -> Frame {
    Frame { at, is_return, trust }
}

/// The frames as they are shown.
fn shown(
    kind: usize,
    frames: &[Frame],
    most: usize,
    mut go_on: impl FnMut() -> bool,
) -> Vec<String> {
    let shape = SHAPES[if KINDS[kind].word == 4 { 2 } else { kind % 2 }];
    let (text, init) = ((0x2000, 0x100), (0, 0));
    let module = FakeModule { name: "jfs", text, init, symbols: vec![(0x10, "jfs_read")] };
    let (image, modules) = (image(kind), ModuleMemory::new(shape, &[module]));
    let names = image.with(|memory| {
        let kallsyms = Kallsyms::find(memory, image.vmcoreinfo.as_bytes()).expect("tables");
        modules.with(|memory| {
            let info = modules.vmcoreinfo.as_bytes();
            let symbols = Symbols::of(info).expect("symbols");
            let modules = Modules::read(memory, info, &symbols).expect("modules");
            let kallsyms = Some(&kallsyms);
            let sources = Sources { memory, kallsyms, modules: &modules };
            let most = MostNames { functions: most, ..MostNames::HOST };
            Names::find(&sources, frames.iter(), most, &mut Budget::new(&mut go_on))
        })
    });
    frames.iter().map(|frame| names.named(*frame).to_string()).collect()
}

/// As Linux prints them: `%pS` for the place of an exception, `%pB` for return addresses.
#[test]
fn frames_look_like_those_of_linux() {
    for kind in 0..KINDS.len() {
        let (at, module) =
            (KINDS[kind].image, SHAPES[if KINDS[kind].word == 4 { 2 } else { 0 }].at);
        let frames = [
            frame(at + 0x60, false, Trust::Sure),
            frame(at + 0x60, true, Trust::Sure),
            frame(at + 0x7f, true, Trust::Guess),
            frame(module + 0x2030, true, Trust::Sure),
            frame(module + 0x2011, true, Trust::Guess),
            frame(module + 0x2000, true, Trust::Sure),
            frame(at, true, Trust::Guess),
        ];
        let no_name = module + 0x2000;
        assert_eq!(
            shown(kind, &frames, 9, || true),
            [
                String::from("pan?ic+0x0/0xa0"),
                String::from("exit+0x20/0x20"),
                String::from("? pan?ic+0x1f/0xa0"),
                String::from("jfs_read+0x20/0xf0 [jfs]"),
                String::from("? jfs_read+0x1/0xf0 [jfs]"),
                alloc::format!("{no_name:#x}"),
                alloc::format!("? {at:#x}"),
            ]
        );
    }
}

#[test]
fn functions_beyond_the_bounds_have_no_names() {
    let at = KINDS[0].image;
    let frames = [at + 0x60, at + 0x70, at + 0x41].map(|at| frame(at, false, Trust::Sure));
    let named = ["pan?ic+0x0/0xa0", "pan?ic+0x10/0xa0", "exit+0x1/0x20"].map(String::from);
    assert_eq!(shown(0, &frames, 2, || true), named);
    assert_eq!(shown(0, &frames, 1, || true)[..2], named[..2], "the first");
    assert_eq!(shown(0, &frames, 1, || true)[2], alloc::format!("{:#x}", at + 0x41));
    let addresses = frames.map(|frame| alloc::format!("{:#x}", frame.at));
    assert_eq!(shown(0, &frames, 2, || false), addresses, "no time");
}
