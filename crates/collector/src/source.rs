//! Source of a dump.

use std::fmt;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The other end, as the command line names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A dump disk: a block device or the image file of one.
    Disk(PathBuf),
    /// A serial line or pseudo terminal.
    Terminal(PathBuf),
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP socket, as HOST:PORT.
    Tcp(String),
}

impl FromStr for Source {
    type Err = String;

    /// `unix:PATH`, `tcp:HOST:PORT`, `tcp:PORT` on the loopback interface, or the path of a file
    /// whose type shows its kind.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        if let Some(address) = text.strip_prefix("tcp:") {
            return tcp(address).map(Self::Tcp);
        }
        let kind = fs::metadata(text).map_err(|error| {
            format!("{error}; a socket that does not exist yet is named with unix: in front")
        })?;
        let (path, kind) = (Path::new(text).to_owned(), kind.file_type());
        match () {
            () if kind.is_socket() => Ok(Self::Unix(path)),
            () if kind.is_char_device() => Ok(Self::Terminal(path)),
            () if kind.is_file() || kind.is_block_device() => Ok(Self::Disk(path)),
            () => Err("neither a socket, a terminal nor a disk".to_owned()),
        }
    }
}

impl Source {
    /// True if bytes arrive as they were sent: a socket loses and damages nothing.
    pub(crate) const fn is_lossless(&self) -> bool {
        matches!(self, Self::Unix(_) | Self::Tcp(_))
    }
}

fn tcp(address: &str) -> Result<String, String> {
    let (host, port) = address.rsplit_once(':').unwrap_or(("127.0.0.1", address));
    let number: Result<u16, _> = port.parse();
    match number {
        Ok(_) if !host.is_empty() => Ok(format!("{host}:{port}")),
        _ => Err("not tcp:HOST:PORT or tcp:PORT".to_owned()),
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(path) | Self::Terminal(path) => path.display().fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sources() {
        let source = |text: &str| text.parse::<Source>();
        assert_eq!(source("unix:/no/such"), Ok(Source::Unix("/no/such".into())));
        assert_eq!(source("tcp:4444"), Ok(Source::Tcp("127.0.0.1:4444".into())));
        assert_eq!(source("tcp:[::1]:4444"), Ok(Source::Tcp("[::1]:4444".into())));
        assert_eq!(source("/dev/null"), Ok(Source::Terminal("/dev/null".into())));
        assert!(source("/").is_err_and(|error| error.starts_with("neither")));
        assert!(source("/no/such").is_err_and(|error| error.contains("unix:")));
        for bad in ["tcp:", "tcp:host:", "tcp::1", "tcp:host:70000"] {
            assert!(source(bad).is_err(), "{bad}");
        }
    }
}
