//! The kernels that die: what QEMU boots, and what they are told.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use handoff::purgatory::PARAMS_SYMBOL;
use vmcore::Class;

use crate::check::dead_kernel::{DeadKernel, Linux};
use crate::check::facts::Facts;
use crate::cycle::{Config, Crash, Fault, NmiPlace};
use crate::fault::reseal::reseal;
use crate::first::bzimage::BzImage;
use crate::first::guest::{Guest, Ingredients, Loading};
use crate::first::initramfs::{self, OWN_INIT, Userland};
use crate::first::kexec_tools::Packed;
use crate::first::slot::parse_slot;
use crate::first::stock_capture;
use crate::first::virtio_modules;
use crate::host::image::Image;
use crate::host::memory::GuestMemory;
use crate::host::qemu::Boot;

/// The CPU whose note cannot be read, in the scenario that has one: the second.
const UNREADABLE_CPU: u32 = 1;

/// Symbols of the capture kernel: its first instruction, and its first byte.
const CAPTURE_ENTRY: &str = "linux_entry32";
const CAPTURE_START: &str = "__image_start";
/// Symbol of an image's counter of NMIs.
const NMI_COUNT: &str = "NMI_COUNT";

/// Which first kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstKernel {
    /// A Linux with our loader in its initramfs.
    Linux {
        /// What the report calls it.
        name: String,
        /// Whether it is an x86_64 kernel; else it is i386.
        is_64_bit: bool,
        /// Its bzImage.
        kernel: PathBuf,
        /// True if it is known to say of itself all that the checks need. Of another one, checks
        /// that lack something are skipped.
        is_known: bool,
        /// A static busybox that runs under it.
        busybox: PathBuf,
        /// Our loader, a static i386 program with the images in it.
        loader: PathBuf,
    },
    /// The test guest, a multiboot ELF; the harness itself plans the slot.
    Guest {
        /// The ELF file, with its symbols.
        elf: PathBuf,
        /// How the slot is filled.
        loading: Loading,
    },
}

/// A first kernel that is ready to boot.
pub struct Prepared {
    /// What QEMU is told.
    pub boot: Boot,
    /// What else counts when a Linux is judged.
    linux: Linux,
    guest: Option<Guest>,
}

impl FirstKernel {
    /// What the report calls it.
    pub fn name(&self) -> &str {
        match self {
            FirstKernel::Linux { name, .. } => name,
            FirstKernel::Guest { .. } => "guest",
        }
    }

    /// Whether it takes a CPU with 64-bit mode.
    pub fn is_64_bit(&self) -> bool {
        matches!(self, FirstKernel::Linux { is_64_bit: true, .. })
    }

    /// Writes what QEMU needs into `folder`. `target` is the value of `kdump.target=`.
    ///
    /// # Errors
    /// When a file cannot be read or written, or the slot cannot be planned.
    pub fn prepare(
        &self,
        config: &Config,
        memory: &GuestMemory,
        target: &str,
        folder: &Path,
    ) -> Result<Prepared> {
        match self {
            FirstKernel::Linux { kernel, busybox, loader, is_known, .. } => {
                let (programs, arguments) = loading(config, loader, target)?;
                let archive = first_initramfs(config, kernel, busybox, &programs, &arguments)?;
                let initrd = folder.join("initramfs");
                fs::write(&initrd, archive).context("writing the initramfs")?;
                let command_line = linux_command_line(
                    &config.slot,
                    &config.first_append,
                    config.initrd.is_some(),
                )?;
                let image = BzImage::read(kernel)?;
                let (kernel, initrd) = (kernel.clone(), Some(initrd));
                let boot = Boot { kernel, initrd, command_line, blobs: Vec::new() };
                let is_64_bit = self.is_64_bit();
                // i386's offset takes our loader to know and our capture kernel to add.
                let is_ours = config.kexec_tools.is_none() && config.stock_capture.is_none();
                let linux = Linux {
                    is_64_bit,
                    says_offset: is_64_bit || is_ours,
                    is_known: *is_known,
                    pref_address: image.pref_address,
                    is_asked: !matches!(config.crash, Crash::Expected(_)),
                    has_userland: config.initrd.is_some(),
                };
                Ok(Prepared { boot, linux, guest: None })
            }
            FirstKernel::Guest { elf, loading } => {
                let mut guest = planned_guest(config, elf, *loading, target, memory)?;
                put_fault(config, &mut guest)?;
                let boot = guest.boot(elf, folder)?;
                Ok(Prepared { boot, linux: Linux::default(), guest: Some(guest) })
            }
        }
    }
}

