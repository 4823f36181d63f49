//! The dump, view or part that a receiver wants, and the reasons that it may not get it.

use alloc::string::String;

use crate::wire::{ViewInfo, WireError};

/// The dump, view or part that a receiver wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The dump: every view that the sender pushes.
    Dump,
    /// One view.
    View(String),
    /// A part of one view.
    Part {
        /// The view's name.
        view: String,
        /// The address of the first byte wanted, as the view counts them.
        start: u64,
        /// Length in bytes.
        length: u64,
    },
}

impl Plan {
    /// Returns the wanted part of a view, from byte to byte (exclusive), if any.
    pub(super) fn part(&self, info: &ViewInfo<'_>) -> Result<Option<(u64, u64)>, ReceiverError> {
        match self {
            Self::Dump => Ok(info.pushed.then_some((0, info.length))),
            Self::View(name) => Ok((name == info.name).then_some((0, info.length))),
            Self::Part { view, start, length } if view == info.name => {
                let from = start.checked_sub(info.start);
                let to = from.and_then(|from| from.checked_add(*length));
                let to = to.filter(|to| *to <= info.length);
                let outside = || ReceiverError::Outside {
                    view: view.clone(),
                    start: info.start,
                    length: info.length,
                };
                from.zip(to).map(Some).ok_or_else(outside)
            }
            Self::Part { .. } => Ok(None),
        }
    }

    /// The name of the one view that is wanted, if it is one.
    pub(super) fn view(&self) -> Option<&str> {
        match self {
            Self::View(view) | Self::Part { view, .. } => Some(view),
            Self::Dump => None,
        }
    }
}

/// Reason that a receiver cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiverError {
    /// The sender speaks another version.
    #[error(
        "the other end speaks version {0} of the wire protocol, this program version {VERSION}: \
         use programs of the same release on both sides",
        VERSION = crate::wire::VERSION
    )]
    Version(u8),
    /// It is another dump than the one of which a part is there.
    #[error("the other end has another dump than the one that was begun")]
    OtherDump,
    /// A view has another length than it had.
    #[error("view {0} has another length than when the transfer was begun")]
    OtherLength(String),
    /// There is no view of that name.
    #[error("there is no view {wanted}, there are: {there}")]
    NoView {
        /// The name.
        wanted: String,
        /// Those that there are.
        there: String,
    },
    /// The part that is wanted is not within the view.
    #[error("view {view} covers {start:#x}+{length:#x}: the range is not within it")]
    Outside {
        /// The view's name.
        view: String,
        /// The address of its first byte.
        start: u64,
        /// Its length in bytes.
        length: u64,
    },
    /// A frame could not be encoded.
    #[error(transparent)]
    Wire(#[from] WireError),
}
