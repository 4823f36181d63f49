//! The initramfs of a Linux first kernel: busybox, the loader and a short `/init`.

use std::io::Write;

use anyhow::Result;
use cpio::newc::{self, Builder};

/// What `/init` does; see the script.
const INIT: &str = include_str!("init.sh");
/// The busybox programs that `/init` uses.
const APPLETS: [&str; 9] =
    ["sh", "mount", "cat", "awk", "sed", "grep", "poweroff", "sleep", "true"];

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const TEXT: u32 = 0o100_644;
const LINK: u32 = 0o120_777;

/// Packs the archive. `arguments` go to the loader, one a line in the file; `before_crash` is for the
/// shell.
///
/// # Errors
/// Never in practice: it writes to memory.
pub fn pack(
    busybox: &[u8],
    loader: &[u8],
    arguments: &[&str],
    before_crash: &str,
) -> Result<Vec<u8>> {
    let mut archive = Vec::new();
    for folder in ["bin", "dev", "etc", "proc", "sys"] {
        add(&mut archive, folder, FOLDER, b"")?;
    }
    add(&mut archive, "bin/busybox", PROGRAM, busybox)?;
    for applet in APPLETS {
        add(&mut archive, &format!("bin/{applet}"), LINK, b"busybox")?;
    }
    add(&mut archive, "loader", PROGRAM, loader)?;
    let lines: String = arguments.iter().map(|word| format!("{word}\n")).collect();
    add(&mut archive, "etc/kdump.arguments", TEXT, lines.as_bytes())?;
    if !before_crash.is_empty() {
        add(&mut archive, "etc/kdump.before", TEXT, before_crash.as_bytes())?;
    }
    add(&mut archive, "init", PROGRAM, INIT.as_bytes())?;
    Ok(newc::trailer(archive)?)
}

fn add(archive: &mut Vec<u8>, name: &str, mode: u32, content: &[u8]) -> Result<()> {
    let mut writer = Builder::new(name).mode(mode).write(archive, u32::try_from(content.len())?);
    writer.write_all(content)?;
    writer.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_holds_what_init_needs() {
        let packed = pack(b"BUSYBOX", b"LOADER", &["--target", "none"], "true").unwrap();
        let mut found = Vec::new();
        let mut rest = packed.as_slice();
        loop {
            let reader = newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            found.push((reader.entry().name().to_string(), reader.entry().mode()));
            rest = reader.finish().unwrap();
        }
        assert!(found.contains(&("init".into(), PROGRAM)));
        assert!(found.contains(&("bin/awk".into(), LINK)));
        assert!(found.contains(&("etc/kdump.arguments".into(), TEXT)));
        assert_eq!(found.len(), 5 + 1 + APPLETS.len() + 4);
    }
}
