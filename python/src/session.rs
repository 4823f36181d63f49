//! An open dump and the kernel in it, as one value that Python objects share.

use std::path::Path;
use std::time::Duration;

use collector::{LinkOptions, Source, Timeouts};
use postmortem::{Dump, Error, Kernel, Vmlinux};

self_cell::self_cell!(
    struct Opened {
        owner: Dump,
        #[covariant]
        dependent: Kernel,
    }
);

/// A line as its collector finds it.
const LINE: LinkOptions = LinkOptions { listen: false, baud: 115_200 };
/// Time to wait for the other end of a line.
const WAIT: Duration = Duration::from_secs(30);

/// An open dump.
pub(crate) struct Session {
    opened: Opened,
    /// Its name on opening.
    pub(crate) path: String,
}

impl Session {
    /// Opens a dump by its name: a path, or a line to a capture kernel; with the debug information
    /// of a vmlinux, if one is given. Of a dump disk the dump with this number, else the newest.
    ///
    /// # Errors
    /// [`Error::Dump`], [`Error::Vmlinux`]; [`Error::Usage`] for a name that is no dump's.
    pub(crate) fn open(
        path: &str,
        vmlinux: Option<&Path>,
        number: Option<u64>,
    ) -> Result<Self, Error> {
        let source: Source = path.parse().map_err(|error| Error::Usage(format!("{error}")))?;
        let timeouts = Timeouts { wait: WAIT, timeout: None };
        let dump = Dump::open_source(&source, number, LINE, timeouts)?;
        let opened = Opened::try_new(dump, |dump| match vmlinux {
            None => Kernel::open(dump),
            Some(path) => {
                let (types, symbols) = Vmlinux::open(path, dump)?.into_sources();
                Kernel::with_sources(dump, types, symbols)
            }
        })?;
        Ok(Self { opened, path: path.to_owned() })
    }

    /// The kernel.
    pub(crate) fn kernel(&self) -> &Kernel<'_> {
        self.opened.borrow_dependent()
    }

    /// The dump.
    pub(crate) fn dump(&self) -> &Dump {
        self.opened.borrow_owner()
    }
}
