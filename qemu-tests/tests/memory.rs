//! The backing file of guest memory equals memory as QEMU itself reports it. `cargo xtask test`
//! passes the path of the guest.

use qemu_tests::host::dump_disk::{Attachment, DumpDisk};
use qemu_tests::host::memory::GuestMemory;
use qemu_tests::host::qemu::{Boot, Machine, Qemu};
use qemu_tests::{Interrupt, MachineType};

/// Video memory and ROMs: QEMU shows the guest's view, the file the RAM below.
const LEGACY: std::ops::Range<u64> = 0xa_0000..0x10_0000;

struct Paused {
    folder: tempfile::TempDir,
    memory: GuestMemory,
    qemu: Qemu,
}

/// The test guest, in memory and not yet running.
fn paused(size: u64) -> Paused {
    let folder = tempfile::tempdir().expect("a folder");
    let memory = GuestMemory::create(size, folder.path()).expect("guest memory");
    let disk = DumpDisk::create(folder.path(), 1 << 20, Attachment::Whole, false).expect("a disk");
    let guest = std::env::var_os("KDUMP_TEST_GUEST").expect("not set: run `cargo xtask test`");
    let boot = Boot { kernel: guest.into(), ..Boot::default() };
    let machine = Machine {
        kind: MachineType::Pc,
        memory: &memory,
        prealloc: false,
        cpus: 1,
        is_64_bit: false,
        cpu_model: None,
        disk: &disk,
        disk_properties: "",
        devices: Vec::new(),
    };
    let qemu = Qemu::start(&boot, &machine, &Interrupt::default()).expect("QEMU");
    Paused { folder, memory, qemu }
}

impl Paused {
    /// Returns the memory that QEMU saves.
    fn saved(&mut self, address: u64, length: u64) -> GuestMemory {
        let path = self.folder.path().join("saved");
        let command = format!("pmemsave {address:#x} {length:#x} \"{}\"", path.display());
        let said = self.qemu.qmp.monitor(&command).expect("an answer");
        assert_eq!(said, "");
        GuestMemory::open(&path).expect("the saved file")
    }
}

#[test]
fn every_page_has_the_digest_of_what_qemu_saves() {
    let mut guest = paused(32 << 20);
    guest.memory.write(0x123_4567, b"a word").expect("RAM");
    let (saved, size) = (guest.saved(0, 32 << 20), 32 << 20);
    assert_eq!(saved.size(), size);
    let (file, theirs) = (guest.memory.digests().unwrap(), saved.digests().unwrap());
    let mut different = saved.changed_pages(&file, &theirs);
    different.retain(|page| !LEGACY.contains(page));
    assert!(different.is_empty(), "{different:x?}");
    let written = guest.memory.digest_at(&file, 0x123_4000).unwrap();
    assert_ne!(written, 0, "the page that was written is no page of zeros");
}

#[test]
fn memory_above_4_gib_is_where_the_file_says() {
    let mut guest = paused(4 << 30);
    guest.memory.write(0x1_0000_0010, b"above").expect("RAM");
    guest.memory.write(0xbfff_fff0, b"below").expect("RAM");
    let mut bytes = [0; 5];
    guest.saved(0x1_0000_0000, 0x1000).read(0x10, &mut bytes).unwrap();
    assert_eq!(&bytes, b"above");
    guest.saved(0xbfff_f000, 0x1000).read(0xff0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"below");
}
