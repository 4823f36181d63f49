//! The reasons for not loading a plan.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::kexec::holder::{Holder, shown};

/// The reason why a plan is not loaded, or its load is not recorded. After a failed reload, the
/// text names the image that is loaded now.
#[derive(Debug, thiserror::Error)]
pub enum KexecError {
    /// The process may not.
    #[error("not permitted: run this as root (CAP_SYS_BOOT is needed)")]
    NotRoot,
    /// The administrator has switched loading off.
    #[error(
        "loading is switched off (kernel.kexec_load_disabled is 1) and stays so until the next \
         boot: boot again and load before it is set"
    )]
    Disabled,
    /// The kernel protects itself from root.
    #[error(
        "the kernel is locked down ({mode}), which forbids kexec_load: boot without Secure Boot or \
         without lockdown="
    )]
    LockedDown {
        /// The lockdown mode.
        mode: String,
    },
    /// EPERM without a reason that could be seen.
    #[error(
        "the kernel refused (EPERM) though this process is root and nothing is locked down: look \
         at kernel.kexec_load_limit_panic and at the limits of this container"
    )]
    Refused,
    /// ENOMEM.
    #[error(
        "the kernel found no room for its own pages (ENOMEM): reserve more memory with a larger \
         crashkernel="
    )]
    NoControlPages,
    /// EBUSY.
    #[error("another program is loading a kernel at this moment (EBUSY): try again")]
    Busy,
    /// EADDRNOTAVAIL.
    #[error(
        "the kernel says that a segment is outside its reservation (EADDRNOTAVAIL): was the \
         reservation changed by writing to /sys/kernel/kexec/crash_size (kexec_crash_size)? Run \
         `kdump-loader plan` again"
    )]
    OutsideReservation,
    /// EINVAL.
    #[error(
        "the kernel does not take the image (EINVAL): it must be an i386 or x86_64 Linux, and \
         `kdump-loader plan` must name segments of whole pages that do not overlap"
    )]
    Invalid,
    /// ENOSYS.
    #[error(
        "this kernel has no kexec_load: it must be built with CONFIG_KEXEC and CONFIG_CRASH_DUMP"
    )]
    NoSystemCall,
    /// A segment that this process cannot name, or an error without a known reason.
    #[error("kexec_load failed: {0}")]
    Other(#[from] io::Error),
    /// A file or folder of the state that cannot be used.
    #[error("cannot record the load in {}: {source}; choose another --state-dir", path.display())]
    State {
        /// The file or folder.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Another process holds the lock of the state.
    #[error(
        "{} is locked by {}, and was all the {} s that this program has waited: look what that one \
         waits for, or end it",
        path.display(), shown(holder.as_ref()), waited.as_secs()
    )]
    Locked {
        /// The file that it has locked.
        path: PathBuf,
        /// The process, if it can be seen.
        holder: Option<Holder>,
        /// Time that this program has waited.
        waited: Duration,
    },
    /// The kernel refused before it freed the loaded image.
    #[error("{0}; the earlier image is still loaded")]
    Kept(Box<Self>),
    /// The last good plan is loaded again.
    #[error("{0}; the earlier image is loaded again, as it was then")]
    Restored(Box<Self>),
    /// Nothing is known that could be loaded again.
    #[error("{0}; nothing is noted in --state-dir that could be loaded in its place")]
    Lost(Box<Self>),
    /// The last good plan does not load either.
    #[error("{refused}; the earlier image does not load again either: {lost}")]
    LostBoth {
        /// The reason why the new plan was not loaded.
        refused: Box<Self>,
        /// The reason why the last one was not.
        lost: Box<Self>,
    },
    /// The kernel contradicts itself.
    #[error("the kernel took the image and yet says that none is loaded: see its log")]
    Denied,
}
