use crate::*;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use proptest::prelude::*;
use vmcore::fake::range;
use vmcore::{ElfCoreHdr, Level, PhysAddr, PhysRange};

fn parse(line: &str) -> (Options<'_>, Vec<String>) {
    let mut problems = Vec::new();
    let options =
        Options::parse(line.as_bytes(), &mut |problem| problems.push(problem.to_string()));
    (options, problems)
}

/// The options of a line that nothing is wrong with.
fn good(line: &str) -> Options<'_> {
    let (options, problems) = parse(line);
    assert_eq!(problems, [""; 0], "{line}");
    options
}

/// The one problem of a line.
fn problem(line: &str) -> String {
    let (_, problems) = parse(line);
    let [problem] = &problems[..] else { panic!("{line}: {problems:?}") };
    problem.clone()
}

fn memory(line: &str) -> Vec<PhysRange> {
    good(line).memmap.iter().collect()
}

#[test]
fn defaults() {
    let options = good("");
    assert!(!options.exactmap && options.memmap.is_empty() && options.elfcorehdr.is_none());
    assert!(options.targets.is_empty());
    assert_eq!(options.final_action, Action::Reboot);
    assert_eq!(options.failure_action, Action::Reboot);
    assert_eq!((options.timeout, options.poweroff), (30, None));
    assert!(options.backtrace);
}

/// Words that `kexec -p --pass-memmap-cmdline` appends to a first kernel's line.
#[test]
fn line_of_kexec_tools() {
    let options = good(
        "root=/dev/sda1 ro console=ttyS0 memmap=exactmap memmap=640K@0K memmap=32016K@17024K \
         elfcorehdr=49040K",
    );
    assert!(options.exactmap);
    let expected = [range(0, 0xa_0000), range(0x10a_0000, 0x2fe_4000)];
    assert_eq!(options.memmap.iter().collect::<Vec<_>>(), expected);
    let addr = PhysAddr::new(0x2fe_4000);
    assert_eq!(options.elfcorehdr, Some(ElfCoreHdr { addr, size: None }));
}

#[test]
fn every_key_of_ours() {
    let options = good(
        "elfcorehdr=0x1000@0x2000000 \
         kdump.target=disk:id=00112233445566778899AABBccddeeff,none \
         kdump.final_action=poweroff kdump.failure-action=halt kdump.timeout=5 kdump.pm1a=0x604,0 \
         kdump.view=vmcore kdump.level=0 kdump.checksum=1 kdump.replace=oldest kdump.compress=none \
         kdump.tsc_khz=2596366 kdump.backtrace=0",
    );
    let elfcorehdr = ElfCoreHdr { addr: PhysAddr::new(32 << 20), size: Some(4096) };
    assert_eq!(options.elfcorehdr, Some(elfcorehdr));
    let id = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128.to_be_bytes();
    let targets = [TargetSpec::Disk { id }, TargetSpec::None];
    assert_eq!(options.targets[..], targets.map(|target| TargetEntry { target, also: false }));
    assert_eq!(options.final_action, Action::PowerOff);
    assert_eq!(options.failure_action, Action::Halt);
    assert_eq!((options.timeout, options.backtrace), (5, false));
    assert!(good("kdump.backtrace=0 kdump.backtrace=1").backtrace);
    assert_eq!((options.checksum, options.replace_oldest), (true, true));
    let poweroff = PowerOff { pm1a_control: 0x604, sleep_type: 0 };
    assert_eq!(options.poweroff, Some(poweroff));
    assert_eq!(options.compress, Compress::None);
    assert_eq!(options.level, Some(Level::ALL));
    let options = good("kdump.checksum=0 kdump.replace=none kdump.compress=lz4");
    assert_eq!((options.checksum, options.replace_oldest), (false, false));
    assert_eq!(options.compress, Compress::Lz4);
    assert_eq!(good("kdump.compress=lz4 kdump.compress=auto").compress, Compress::Auto);
    assert_eq!(good("kdump.level=31").level, Some(Level::KERNEL));
    assert_eq!((good("kdump.level=0").level, good("").level), (Some(Level::ALL), None));
}

