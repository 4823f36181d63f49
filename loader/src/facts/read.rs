//! Reads the facts, from `/proc` and `/sys` or from copies of their files.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use cmdline::PowerOff;
use vmcore::{PhysAddr, PhysRange};

use crate::facts::dump_disks::DumpDisks;
use crate::facts::error::SystemError;
use crate::facts::iomem::MemoryMap;
use crate::facts::iommu::{Iommus, PciPlace, Tables};
use crate::facts::kcore::{Kcore, KcoreFile, Offsets};
use crate::facts::kexec_files::{self, CMA_RANGES, CRASH_LOADED, CRASH_SIZE, Names, flag};
use crate::facts::system::{CpuNotes, KexecState, Machine, System};
use crate::facts::{acpi, cpus, firmware, setup_header, zoneinfo};

/// No file that is read is longer than this: the longest are `/proc/cpuinfo` and `/proc/zoneinfo`,
/// some 2 KB for each of up to 8192 CPUs.
const LONGEST_FILE: u64 = 64 << 20;
/// The clocks that the kernel could count time by.
const CLOCKS: &str = "sys/devices/system/clocksource/clocksource0/available_clocksource";
/// CAP_SYS_BOOT in the capability masks of `/proc/self/status`.
const CAP_SYS_BOOT: u64 = 1 << 22;

impl System {
    /// Reads the facts from `root`: `/` for the running kernel, or a folder with copies of the same
    /// files in the same places. Files that only some kernels have may be missing, and so may files
    /// that only root can read: the plan names the missing ones.
    ///
    /// # Errors
    /// [`SystemError`] when there is no memory map or a file is damaged.
    pub fn read(root: &Path) -> Result<Self, SystemError> {
        let root = Root(root);
        let text_line = root.text_symbol()?;
        let zoneinfo = root.text("proc/zoneinfo")?.unwrap_or_default();
        let command_line = root.text("proc/cmdline")?.unwrap_or_default().trim().to_owned();
        let systab = root.text("sys/firmware/efi/systab")?;
        let cpuinfo = root.text("proc/cpuinfo")?.unwrap_or_default();
        let clocks = root.text(CLOCKS)?.unwrap_or_default();
        let boot_params = root.head("sys/kernel/boot_params/data", setup_header::LENGTH)?;
        let kexec = root.kexec_state()?;
        let kcore = root.open("proc/kcore")?.map(|file| KcoreFile::read(Offsets(file)));
        let kcore = kcore.map_or_else(Kcore::default, |file| {
            file.map(|file| file.mappings()).unwrap_or_default()
        });
        Ok(Self {
            machine: root.machine(text_line.as_deref())?,
            memory: root.memory()?.without_slots_in(&kexec.cma),
            text: text_line.as_deref().and_then(text_address),
            linked_at: boot_params
                .and_then(|page| setup_header::pref_address(&page))
                .map(PhysAddr::new),
            lowmem_end: zoneinfo::lowmem_end(&zoneinfo),
            encrypts_memory: firmware::encrypts_memory(kcore.sme_mask, &cpuinfo, &command_line),
            kcore,
            cpus: root.cpus()?,
            vmcoreinfo: root.parsed("sys/kernel/vmcoreinfo", cpus::vmcoreinfo_area)?,
            acpi_rsdp: firmware::acpi_rsdp(systab.as_deref(), &command_line),
            has_steady_tsc: firmware::has_steady_tsc(&cpuinfo, &clocks),
            tsc_khz: None,
            pages: None,
            names: None,
            confidential: firmware::confidential(&cpuinfo),
            command_line,
            power_off: root.power_off()?,
            iommus: root.iommus()?,
            dump_disks: DumpDisks::find(root.0),
            boot_id: root
                .text("proc/sys/kernel/random/boot_id")?
                .map(|boot| boot.trim().to_owned()),
            kexec,
        })
    }
}

/// A folder that looks like `/`.
struct Root<'a>(&'a Path);

