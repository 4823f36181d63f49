//! Options of every command that uses a line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use collector::{LinkOptions, Source, Timeouts};

/// Forms of SOURCE.
pub(crate) const SOURCES: &str = "\
SOURCE:
  unix:PATH           a Unix socket (a PATH that is one will do)
  tcp:HOST:PORT       a TCP socket; tcp:PORT is one on 127.0.0.1
  /dev/ttyS0, /dev/pts/3
                      a serial line or pseudo terminal, by its path
  dump.img, /dev/vdb  a dump disk, by its path";

#[derive(Args)]
pub(crate) struct Line {
    /// Source of the dump; see below.
    pub(crate) source: Source,
    #[command(flatten)]
    pub(crate) options: LineOptions,
}

#[derive(Args)]
pub(crate) struct LineOptions {
    /// Wait for the other end to connect to the socket, instead of connecting to it.
    #[arg(long)]
    listen: bool,
    /// Speed of a serial line in bits per second.
    #[arg(long, default_value_t = 115_200)]
    baud: u32,
    /// Timeout for the other end to appear, to come back or to send something.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u32,
    /// Timeout for the whole transfer [default: none].
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,
    /// Append console text that comes over the same line to FILE [default: standard error].
    #[arg(long, value_name = "FILE")]
    pub(crate) console: Option<PathBuf>,
}

impl LineOptions {
    pub(crate) fn link(&self) -> LinkOptions {
        LinkOptions { listen: self.listen, baud: self.baud }
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        Timeouts { wait: seconds(self.wait), timeout: self.timeout.map(seconds) }
    }
}
