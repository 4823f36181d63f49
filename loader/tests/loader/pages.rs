//! Pages of a running kernel by class: a made-up `/proc/kcore` of i386 Linux 6.1 with 16 MiB.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use loader::facts::iomem::MemoryMap;
use loader::{LivePages, PagesError, System};
use serde_json::Value;
use vmcore::fake::range;
use vmcore::{Level, PageClass, PhysAddr, PhysRange};

/// Keys and values of Debian's kernel, apart from the two addresses.
const VMCOREINFO: &str = "OSRELEASE=6.1.0-50-686-pae\nPAGESIZE=4096\nSYMBOL(mem_map)=c0300000\n\
    SYMBOL(contig_page_data)=c0301000\nSYMBOL(swapper_pg_dir)=c0302000\nSIZE(page)=40\n\
    SIZE(list_head)=8\nOFFSET(page.flags)=0\nOFFSET(page._refcount)=28\nOFFSET(page.mapping)=12\n\
    OFFSET(page._mapcount)=24\nOFFSET(page.private)=20\nOFFSET(page.compound_dtor)=8\n\
    OFFSET(page.compound_order)=9\nOFFSET(page.compound_head)=4\n\
    OFFSET(pglist_data.node_start_pfn)=3124\nOFFSET(pglist_data.node_spanned_pages)=3132\n\
    LENGTH(zone.free_area)=11\nNUMBER(PG_lru)=4\nNUMBER(PG_private)=13\nNUMBER(PG_swapcache)=10\n\
    NUMBER(PG_swapbacked)=19\nNUMBER(PG_slab)=9\nNUMBER(PG_hwpoison)=23\nNUMBER(PG_head_mask)=65536\n\
    NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129\nNUMBER(HUGETLB_PAGE_DTOR)=2\n\
    NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-257\nCONFIG_X86_PAE=y\n";
const PAGES: u32 = 4096;
/// Offset of memory in the file.
const MEMORY: u64 = 0x1000;
/// Places in memory: the page structs, the note.
const STRUCTS: u64 = 0x10_0000;
const NOTE: u64 = 0x38_0000;
const LRU: u32 = 1 << 4;

/// Words of a page struct: flags, mapping, private, count of mappings, references.
type Struct = [u32; 5];

/// A page of the kernel's own.
const KERNEL: Struct = [0, 0, 0, u32::MAX, 1];
const USER: Struct = [LRU, 0xc123_4501, 0, 0, 1];
const CACHE: Struct = [LRU, 0xc123_4500, 0, 0, 1];
const PRIVATE: Struct = [LRU | 1 << 13, 0xc123_4500, 0, 0, 1];
const BROKEN: Struct = [1 << 23, 0, 0, u32::MAX, 1];
/// The first page of a free block of 4 MiB, and the others.
const FREE: Struct = [0, 0, 10, (-129_i32).cast_unsigned(), 0];
const IN_BLOCK: Struct = [0, 0, 0, u32::MAX, 0];

fn page_struct(page: u32) -> Struct {
    match page {
        1100..1150 => USER,
        1200..1230 => CACHE,
        1300..1310 => PRIVATE,
        1400 => BROKEN,
        2048 => FREE,
        2049..3072 => IN_BLOCK,
        _ => KERNEL,
    }
}

/// A system in a folder of its own.
struct Machine {
    root: tempfile::TempDir,
    kcore: File,
}

