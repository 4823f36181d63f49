//! The one system call: `kexec_load` with KEXEC_ON_CRASH. Besides the instruction in `tsc.rs` it
//! is the only `unsafe`.
//!
//! The kernel frees an image that was loaded before it takes the new one. So everything that can
//! be checked is checked before the call.
//!
//! Source: `kexec_load(2)`; Linux `kernel/kexec.c`, `include/uapi/linux/kexec.h`.

use std::path::Path;
use std::{fmt, fs, io};

use vmcore::PhysAddr;

use crate::facts::kexec_files::{CRASH_LOADED, flag};
use crate::facts::system::{Machine, System};
use crate::kexec::error::KexecError;
use crate::plan::types::{Plan, PlannedSegment};

/// The image is for the crash path, not for a reboot.
const KEXEC_ON_CRASH: usize = 1;
/// The kernel is i386 (`EM_386`); it refuses another architecture than its own.
const KEXEC_ARCH_386: usize = 3 << 16;
/// The kernel is x86_64 (`EM_X86_64`), be this program a 32-bit one or not.
const KEXEC_ARCH_X86_64: usize = 62 << 16;

/// `struct kexec_segment`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct KexecSegment {
    /// The bytes in this process.
    buf: *const u8,
    /// Their number.
    bufsz: usize,
    /// Physical address, page aligned.
    mem: usize,
    /// Length in physical memory, in whole pages.
    memsz: usize,
}

/// Arguments of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call<'a> {
    /// Address to which the first kernel jumps when it dies (physical).
    pub entry: PhysAddr,
    /// The segments, lowest first.
    pub segments: &'a [PlannedSegment],
}

impl<'a> From<&'a Plan> for Call<'a> {
    fn from(plan: &'a Plan) -> Self {
        Self { entry: plan.entry, segments: &plan.segments }
    }
}

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = KEXEC_ON_CRASH | KEXEC_ARCH_386;
        let count = self.segments.len();
        writeln!(f, "kexec_load: entry {}, {count} segments, flags {flags:#x}", self.entry)?;
        self.segments.iter().enumerate().try_for_each(|(index, segment)| {
            let (bytes, range, name) = (segment.bytes.len(), segment.range, &segment.name);
            let memory = range.length();
            writeln!(f, "segment {index}: {bytes:#x} bytes to {range} ({memory:#x}), {name}")
        })
    }
}

/// Loads the segments of a plan. Once the kernel has begun to take them, the earlier image is gone,
/// even if this fails.
///
/// # Errors
/// The reason why the kernel does not take it, with the next step.
pub fn load(plan: Call<'_>, system: &System) -> Result<(), KexecError> {
    check(system)?;
    let segments = plan.segments.iter().map(raw).collect::<Result<Vec<_>, _>>()?;
    let entry = narrow(plan.entry.get())?;
    kexec_load(entry, &segments, system.machine).map_err(|error| explain(error, system))
}

/// True if the running kernel says that a capture kernel is loaded; `None` if it does not say.
pub fn crash_loaded() -> Option<bool> {
    let read = |name| fs::read_to_string(Path::new("/").join(name)).ok();
    CRASH_LOADED.into_iter().find_map(|name| flag(read(name)?.trim()))
}

/// Unloads the capture kernel, if one is loaded.
///
/// # Errors
/// The reason why the kernel does not do it, with the next step.
pub fn unload(system: &System) -> Result<(), KexecError> {
    check(system)?;
    kexec_load(0, &[], system.machine).map_err(|error| explain(error, system))
}

/// Looks for the reasons why the kernel would refuse, without asking it.
///
/// # Errors
/// The first reason, with the next step.
pub fn check(system: &System) -> Result<(), KexecError> {
    let state = &system.kexec;
    if state.supported == Some(false) {
        return Err(KexecError::NoSystemCall);
    }
    if state.disabled == Some(true) {
        return Err(KexecError::Disabled);
    }
    if let Some(mode) = state.lockdown.as_ref().filter(|mode| *mode != "none") {
        return Err(KexecError::LockedDown { mode: mode.clone() });
    }
    if state.capable == Some(false) {
        return Err(KexecError::NotRoot);
    }
    Ok(())
}

fn raw(segment: &PlannedSegment) -> Result<KexecSegment, KexecError> {
    Ok(KexecSegment {
        buf: segment.bytes.as_ptr(),
        bufsz: segment.bytes.len(),
        mem: narrow(segment.range.start().get())?,
        memsz: narrow(segment.range.length())?,
    })
}

fn narrow(value: u64) -> Result<usize, KexecError> {
    usize::try_from(value).map_err(|error| KexecError::Other(io::Error::other(error)))
}