#[test]
fn memmap_means_what_it_means_to_linux() {
    assert_eq!(memory("memmap=1M@16M,1M@17M"), [range(16 << 20, 18 << 20)]);
    let holes = [range(16 << 20, 18 << 20), range(19 << 20, 20 << 20)];
    assert_eq!(memory("memmap=1M$18M memmap=4M@16M"), holes);
    assert_eq!(memory("memmap=4M@16M memmap=1M#18M"), holes);
    assert_eq!(memory("memmap=4M@16M memmap=18M"), holes[..1]);
    assert_eq!(memory("memmap=4M@16M memmap=512M%16M-2+1"), [range(16 << 20, 20 << 20)]);
    let last = "memmap=1G@1G memmap=8M$16M memmap=exactmap memmap=4M@16M";
    assert_eq!(memory(last), [range(16 << 20, 20 << 20)], "exactmap forgets");
}

/// As QEMU's microvm adds it, and the example in Linux' own description.
#[test]
fn virtio_devices_with_registers_in_memory() {
    let registers = |line| good(line).virtio_mmio.to_vec();
    let line = "virtio_mmio.device=512@0xfeb02e00:12 virtio-mmio.device=1K@0x1001e000:74:-1";
    let expected = [range(0xfeb0_2e00, 0xfeb0_3000), range(0x1001_e000, 0x1001_e400)];
    assert_eq!(registers(line), expected);
    assert_eq!(
        registers("virtio_mmio.device=0x100@0x100000000:5:7"),
        [range(1 << 32, (1 << 32) + 256)]
    );
    let twice = "virtio_mmio.device=512@4096:5 virtio_mmio.device=0x200@0x1000:6";
    assert_eq!(registers(twice), [range(4096, 4608)], "the same registers");
}

#[test]
fn places_of_iommus() {
    let units = |line| good(line).iommu.map(|list| list.iter().collect::<Vec<_>>());
    let unit = |kind, at| IommuUnit { kind, registers: PhysAddr::new(at) };
    assert_eq!(units("quiet"), None, "not known");
    assert_eq!(units("kdump.iommu=none"), Some(Vec::new()));
    let line = "kdump.iommu=vtd@0xfed90000,vtd@0xd37fc000,amd@0x3ffc0000000";
    let expected = [
        unit(IommuKind::Vtd, 0xfed9_0000),
        unit(IommuKind::Vtd, 0xd37f_c000),
        unit(IommuKind::Amd, 0x3ff_c000_0000),
    ];
    assert_eq!(units(line).as_deref(), Some(&expected[..]));
    let words: Vec<_> = expected.iter().map(ToString::to_string).collect();
    assert_eq!(alloc::format!("kdump.iommu={}", words.join(",")), line);
    assert_eq!(units("kdump.iommu=vtd@4096 kdump.iommu=none"), Some(Vec::new()), "the last one");
    for wrong in [
        "",
        "vtd",
        "vtd@",
        "vtd@0",
        "vtd@4K",
        "via@4096",
        "none,vtd@4096",
        "vtd@4096,",
        ",",
        "amd@1@2",
    ] {
        let line = alloc::format!("kdump.iommu={wrong}");
        assert!(problem(&line).contains("right is none, or a list of vtd@ADDRESS"), "{line}");
        assert_eq!(parse(&line).0.iommu, None, "a part of a list would leave units on");
    }
}

#[test]
fn quotes_and_white_space_as_in_linux() {
    let line = "dyndbg=\"file a.c +p\" \tkdump.timeout=\"7\"\n\"kdump.final_action=halt\" init=x";
    let options = good(line);
    assert_eq!((options.timeout, options.final_action), (7, Action::Halt));
    assert_eq!(good("kdump.timeout=9\0kdump.timeout=x").timeout, 9);
    assert_eq!(good("kdump.timeout=9 kdump.timeout=10").timeout, 10);
    assert_eq!(good("x=\"a kdump.timeout=9").timeout, DEFAULT_TIMEOUT);
}

#[test]
fn what_is_not_ours_is_passed_over() {
    good("quiet memmapx=1 elfcorehdrs=x kdump=1 crashkernel=32M@16M -- init");
}