/// The initramfs of a Linux first kernel.
fn first_initramfs(
    config: &Config,
    kernel: &Path,
    busybox: &Path,
    programs: &[Packed],
    arguments: &[String],
) -> Result<Vec<u8>> {
    let modules = match config.fault {
        Some(Fault::BusyDisk) => virtio_modules::of(kernel, virtio_modules::DISK)?,
        _ => Vec::new(),
    };
    let memory_modules = match config.hotplug {
        Some(_) => virtio_modules::of(kernel, virtio_modules::MEMORY)?,
        None => Vec::new(),
    };
    let userland = match &config.initrd {
        Some(path) => {
            let found = Userland::new(read(path)?, &config.first_append);
            Some(found.with_context(|| path.display().to_string())?)
        }
        None => None,
    };
    initramfs::pack(&initramfs::Contents {
        busybox: &read(busybox)?,
        programs,
        arguments,
        modules: &modules,
        memory_modules: &memory_modules,
        hot_memory: config.hotplug.map_or(0, |hotplug| hotplug.size),
        before_crash: &config.before_crash,
        userland: userland.as_ref(),
    })
}

/// The test guest with its plan.
fn planned_guest(
    config: &Config,
    elf: &Path,
    loading: Loading,
    target: &str,
    memory: &GuestMemory,
) -> Result<Guest> {
    let ingredients = Ingredients {
        elf,
        capture_kernel: &config.capture_kernel,
        purgatory: &config.purgatory,
        slot: &config.slot,
        cpus: config.cpus,
        words: &config.first_append,
        target,
        machine_words: &config.machine.device_words(&config.delivery.targets),
        append: &config.append,
        core_headers: config.core_headers,
        loading,
        holes: if let Some(Fault::Holes(count)) = config.fault { count } else { 0 },
    };
    Guest::new(&ingredients, memory)
}

impl Prepared {
    /// Purgatory's entry (physical), when it is known before the boot.
    pub fn entry(&self) -> Option<u64> {
        self.guest.as_ref().map(Guest::entry)
    }

    /// The test guest's note that a machine check makes unreadable (physical).
    pub fn unreadable_note(&self) -> Option<Range<u64>> {
        self.guest.as_ref()?.note(UNREADABLE_CPU)
    }

    /// The address at which the NMI arrives that the fault asks for, if it asks for one.
    ///
    /// # Errors
    /// When the first kernel is not the test guest, or something lacks a symbol.
    pub fn nmi_address(&self, config: &Config) -> Result<Option<u64>> {
        let Some(Fault::NmiAt(place)) = config.fault else { return Ok(None) };
        let guest =
            self.guest.as_ref().context("an NMI to the instruction needs the test guest")?;
        let capture_kernel = guest.segment("kernel-0")?;
        Ok(Some(match place {
            NmiPlace::FirstKernel => guest.nmi_wait()?,
            NmiPlace::Hashing => {
                capture_kernel.start + (capture_kernel.end - capture_kernel.start) / 2
            }
            NmiPlace::CaptureEntry => {
                let image = Image::open(&config.capture_kernel_symbols)?;
                let first = |symbol| image.symbol(symbol).map(|range| range.start);
                capture_kernel.start + (first(CAPTURE_ENTRY)? - first(CAPTURE_START)?)
            }
        }))
    }

    /// Where purgatory counts its NMIs (physical), and how many there must be, when the fault sends one
    /// that it takes.
    ///
    /// # Errors
    /// When something lacks a symbol.
    pub fn counted_nmis(&self, config: &Config) -> Result<Option<(u64, u32)>> {
        let taken = [NmiPlace::Hashing, NmiPlace::CaptureEntry];
        match (config.fault, &self.guest) {
            (Some(Fault::NmiAt(place)), Some(guest)) if taken.contains(&place) => {
                let count = Image::open(&config.purgatory)?.symbol(NMI_COUNT)?.start;
                Ok(Some((guest.segment("purgatory")?.start + count, 1)))
            }
            _ => Ok(None),
        }
    }

    /// What the vmcore must agree with.
    ///
    /// # Errors
    /// When the first kernel did not tell what the checks need.
    pub fn dead_kernel(&self, facts: &Facts, memory: &GuestMemory) -> Result<DeadKernel> {
        match &self.guest {
            Some(guest) => guest.dead_kernel(),
            None => DeadKernel::linux(facts, memory, &self.linux),
        }
    }

    /// What the first kernel calls RAM (physical).
    pub fn system_ram(&self, facts: &Facts) -> Vec<Range<u64>> {
        match &self.guest {
            Some(guest) => guest.ram().to_vec(),
            None => facts.system_ram(),
        }
    }
}