/// Meaning of the kernel's answer.
fn explain(error: io::Error, system: &System) -> KexecError {
    match error.raw_os_error() {
        Some(libc::EPERM) => check(system).err().unwrap_or(KexecError::Refused),
        Some(libc::ENOMEM) => KexecError::NoControlPages,
        Some(libc::EBUSY) => KexecError::Busy,
        Some(libc::EADDRNOTAVAIL) => KexecError::OutsideReservation,
        Some(libc::EINVAL) => KexecError::Invalid,
        Some(libc::ENOSYS) => KexecError::NoSystemCall,
        _ => KexecError::Other(error),
    }
}

fn flags(machine: Option<Machine>) -> usize {
    let architecture = match machine {
        Some(Machine::X86_64) => KEXEC_ARCH_X86_64,
        Some(Machine::I386) | None => KEXEC_ARCH_386,
    };
    KEXEC_ON_CRASH | architecture
}

#[expect(unsafe_code, reason = "no crate has this system call")]
fn kexec_load(entry: usize, segments: &[KexecSegment], machine: Option<Machine>) -> io::Result<()> {
    let flags = flags(machine);
    // SAFETY: `segments` holds the given number of `struct kexec_segment`, each with a buffer of
    // `bufsz` readable bytes that outlives the call; the kernel only reads them, and it writes only
    // into the memory that it has reserved for this.
    let result = unsafe {
        libc::syscall(libc::SYS_kexec_load, entry, segments.len(), segments.as_ptr(), flags)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::system::KexecState;
    use vmcore::PhysRange;

    fn system(change: impl FnOnce(&mut KexecState)) -> System {
        let mut system = System::default();
        system.kexec.capable = Some(true);
        system.kexec.lockdown = Some("none".to_owned());
        system.kexec.disabled = Some(false);
        change(&mut system.kexec);
        system
    }

    #[test]
    fn every_obstacle_is_seen_beforehand() {
        assert!(check(&system(|_| {})).is_ok());
        assert!(check(&System::default()).is_ok(), "what is not known is left to the kernel");
        let without = check(&system(|state| state.supported = Some(false)));
        assert!(matches!(without, Err(KexecError::NoSystemCall)));
        let disabled = check(&system(|state| state.disabled = Some(true)));
        assert!(matches!(disabled, Err(KexecError::Disabled)));
        let root = check(&system(|state| state.capable = Some(false)));
        assert!(matches!(root, Err(KexecError::NotRoot)));
        let locked = check(&system(|state| state.lockdown = Some("integrity".to_owned())));
        assert!(locked.expect_err("locked").to_string().contains("(integrity)"));
    }

    #[test]
    fn answers_of_the_kernel_in_words() {
        let say = |errno| explain(io::Error::from_raw_os_error(errno), &system(|_| {})).to_string();
        assert!(say(libc::EPERM).contains("kexec_load_limit_panic"));
        assert!(say(libc::ENOMEM).contains("larger crashkernel="));
        assert!(say(libc::EBUSY).contains("try again"));
        assert!(say(libc::EADDRNOTAVAIL).contains("outside its reservation"));
        assert!(say(libc::EINVAL).contains("whole pages"));
        assert!(say(libc::ENOSYS).contains("CONFIG_KEXEC"));
        assert!(say(libc::EFAULT).contains("kexec_load failed"));
        let locked = system(|state| state.lockdown = Some("integrity".to_owned()));
        let error = explain(io::Error::from_raw_os_error(libc::EPERM), &locked);
        assert!(matches!(error, KexecError::LockedDown { .. }));
    }

    /// The layout from `include/uapi/linux/kexec.h`: four words.
    #[test]
    fn the_segment_of_the_system_call() {
        assert_eq!(size_of::<KexecSegment>(), 4 * size_of::<usize>());
        let range = PhysRange::new(PhysAddr::new(0x100_0000), 0x2000).expect("a range");
        let segment = PlannedSegment { name: "kernel-0".to_owned(), range, bytes: vec![1, 2, 3] };
        let raw = raw(&segment).expect("it fits");
        assert_eq!((raw.bufsz, raw.mem, raw.memsz), (3, 0x100_0000, 0x2000));
        assert_eq!(raw.buf, segment.bytes.as_ptr());
    }

    /// The numbers that strace shows of kexec-tools.
    #[test]
    fn the_flags_name_the_architecture() {
        assert_eq!(flags(Some(Machine::I386)), 0x3_0001);
        assert_eq!(flags(Some(Machine::X86_64)), 0x3e_0001);
    }
}
