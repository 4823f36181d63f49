//! Images that are damaged or of another kind.

use crate::common::elf::{self, ET_DYN, ET_EXEC, Load, Purgatory, R_386_32};
use crate::common::{fixture, plan_with, segment};
use loader::{ImageError, Images, MAX_KERNEL_SEGMENTS, Plan, PlanError, PlanOptions, plan};

fn with_purgatory(purgatory: &[u8]) -> Result<Plan, PlanError> {
    let kernel = elf::kernel();
    let images = Images { capture_kernel: &kernel, purgatory };
    plan(&fixture("i386-512m"), &images, &PlanOptions::default())
}

fn purgatory_error(spoil: impl FnOnce(&mut Purgatory)) -> ImageError {
    let mut purgatory = Purgatory::default();
    spoil(&mut purgatory);
    match with_purgatory(&purgatory.build()) {
        Err(PlanError::Purgatory(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn kernel_error(kernel: &[u8]) -> ImageError {
    match plan_with(&fixture("i386-512m"), kernel, &PlanOptions::default()) {
        Err(PlanError::CaptureKernel(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Purgatory is at 0x2f5d000. R_386_32 adds that to the linker's values (0x200 and 0x1800);
/// R_386_PC32 and R_386_PLT32 stay, because both ends move.
#[test]
fn relocations_by_hand() {
    let plan = with_purgatory(&elf::purgatory()).expect("a plan");
    let bytes = segment(&plan, "purgatory");
    assert_eq!(bytes.len(), 0x1800, "bss is part of the image");
    assert_eq!(word(bytes, 0x20), 0x2f5_d200);
    assert_eq!(word(bytes, 0x24), 0xffff_ffe8);
    assert_eq!(word(bytes, 0x28), 0xffff_ffe4);
    assert_eq!(word(bytes, 0x100), 0x2f5_e800);
    let untouched = |at: &usize| ![0x20, 0x24, 0x28].contains(&(at & !3));
    assert!((0..0x100).filter(untouched).all(|at| bytes[at] == 0x90));
    assert!(bytes[0x660..].iter().all(|byte| *byte == 0));
}

#[test]
fn relocations_that_are_refused() {
    let of = |relocation| purgatory_error(|purgatory| purgatory.relocations.push(relocation));
    assert_eq!(of((0x30, 10, 3)), ImageError::RelocationType { offset: 0x30, kind: 10 });
    assert_eq!(of((0x17fd, R_386_32, 3)), ImageError::RelocationOutside { offset: 0x17fd });
    assert_eq!(of((u32::MAX, R_386_32, 3)), ImageError::RelocationOutside { offset: u32::MAX });
    assert_eq!(of((0x30, R_386_32, 0)), ImageError::RelocationOutside { offset: 0x30 });
    assert_eq!(of((0x30, R_386_32, 99)), ImageError::RelocationOutside { offset: 0x30 });
    let far = purgatory_error(|purgatory| {
        purgatory.symbols.push(("far", 0x1801, 0, 1));
        purgatory.relocations.push((0x30, R_386_32, 7));
    });
    assert_eq!(far, ImageError::RelocationOutside { offset: 0x30 });
    assert_eq!(
        purgatory_error(|purgatory| purgatory.relocations.clear()),
        ImageError::NoRelocations
    );
    let rela = purgatory_error(|purgatory| purgatory.relocation_section = 4);
    assert!(rela.to_string().contains("SHT_RELA"), "{rela}");
}

#[test]
fn symbols_that_are_missing_or_wrong() {
    for (index, name) in
        ["__purgatory_start", "__purgatory_constant_end", "purgatory_entry32", "PURGATORY_PARAMS"]
            .into_iter()
            .enumerate()
    {
        let error = purgatory_error(|purgatory| purgatory.symbols[index].0 = "other");
        assert_eq!(error, ImageError::NoSymbol { name });
        let error = purgatory_error(|purgatory| {
            purgatory.symbols[index].1 = 0x1801;
            purgatory.relocations.truncate(1);
            purgatory.relocations[0].2 = 5;
        });
        assert_eq!(error, ImageError::SymbolOutside { name });
    }
    let undefined = purgatory_error(|purgatory| {
        purgatory.symbols[2].3 = 0;
        purgatory.relocations.truncate(1);
    });
    assert_eq!(undefined, ImageError::NoSymbol { name: "purgatory_entry32" });
    let small = purgatory_error(|purgatory| purgatory.symbols[3].2 = 1112);
    assert_eq!(small, ImageError::OtherParams { found: 1112, wanted: 1120 });
    let hashed = purgatory_error(|purgatory| purgatory.symbols[1].1 = 0x201);
    assert_eq!(hashed, ImageError::ParamsAreConstant);
    let empty = purgatory_error(|purgatory| purgatory.symbols[1].1 = 0);
    assert_eq!(empty, ImageError::SymbolOutside { name: "__purgatory_constant_end" });
}

#[test]
fn a_purgatory_of_another_kind() {
    let shared = purgatory_error(|purgatory| purgatory.e_type = ET_DYN);
    assert!(matches!(shared, ImageError::WrongType { e_type: ET_DYN, .. }));
    let huge = purgatory_error(|purgatory| purgatory.memsz = 0xf000_0000);
    assert_eq!(huge, ImageError::TooLarge { size: 0xf000_0000, limit: 1 << 20 });
    let stripped = elf::kernel_from(ET_EXEC, 0, &[Load { addr: 0, bytes: vec![0; 64], memsz: 64 }]);
    let error = with_purgatory(&stripped).expect_err("no symbols").to_string();
    assert!(
        error.contains("purgatory cannot be used") && error.contains("not stripped"),
        "{error}"
    );
}

#[test]
fn capture_kernels_of_another_kind() {
    assert_eq!(kernel_error(b""), ImageError::NotElf);
    assert!(kernel_error(b"\x1f\x8b\x08 a vmlinuz").to_string().contains("bzImage"));
    assert!(matches!(kernel_error(b"\x7fELF"), ImageError::Damaged { .. }));
    let mut amd64 = elf::kernel();
    amd64[18] = 62;
    assert_eq!(kernel_error(&amd64), ImageError::NotI386 { class: 1, machine: 62 });
    let mut big_endian = elf::kernel();
    big_endian[5] = 2;
    assert!(matches!(kernel_error(&big_endian), ImageError::NotI386 { .. }));
    let object = elf::kernel_of_type(1);
    assert!(matches!(kernel_error(&object), ImageError::WrongType { e_type: 1, .. }));
}

fn load(addr: u32, length: usize, memsz: u32) -> Load {
    Load { addr, bytes: vec![0x90; length], memsz }
}

#[test]
fn capture_kernels_that_make_no_sense() {
    let error = |entry, loads: &[Load]| kernel_error(&elf::kernel_from(ET_DYN, entry, loads));
    assert_eq!(error(0, &[]), ImageError::NothingToLoad);
    assert_eq!(error(0, &[load(0x100_0000, 0, 0)]), ImageError::NothingToLoad);
    let program_header = ImageError::Damaged { what: "program header" };
    assert_eq!(error(0x100_0000, &[load(0x100_0000, 9, 8)]), program_header);
    assert_eq!(error(0xffff_fff0, &[load(0xffff_fff0, 8, 0x20)]), program_header);
    let bss = error(0x100_0010, &[load(0x100_0000, 16, 4096)]);
    assert_eq!(bss, ImageError::EntryOutside { entry: 0x100_0010 });
    let shared = error(0x100_0000, &[load(0x100_0800, 16, 16), load(0x100_0000, 16, 16)]);
    assert_eq!(shared, ImageError::SegmentsShareAPage { first: 0x100_0000, second: 0x100_0800 });
    let many: Vec<Load> = (0..=MAX_KERNEL_SEGMENTS as u32)
        .map(|index| load(0x100_0000 + index * 4096, 16, 16))
        .collect();
    assert_eq!(error(0x100_0000, &many), ImageError::TooManySegments { count: 12, limit: 11 });
    let image = elf::kernel_from(ET_DYN, 0x100_0000, &many[1..]);
    assert!(matches!(kernel_error(&image), ImageError::EntryOutside { .. }), "11 are accepted");
}

/// Every cut of both files is an error or a plan, never a panic.
#[test]
fn every_cut_of_the_files_is_survived() {
    let system = fixture("i386-512m");
    let (kernel, purgatory) = (elf::kernel(), elf::purgatory());
    let options = PlanOptions::default();
    for end in (0..kernel.len()).step_by(7) {
        assert!(plan_with(&system, &kernel[..end], &options).is_err());
    }
    for end in 0..purgatory.len() {
        let images = Images { capture_kernel: &kernel, purgatory: &purgatory[..end] };
        assert!(plan(&system, &images, &options).is_err());
    }
}