/// Puts the fault into the slot, when it is one that goes there.
fn put_fault(config: &Config, guest: &mut Guest) -> Result<()> {
    match config.fault {
        Some(Fault::DamagedSegment { name, offset }) => guest.damage(name, offset),
        Some(Fault::DeafCpu(cpu)) => guest.deafen(cpu),
        Some(Fault::WrongSlotImage(change)) => {
            change(guest.image_mut());
            Ok(())
        }
        Some(Fault::OtherReservation(slot)) => guest.reserve(slot),
        Some(Fault::Unsealed) => {
            guest.leave_unsealed();
            Ok(())
        }
        Some(Fault::MachineCheckInNote) => {
            guest.lose_note(UNREADABLE_CPU);
            Ok(())
        }
        Some(Fault::MissingCpu) => guest.lose_last_cpu(),
        Some(Fault::WrongSegment { name, change }) => {
            let params = Image::open(&config.purgatory)?.symbol(PARAMS_SYMBOL)?;
            reseal(guest.plan_mut(), usize::try_from(params.start)?, name, change)
        }
        _ => Ok(()),
    }
}

/// What loads the capture kernel under Linux, and its arguments.
fn loading(config: &Config, loader: &Path, target: &str) -> Result<(Vec<Packed>, Vec<String>)> {
    let class = config.core_headers.map(core_headers_option);
    if let Some(tools) = &config.kexec_tools {
        let mut files = tools.files()?;
        let arguments = if let Some(stock) = &config.stock_capture {
            files.extend(stock.files()?);
            tools.stock_arguments(stock)
        } else {
            files.push((stock_capture::KERNEL, read(&config.capture_kernel)?));
            let words = format!("kdump.target={target} {}", config.append);
            tools.arguments(words.trim_end(), class)
        };
        return Ok((files, arguments));
    }
    let mut files = vec![("kdump-loader", read(loader)?)];
    let mut arguments = match &config.stock_capture {
        Some(stock) => {
            files.extend(stock.files()?);
            stock_capture::loader_arguments()
        }
        None => ["--target", target, "--append", &config.append].map(str::to_string).to_vec(),
    };
    arguments.extend(class.map(str::to_string));
    Ok((files, arguments))
}

/// The option that tells the loader.
fn core_headers_option(class: Class) -> &'static str {
    match class {
        Class::Elf32 => "--elf32-core-headers",
        Class::Elf64 => "--elf64-core-headers",
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// From here on a slot is beyond a Linux that stays where it is linked, at 16 MiB.
const BEYOND_LINUX: u64 = 64 << 20;

/// The command line of a Linux first kernel. `panic=-1`: without a capture kernel it resets at
/// once instead of waiting for the deadline. `nokaslr`, where the slot leaves room for it: a kernel
/// that moves at random sometimes moves to the very place that is to be reserved.
/// With one's own userland ours is named as the first program; ours then looks for theirs.
fn linux_command_line(slot: &str, append: &str, has_userland: bool) -> Result<String> {
    let stays = slot.contains('@') && parse_slot(slot)?.start >= BEYOND_LINUX;
    let crashkernel = format!("crashkernel={slot}");
    let kaslr = if stays { "nokaslr" } else { "" };
    let (first, append) = match has_userland {
        true => (format!("rdinit={OWN_INIT}"), without_rdinit(append)),
        false => (String::new(), append.to_string()),
    };
    let words = ["console=ttyS0,115200", &crashkernel, "panic=-1", kaslr, &first, &append];
    Ok(words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "))
}

/// The last `rdinit=` counts: theirs must go. What follows `--` is for the program.
fn without_rdinit(words: &str) -> String {
    let (ours, theirs) = words.split_once(" -- ").unwrap_or((words, ""));
    let kept = ours.split_whitespace().filter(|word| !word.starts_with("rdinit="));
    let theirs = theirs.split_whitespace();
    let dashes = (words.len() > ours.len()).then_some("--");
    kept.chain(dashes).chain(theirs).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_stays_where_it_is_linked_when_the_slot_lies_behind_it() {
        let line = |slot| linux_command_line(slot, "quiet", false).expect("a slot");
        assert!(line("32M@64M").ends_with("crashkernel=32M@64M panic=-1 nokaslr quiet"));
        for slot in ["32M@16M", "32M"] {
            assert!(!line(slot).contains("nokaslr"), "{slot}");
        }
        assert!(linux_command_line("32M@x", "", false).is_err());
    }

    #[test]
    fn our_program_comes_before_theirs() {
        let append = "rdinit=/mine quiet rdinit=/other -- rdinit=/kept x";
        let line = linux_command_line("32M", append, true).expect("a slot");
        assert!(line.ends_with("rdinit=/kdump-rs/init quiet -- rdinit=/kept x"), "{line}");
        let line = linux_command_line("32M", append, false).expect("a slot");
        assert!(line.ends_with(append), "{line}");
    }
}