impl Root<'_> {
    /// The bytes of a file; `None` when it is not there or not ours to read.
    fn bytes(&self, path: &str) -> Result<Option<Vec<u8>>, SystemError> {
        self.head(path, LONGEST_FILE)
    }

    /// The first `limit` bytes of a file, likewise.
    fn head(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, SystemError> {
        let Some(file) = self.open(path)? else { return Ok(None) };
        let read = kexec_files::retry_while_busy(|| {
            let mut bytes = Vec::new();
            (&file).take(limit).read_to_end(&mut bytes).map(|_| bytes)
        });
        match read {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) => self.absent(path, error).map(|()| None),
        }
    }

    fn open(&self, path: &str) -> Result<Option<File>, SystemError> {
        match File::open(self.0.join(path)) {
            Ok(file) => Ok(Some(file)),
            Err(error) => self.absent(path, error).map(|()| None),
        }
    }

    /// Takes an error for "there is no such fact" when it says just that.
    fn absent(&self, path: &str, source: io::Error) -> Result<(), SystemError> {
        match source.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::ResourceBusy => Ok(()),
            _ => Err(SystemError::Read { path: self.0.join(path), source }),
        }
    }

    fn text(&self, path: &str) -> Result<Option<String>, SystemError> {
        let bytes = self.bytes(path)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// A small file, understood by `parse`.
    fn parsed<T>(
        &self,
        path: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, SystemError> {
        let Some(text) = self.text(path)? else { return Ok(None) };
        let what = || format!("{:?}", text.chars().take(40).collect::<String>());
        let value = parse(text.trim());
        value
            .map(Some)
            .ok_or_else(|| SystemError::Malformed { path: self.0.join(path), what: what() })
    }

    /// A small file that has several names.
    fn first<T>(
        &self,
        names: Names,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, SystemError> {
        for name in names {
            if let Some(value) = self.parsed(name, &parse)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    fn memory(&self) -> Result<MemoryMap, SystemError> {
        let path = self.0.join("proc/iomem");
        let text = fs::read_to_string(&path)
            .map_err(|source| SystemError::Read { path: path.clone(), source })?;
        MemoryMap::parse(&text).map_err(|what| SystemError::Malformed { path, what })
    }

    /// The line of `_text` in `/proc/kallsyms`, which is some 10 MB long: read up to there only.
    fn text_symbol(&self) -> Result<Option<String>, SystemError> {
        let Some(file) = self.open("proc/kallsyms")? else { return Ok(None) };
        let mut lines = BufReader::new(file).lines().map_while(Result::ok);
        Ok(lines.find(|line| line.split_whitespace().nth(2) == Some("_text")))
    }

    /// The kernel's name for its machine; kernels before 6.1 only show the width of their
    /// addresses.
    fn machine(&self, symbol: Option<&str>) -> Result<Option<Machine>, SystemError> {
        let arch = self.text("proc/sys/kernel/arch")?;
        Ok(match (arch.as_deref().map(str::trim), symbol) {
            (Some("x86_64"), _) => Some(Machine::X86_64),
            (Some("i386" | "i486" | "i586" | "i686"), _) => Some(Machine::I386),
            (_, Some(line)) if line.find(' ') == Some(16) => Some(Machine::X86_64),
            (_, Some(line)) if line.find(' ') == Some(8) => Some(Machine::I386),
            _ => None,
        })
    }

    fn cpus(&self) -> Result<Vec<CpuNotes>, SystemError> {
        let list = self.parsed("sys/devices/system/cpu/present", cpus::parse_list)?;
        let list = list.unwrap_or_else(|| self.cpu_folders());
        list.into_iter().map(|cpu| Ok(CpuNotes { cpu, area: self.crash_notes(cpu)? })).collect()
    }

    /// The numbers of the folders `cpuN`, for saved systems without a list.
    fn cpu_folders(&self) -> Vec<u32> {
        let folder = fs::read_dir(self.0.join("sys/devices/system/cpu"));
        let names = folder.into_iter().flatten().flatten().map(|entry| entry.file_name());
        let mut cpus: Vec<u32> =
            names.filter_map(|name| name.to_str()?.strip_prefix("cpu")?.parse().ok()).collect();
        cpus.sort_unstable();
        cpus
    }

    fn crash_notes(&self, cpu: u32) -> Result<Option<PhysRange>, SystemError> {
        let file = format!("sys/devices/system/cpu/cpu{cpu}/crash_notes");
        let start = self.parsed(&file, cpus::hex_address)?;
        let length = self.parsed(&format!("{file}_size"), |text| text.parse().ok())?;
        Ok(start.zip(length).and_then(|(start, length)| cpus::note_area(start, length)))
    }

    fn power_off(&self) -> Result<Option<PowerOff>, SystemError> {
        let fadt = self.bytes("sys/firmware/acpi/tables/FACP")?;
        let dsdt = self.bytes("sys/firmware/acpi/tables/DSDT")?;
        Ok(fadt.zip(dsdt).and_then(|(fadt, dsdt)| acpi::power_off(&fadt, &dsdt)))
    }

    /// The MADT shows that the tables can be read and that all are there. Without it an absent table
    /// means nothing: a saved system may have only those of an earlier release.
    fn iommus(&self) -> Result<Iommus, SystemError> {
        let table = |name| self.bytes(&format!("sys/firmware/acpi/tables/{name}"));
        if table("APIC")?.is_none() {
            return Ok(Iommus::default());
        }
        let [dmar, ivrs, viot] = [table("DMAR")?, table("IVRS")?, table("VIOT")?];
        let (dmar, ivrs, viot) = (dmar.as_deref(), ivrs.as_deref(), viot.as_deref());
        Ok(Iommus::read(Tables { dmar, ivrs, viot }, |place| self.pci_class(place)))
    }

    fn pci_class(&self, place: PciPlace) -> Option<u32> {
        let class = self.text(&format!("sys/bus/pci/devices/{place}/class")).ok().flatten()?;
        u32::from_str_radix(class.trim().strip_prefix("0x")?, 16).ok()
    }

    fn kexec_state(&self) -> Result<KexecState, SystemError> {
        let status = self.text("proc/self/status")?.unwrap_or_default();
        let crash_loaded = self.first(CRASH_LOADED, flag)?;
        let is_kernel = self.bytes(kexec_files::ALWAYS_THERE)?.is_some();
        Ok(KexecState {
            crash_size: self.first(CRASH_SIZE, |text| text.parse().ok())?,
            crash_loaded,
            cma: self
                .first(CMA_RANGES, |text| Some(kexec_files::cma_ranges(text)))?
                .unwrap_or_default(),
            supported: crash_loaded.map(|_| true).or(is_kernel.then_some(false)),
            disabled: self.parsed("proc/sys/kernel/kexec_load_disabled", flag)?,
            lockdown: self.text("sys/kernel/security/lockdown")?.as_deref().and_then(selected),
            capable: capable(&status),
        })
    }
}

/// The address in a line of kallsyms; zero means that the kernel hides it.
fn text_address(line: &str) -> Option<u64> {
    let address = u64::from_str_radix(line.split_whitespace().next()?, 16).ok()?;
    (address != 0).then_some(address)
}

/// The word in brackets: `none [integrity] confidentiality`.
fn selected(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(mode, _)| mode.to_owned())
}

fn capable(status: &str) -> Option<bool> {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    Some(mask & CAP_SYS_BOOT != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> System {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
        System::read(&folder).expect("a good fixture")
    }

    fn area(start: u64, length: u64) -> Option<PhysRange> {
        Some(PhysRange::new(PhysAddr::new(start), length).expect("a range"))
    }

    #[test]
    fn a_debian_guest() {
        let system = fixture("i386-512m");
        assert_eq!(system.machine, Some(Machine::I386));
        assert_eq!(system.text, Some(0xd300_0000));
        assert_eq!(system.lowmem_end, Some(PhysAddr::new(0x1ffe_0000)));
        assert_eq!(
            system.cpus,
            [
                CpuNotes { cpu: 0, area: area(0x1fac_ae00, 176) },
                CpuNotes { cpu: 1, area: area(0x1fad_de00, 176) },
            ]
        );
        assert_eq!(system.vmcoreinfo, area(0x318_2000, 0x1024));
        assert!(system.command_line.contains("crashkernel=32M@16M"));
        assert_eq!(system.power_off, Some(PowerOff { pm1a_control: 0x604, sleep_type: 0 }));
        let kexec = KexecState {
            crash_size: Some(32 << 20),
            crash_loaded: Some(false),
            cma: Vec::new(),
            supported: Some(true),
            disabled: Some(false),
            lockdown: Some("none".to_owned()),
            capable: Some(true),
        };
        assert_eq!(system.kexec, kexec);
    }

    /// A folder with a memory map and these files of a kernel.
    fn kexec(files: &[(&str, &str)]) -> System {
        let folder = tempfile::tempdir().expect("a folder");
        let map = "00100000-1ffdffff : System RAM\n  01000000-02ffffff : Crash kernel\n  \
                   08000000-0bffffff : Crash kernel\n";
        for (name, text) in [&[("proc/iomem", map)], files].concat() {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        System::read(folder.path()).expect("good files")
    }

    /// The MADT tells "no IOMMU" from "not known". The graphics unit is left out by the class of its
    /// one device.
    #[test]
    fn iommus_are_in_the_tables_that_can_be_read() {
        let folder = "sys/firmware/acpi/tables";
        let (madt, dmar) = (format!("{folder}/APIC"), format!("{folder}/DMAR"));
        let mut table = *b"DMAR\x48\0\0\0";
        table[4] = 48 + 24;
        let unit = "\0\0\x18\0\0\0\0\0\0\0\x42\x7e\0\0\0\0\x01\x08\0\0\0\0\x02\0";
        let table = format!("{}{}{unit}", String::from_utf8_lossy(&table), "\0".repeat(40));
        let word = |files: &[(&str, &str)]| kexec(files).iommus.word();
        assert_eq!(word(&[(&dmar, &table)]), "", "{:?}", kexec(&[]).iommus);
        assert_eq!(word(&[(&madt, "APIC")]), "kdump.iommu=none");
        let machine = [(madt.as_str(), "APIC"), (&dmar, &table)];
        assert_eq!(word(&machine), "kdump.iommu=vtd@0x7e420000");
        let class = ("sys/bus/pci/devices/0000:00:02.0/class", "0x030000\n");
        assert_eq!(word(&[&machine[..], &[class]].concat()), "kdump.iommu=none");
    }

    fn new_name(name: &str) -> String {
        format!("sys/kernel/kexec/{name}")
    }

    fn old_name(name: &str) -> String {
        format!("sys/kernel/kexec_{name}")
    }

    #[test]
    fn the_kernels_files_have_old_and_new_names() {
        for names in [old_name as fn(&str) -> String, new_name] {
            let files = [(names("crash_loaded"), "1\n"), (names("crash_size"), "33554432\n")];
            let state = kexec(&files.each_ref().map(|(name, text)| (name.as_str(), *text))).kexec;
            assert_eq!((state.crash_loaded, state.crash_size), (Some(true), Some(32 << 20)));
            assert_eq!(state.supported, Some(true), "{files:?}");
        }
        let both = kexec(&[
            ("sys/kernel/kexec/crash_loaded", "1\n"),
            ("sys/kernel/kexec_crash_loaded", "0\n"),
        ]);
        assert_eq!(both.kexec.crash_loaded, Some(true), "new names count");
    }

    #[test]
    fn a_kernel_without_kexec_is_told_from_a_copy_without_its_files() {
        assert_eq!(kexec(&[]).kexec.supported, None);
        let state = kexec(&[("sys/kernel/fscaps", "1\n")]).kexec;
        assert_eq!((state.supported, state.crash_loaded), (Some(false), None));
    }

    /// The kernel does not name them in /proc/iomem; one that did would not mean a slot.
    #[test]
    fn cma_ranges_are_ram_and_no_slot() {
        let cma = area(0x800_0000, 64 << 20).expect("a range");
        for name in ["sys/kernel/kexec/crash_cma_ranges", "sys/kernel/kexec_crash_cma_ranges"] {
            let system = kexec(&[(name, "08000000-0bffffff\n")]);
            assert_eq!(system.kexec.cma, [cma]);
            assert_eq!(system.memory.reservations, [area(0x100_0000, 32 << 20).expect("a range")]);
            let ram = crate::plan::core_header::crash_memory_ranges(&system).expect("RAM");
            assert!(ram.contains(cma), "it is in the dump");
        }
        assert_eq!(kexec(&[]).memory.reservations.len(), 2);
    }

    #[test]
    fn words_of_the_kernel() {
        assert_eq!(selected("none [integrity] confidentiality\n").as_deref(), Some("integrity"));
        assert_eq!(capable("Name:\tx\nCapEff:\t0000000000400000\n"), Some(true));
        assert_eq!(capable("CapEff:\t000001ffffbfffff\n"), Some(false));
        assert_eq!(capable(""), None);
        assert_eq!(text_address("00000000 T _text"), None, "kptr_restrict hides it");
    }

    #[test]
    fn the_width_of_an_address_tells_the_machine() {
        let root = Root(Path::new("/nonexistent"));
        let machine = |line| root.machine(Some(line)).expect("nothing to read");
        assert_eq!(machine("c1000000 T _text"), Some(Machine::I386));
        assert_eq!(machine("ffffffff81000000 T _text"), Some(Machine::X86_64));
        assert_eq!(machine("_text"), None);
    }

    #[test]
    fn a_folder_without_a_memory_map_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = System::read(folder.path()).expect_err("nothing is there");
        assert!(error.to_string().contains("proc/iomem"), "{error}");
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("sys/kernel")).expect("a folder");
        fs::create_dir_all(folder.path().join("proc")).expect("a folder");
        fs::write(folder.path().join("proc/iomem"), "00001000-0009fbff : System RAM\n").expect("x");
        fs::write(folder.path().join("sys/kernel/vmcoreinfo"), "soon").expect("a file");
        let error = System::read(folder.path()).expect_err("not a number").to_string();
        assert!(error.contains("vmcoreinfo") && error.contains("soon"), "{error}");
    }
}
