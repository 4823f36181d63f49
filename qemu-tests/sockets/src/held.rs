//! Sockets that stay open.

use std::os::fd::OwnedFd;

/// Sockets that live as long as this.
pub(crate) type Held = Vec<OwnedFd>;