impl Machine {
    /// With VMCOREINFO in the notes of `/proc/kcore`, and this `p_paddr` of memory.
    fn new(vmcoreinfo: &str, paddr: u32) -> Self {
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir(root.path().join("proc")).expect("a folder");
        let iomem = "00001000-0009fbff : System RAM\n00100000-00ffffff : System RAM\n";
        fs::write(root.path().join("proc/iomem"), iomem).expect("a file");
        let kcore = File::create(root.path().join("proc/kcore")).expect("a file");
        let machine = Self { root, kcore };
        let note = vmcore::note_of_text(vmcore::NAME_VMCOREINFO, vmcoreinfo.as_bytes());
        let note = note.expect("room");
        let mut front = b"\x7fELF\x01\x01\x01".to_vec();
        front.resize(16, 0);
        front.extend([4_u16, 3].iter().flat_map(|half| half.to_le_bytes()));
        front.extend([1_u32, 0, 52, 0, 0].iter().flat_map(|word| word.to_le_bytes()));
        front.extend([52_u16, 32, 2, 0, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
        let length = note.len() as u32;
        let loads = [
            [4, 256, 0, 0, length, 0, 0, 0],
            [1, MEMORY as u32, 0xc000_0000, paddr, 0x40_0000, 0x40_0000, 7, 4096],
        ];
        front.extend(loads.iter().flatten().flat_map(|word: &u32| word.to_le_bytes()));
        front.resize(256, 0);
        machine.put(0, &[&front[..], &note].concat());
        machine.kcore.set_len(MEMORY + 0x40_0000).expect("a length");
        machine.word(0x30_0000, 0xc000_0000 + STRUCTS as u32);
        machine.word(0x30_1000 + 3132, PAGES);
        (0..PAGES).for_each(|page| machine.set(page, page_struct(page)));
        machine
    }

    fn put(&self, offset: u64, bytes: &[u8]) {
        self.kcore.write_all_at(bytes, offset).expect("a write");
    }

    fn word(&self, at: u64, word: u32) {
        self.put(MEMORY + at, &word.to_le_bytes());
    }

    fn set(&self, page: u32, [flags, mapping, private, mapcount, references]: Struct) {
        let words = [flags, 0, 0, mapping, 0, private, mapcount, references, 0, 0];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.put(MEMORY + STRUCTS + 40 * u64::from(page), &bytes);
    }

    fn system(&self) -> System {
        System::read(self.root.path()).expect("a system")
    }

    fn count(&self, system: &System) -> Result<LivePages, PagesError> {
        LivePages::count(self.root.path(), system, system.memory.ram.iter().copied())
    }

    /// The loader's output for this machine, which has no reservation.
    fn run(&self, words: &[&str]) -> String {
        let loader = Command::new(env!("CARGO_BIN_EXE_kdump-loader"))
            .args(words)
            .arg("--root")
            .arg(self.root.path())
            .output();
        let output = loader.expect("the loader");
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

/// 159 pages of low memory, the last of them in part, and 3840 above 1 MiB.
#[test]
fn pages_of_each_class() {
    for paddr in [0, u32::MAX] {
        let machine = Machine::new(VMCOREINFO, paddr);
        let pages = machine.count(&machine.system()).expect("pages");
        assert_eq!((pages.all(), pages.kept(), pages.in_doubt), (3999, 2884, 0));
        let classes = [
            (PageClass::User, 50),
            (PageClass::Cache, 30),
            (PageClass::CachePrivate, 10),
            (PageClass::HwPoison, 1),
            (PageClass::Free, 1024),
            (PageClass::Zero, 0),
        ];
        for (class, number) in classes {
            assert_eq!(pages.of_class(class), number, "{class}");
        }
        let levels =
            [(0, 3999), (1, 3998), (2, 3968), (4, 3958), (8, 3948), (16, 2974), (31, 2884)];
        for (level, number) in levels {
            assert_eq!(pages.at(Level::new(level).expect("a level")), number, "{level}");
        }
    }
}

#[test]
fn damaged_structs_keep_their_pages() {
    let machine = Machine::new(VMCOREINFO, 0);
    machine.set(1100, [LRU, 1, 0, 0, 1]);
    let pages = machine.count(&machine.system()).expect("pages");
    assert_eq!((pages.all(), pages.kept(), pages.in_doubt), (3999, 2885, 1));
}

/// Before Linux 4.19 the notes do not have it.
#[test]
fn vmcoreinfo_is_found_in_memory_too() {
    let machine = Machine::new("", 0);
    let note = vmcore::note_of_text(vmcore::NAME_VMCOREINFO, VMCOREINFO.as_bytes());
    let note = note.expect("room");
    machine.put(MEMORY + NOTE, &note);
    // The segment with the note is of no type.
    machine.put(52, &[0; 4]);
    let area = PhysRange::new(PhysAddr::new(NOTE), note.len() as u64).expect("a range");
    let system = System {
        vmcoreinfo: Some(area),
        text: Some(0xc020_0000),
        lowmem_end: Some(PhysAddr::new(16 << 20)),
        memory: MemoryMap {
            kernel_code: Some(PhysAddr::new(0x20_0000)),
            ..machine.system().memory
        },
        ..System::default()
    };
    assert_eq!(machine.count(&system).expect("pages").kept(), 2884);
    let unknown = System { vmcoreinfo: None, ..system };
    assert!(matches!(machine.count(&unknown), Err(PagesError::NoVmcoreinfo)));
}

#[test]
fn reasons_not_to_count() {
    let machine = Machine::new(VMCOREINFO, 0);
    let system = machine.system();
    let ram = || [range(0, 0x10_0000)].into_iter();
    let count = |root: &Path| LivePages::count(root, &system, ram());
    assert!(matches!(count(Path::new("/nonexistent")), Err(PagesError::Kcore(_))));
    let old = Machine::new(&VMCOREINFO.replace("SIZE(page)", "SIZE(other)"), 0);
    let error = count(old.root.path()).expect_err("no size").to_string();
    assert!(error.contains("VMCOREINFO has no SIZE(page)"), "{error}");
    // A copy that ends before the page structs.
    machine.kcore.set_len(MEMORY + 0x1000).expect("a length");
    assert!(count(machine.root.path()).is_err());
    machine.kcore.set_len(32).expect("a length");
    assert!(matches!(count(machine.root.path()), Err(PagesError::Headers(_))));
}

#[test]
fn the_status_has_the_sizes() {
    let machine = Machine::new(VMCOREINFO, 0);
    let text = machine.run(&["status"]);
    for line in [
        "dump level 0    16 MiB\n",
        "dump level 1    at most 16 MiB\n",
        "dump level 31   at most 12 MiB\n",
        "dump levels     the room is not known: the target is no dump disk\n",
        "pages now       30 cache, 10 cache-private, 1024 free, 1 hwpoison, 2884 kept, 50 user\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    let json: Value = serde_json::from_str(&machine.run(&["status", "--json"])).expect("JSON");
    let sizes = &json["sizes"];
    let levels = sizes["levels"].as_array().expect("levels");
    let pages: Vec<_> = levels.iter().map(|size| size["pages"].as_u64()).collect();
    assert_eq!(pages, [3999, 3998, 3968, 3958, 3948, 2974, 2884].map(Some));
    assert_eq!((&levels[6]["bytes"], &levels[6]["at_most"]), (&11_812_864.into(), &true.into()));
    assert_eq!((&sizes["pages"]["free"], &sizes["problem"]), (&1024.into(), &Value::Null));
    fs::remove_file(machine.root.path().join("proc/kcore")).expect("a file");
    let text = machine.run(&["status"]);
    assert!(text.contains("dump levels     sizes are not known: /proc/kcore cannot be"), "{text}");
}
