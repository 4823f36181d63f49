//! The word of a Linux first kernel on the stacks of its CPUs and of its tasks, printed right
//! before the crash (sysrq l and t), and tasks that wait in many places before that.

use std::path::Path;

use anyhow::Result;

use crate::first::initramfs::Contents;
use crate::first::virtio_modules;

/// The word on the first kernel's command line for a log that holds all of it.
pub(crate) const WORD: &str = "log_buf_len=1M";
/// Modules with threads of their own, or with calls that wait in them. Each needs those before it.
const MODULES: [&str; 5] = [
    "fs/nls/nls_ucs2_utils.ko",
    "fs/jfs/jfs.ko",
    "net/core/pktgen.ko",
    "fs/fuse/fuse.ko",
    "fs/fuse/cuse.ko",
];
/// The tasks that wait.
const WAITS: &str = include_str!("waits.sh");

/// Puts all that it takes into the initramfs for the bzImage at `kernel`. Modules that its package
/// lacks are left out.
///
/// # Errors
/// A module cannot be read.
pub(crate) fn pack(kernel: &Path, contents: &mut Contents<'_>) -> Result<()> {
    contents.shown_stacks = true;
    virtio_modules::add(kernel, &MODULES, contents)?;
    contents.before_crash = format!("{WAITS}\n{}", contents.before_crash);
    Ok(())
}