#[test]
fn problems_name_key_value_and_what_is_right() {
    assert_eq!(
        problem("kdump.final_action=explode"),
        "kdump.final_action=explode: not understood, ignored; right is poweroff, reboot or halt"
    );
    assert_eq!(problem("kdump.speed=11"), "kdump.speed=11: no such option, ignored");
    assert!(problem("kdump.level=32").contains("right is a number from 0 (all memory) to 31"));
    let zstd = "kdump.compress=zstd: not understood, ignored; right is auto, none or lz4";
    assert_eq!(problem("kdump.compress=zstd"), zstd);
    assert!(problem("kdump.view=oldmem:4K").contains("oldmem[:START+LENGTH]"));
    assert!(problem("kdump.view=oldmem:0x1000+0").contains("oldmem[:START+LENGTH]"));
    assert!(problem("kdump.target=tape").contains("right is disk:id="));
    assert!(problem("elfcorehdr=\u{1b}[2J").starts_with("elfcorehdr=?[2J: not understood"));
}

#[test]
fn bad_values() {
    let words = [
        "memmap=",
        "memmap",
        "memmap=16M@",
        "memmap=0@16M",
        "memmap=1M@16Mx",
        "memmap=1M?16M",
        "memmap=2@0xffffffffffffffff",
        "elfcorehdr=",
        "elfcorehdr=4K@",
        "elfcorehdr=4K@16M,",
        "virtio_mmio.device",
        "virtio_mmio.device=",
        "virtio_mmio.device=512",
        "virtio_mmio.device=512@",
        "virtio_mmio.device=@0xfeb00000:5",
        "virtio_mmio.device=512@0xfeb00000",
        "virtio_mmio.device=512@0xfeb00000:",
        "virtio_mmio.device=512@0xfeb00000:x",
        "virtio_mmio.device=512@0xfeb00000:5:",
        "virtio_mmio.device=512@0xfeb00000:5:-",
        "virtio_mmio.device=512@0xfeb00000:5:1:2",
        "virtio_mmio.device=512@4K:5",
        "virtio_mmio.device=0@0xfeb00000:5",
        "virtio_mmio.device=512@0xffffffffffffff00:5",
        "kdump.checksum=2",
        "kdump.checksum=",
        "kdump.replace=all",
        "kdump.timeout=0",
        "kdump.timeout=4294967296",
        "kdump.timeout=5s",
        "kdump.tsc_khz=0",
        "kdump.tsc_khz=4294967296",
        "kdump.tsc_khz=2.5",
        "kdump.pm1a=0x10000,0",
        "kdump.pm1a=0x604,8",
        "kdump.pm1a=0x604",
    ];
    for word in words {
        assert!(problem(word).contains("not understood"), "{word}");
    }
}

#[test]
fn a_bad_value_leaves_the_rest_alone() {
    let (options, problems) = parse("memmap=4M@16M memmap=x kdump.timeout=4 kdump.timeout=y");
    assert_eq!(problems.len(), 2);
    assert_eq!((options.memmap.total(), options.timeout), (4 << 20, 4));
    let (options, problems) = parse("kdump.target=tape");
    assert!(options.targets.is_empty() && problems.len() == 1);
}

#[test]
fn long_lists_are_cut_and_said() {
    assert!(problem("kdump.target=none,none,none,none,none").contains("more than 4 targets"));
    let line: String = (0..33).map(|n| alloc::format!(" memmap=4K@{}M", n + 16)).collect();
    assert!(problem(&line).contains("more than 32 separate memory ranges"));
    assert_eq!(parse(&line).0.memmap.iter().len(), 32);
    let line: String = (1..34).map(|n| alloc::format!(" virtio_mmio.device=512@{n}:1")).collect();
    assert!(problem(&line).contains("=512@33:1: more than 32 devices"));
    assert!(problem(&alloc::format!("kdump.{}", "x".repeat(500))).len() < 200);
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut texts = 0;
        Options::parse(&line, &mut |problem| texts += problem.to_string().len());
    }

    #[test]
    fn arbitrary_words_do_no_harm(line in "((memmap|elfcorehdr|virtio_mmio\\.device|kdump\\.(target|timeout|pm1a|level|iommu))=[0-9a-zA-Z@$,+%\"=:x]{0,20} ?){0,8}") {
        let mut texts = 0;
        let options = Options::parse(line.as_bytes(), &mut |problem| texts += problem.to_string().len());
        prop_assert!(options.memmap.iter().all(|range| !range.is_empty()));
    }
}
