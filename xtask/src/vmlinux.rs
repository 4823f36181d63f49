//! The uncompressed kernel in a bzImage. It starts more than a second sooner under emulation, and
//! kexec-tools load it.
//!
//! Source: Linux, `Documentation/x86/boot.rst`, "The Real-Mode Kernel Header".

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use handoff::SetupHeader;
use handoff::setup_header::VERSION_OF_PAYLOAD;

use crate::programs;

/// First bytes of an XZ file (the .xz file format, 2.1.1.1).
const XZ: &[u8] = b"\xfd7zXZ\0";
const ELF: &[u8] = b"\x7fELF";
/// Bytes of the number that kbuild appends to the compressed kernel (`size_append`).
const SIZE: usize = 4;

/// A compressed kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Payload<'a> {
    /// The XZ file.
    xz: &'a [u8],
    /// Uncompressed length in bytes.
    size: u32,
}

/// Takes the kernel out of the bzImage and puts it beside `folder`'s other files; returns its path.
///
/// # Errors
/// Fails if it is no bzImage with an XZ payload, or its kernel is not as long as it claims.
pub(crate) fn unpack(bzimage: &Path, folder: &Path) -> Result<PathBuf> {
    programs::ensure(programs::UNPACK)?;
    let name = bzimage.display();
    let file = fs::read(bzimage).with_context(|| format!("reading {name}"))?;
    let payload = payload(&file).with_context(|| format!("{name}"))?;
    let compressed = folder.join("vmlinux.xz");
    fs::write(&compressed, payload.xz).context("writing the compressed kernel")?;
    let mut xz = Command::new("xz");
    let output = xz.args(["--decompress", "--stdout", "--single-stream"]).arg(&compressed).output();
    let output = output.context("starting xz")?;
    fs::remove_file(&compressed).context("removing the compressed kernel")?;
    let (kernel, said) = (output.stdout, String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "xz on the payload of {name}: {}", said.trim_end());
    let is_whole = kernel.len() == payload.size as usize && kernel.starts_with(ELF);
    ensure!(is_whole, "the payload of {name} is no ELF file of {} bytes", payload.size);
    let path = folder.join("vmlinux");
    fs::write(&path, kernel).context("writing the uncompressed kernel")?;
    Ok(path)
}

/// Finds the compressed kernel.
fn payload(file: &[u8]) -> Result<Payload<'_>> {
    let header = SetupHeader::find(file).context("this is no bzImage, or was cut off")?;
    let version = header.version.get();
    let is_known = version >= VERSION_OF_PAYLOAD;
    ensure!(is_known, "boot protocol {version:#x} does not say where the kernel is");
    let start = header.code_offset() + header.payload_offset.get() as usize;
    let length = header.payload_length.get();
    let payload = start.checked_add(length as usize).and_then(|end| file.get(start..end));
    let payload = payload.context("the payload ends after the end of the file: it was cut off")?;
    let Some((xz, size)) = payload.split_last_chunk::<SIZE>() else { bail!("it has no payload") };
    ensure!(xz.starts_with(XZ), "its payload is not compressed with XZ");
    Ok(Payload { xz, size: u32::from_le_bytes(*size) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use handoff::setup_header::SECTOR;

    /// A bzImage with two sectors of setup with a payload 16 bytes into the code.
    fn bzimage(payload: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 3 * SECTOR];
        file[0x1f1] = 2;
        file[0x202..0x206].copy_from_slice(b"HdrS");
        file[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
        file[0x248] = 16;
        file[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        file.extend([0xfc; 16]);
        file.extend(payload);
        file.extend([0xee; 100]);
        file
    }

    /// Something that looks compressed, and its size.
    const COMPRESSED: &[u8] = b"\xfd7zXZ\0\0\x04rest\x11\x22\x33\x01";

    #[test]
    fn the_payload_lies_behind_the_setup_sectors() {
        let file = bzimage(COMPRESSED);
        let expected = Payload { xz: b"\xfd7zXZ\0\0\x04rest", size: 0x0133_2211 };
        assert_eq!(payload(&file).unwrap(), expected);
        // Zero sectors are four.
        let mut file = bzimage(COMPRESSED);
        file[0x1f1] = 0;
        file.splice(3 * SECTOR..3 * SECTOR, [0; 2 * SECTOR]);
        assert_eq!(payload(&file).unwrap(), expected);
    }

    #[test]
    fn other_files_are_refused() {
        let refused = |file: &[u8]| payload(file).unwrap_err().to_string();
        assert!(refused(b"MZ").contains("no bzImage"));
        assert!(refused(&bzimage(b"\x1f\x8bgzip\0\0\0\0")).contains("XZ"));
        assert!(refused(&bzimage(b"\xfd7z")).contains("no payload"));
        let mut old = bzimage(COMPRESSED);
        old[0x206] = 7;
        assert!(refused(&old).contains("0x207"));
    }

    #[test]
    fn a_file_that_was_cut_off_is_refused_wherever_it_ends() {
        let file = bzimage(COMPRESSED);
        let end = file.len() - 100;
        assert!(payload(&file[..end]).is_ok());
        for length in 0..end {
            assert!(payload(&file[..length]).is_err(), "{length}");
        }
        let mut file = bzimage(COMPRESSED);
        file[0x24c..0x250].fill(0xff);
        file[0x248..0x24c].fill(0xff);
        assert!(payload(&file).is_err());
    }
}
