//! Facts about the kernel in a bzImage, and the kind of a file that is no bzImage.
//!
//! Source: Linux, `Documentation/arch/x86/boot.rst`, "The Real-Mode Kernel Header".

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use handoff::SetupHeader;
use handoff::setup_header::{
    LOADED_HIGH, VERSION_OF_PREF_ADDRESS, VERSION_OF_XLOADFLAGS, XLF_KERNEL_64,
};

/// Code of an x86_64 kernel in its first 512 bytes of protected mode, before the 64-bit entry: it
/// reads EFER to switch long mode on (`mov $0xc0000080, %ecx; rdmsr`).
const READS_EFER: &[u8] = b"\xb9\x80\0\0\xc0\x0f\x32";
const BEFORE_64_BIT_ENTRY: usize = 0x200;
/// A zImage, for which there is no boot protocol with an initramfs in high memory.
const OLDEST: u16 = 0x200;

/// A kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BzImage {
    /// True for x86_64, false for i386.
    pub is_64_bit: bool,
    /// The physical address that it is linked for, where it says so.
    pub pref_address: Option<u64>,
}

impl BzImage {
    /// Reads the header of the file at `path`.
    ///
    /// # Errors
    /// Fails if it cannot be read, or is no bzImage: the text names its kind, and the file to pass
    /// instead.
    pub fn read(path: &Path) -> Result<Self> {
        let file = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&file).with_context(|| path.display().to_string())
    }

    fn parse(file: &[u8]) -> Result<Self> {
        let Some(header) = SetupHeader::find(file) else {
            bail!("this is no bzImage but {}", what_it_is(file));
        };
        let version = header.version.get();
        let is_high = version >= OLDEST && header.loadflags & LOADED_HIGH != 0;
        ensure!(is_high, "this is a zImage, not a bzImage. Next step: make bzImage");
        let has_address = version >= VERSION_OF_PREF_ADDRESS;
        let pref_address = has_address.then(|| header.pref_address.get());
        let is_64_bit = match version {
            VERSION_OF_XLOADFLAGS.. => header.xloadflags.get() & XLF_KERNEL_64 != 0,
            _ => switches_to_64_bits(file.get(header.code_offset()..))?,
        };
        Ok(Self { is_64_bit, pref_address: pref_address.filter(|address| *address != 0) })
    }
}

/// The same for a kernel whose header lacks it: from its code.
fn switches_to_64_bits(code: Option<&[u8]>) -> Result<bool> {
    let code = code.context("it ends before its code")?;
    let before = &code[..code.len().min(BEFORE_64_BIT_ENTRY)];
    Ok(before.windows(READS_EFER.len()).any(|bytes| bytes == READS_EFER))
}

/// Names other files that a developer may have at hand, by their first bytes, and the next step.
fn what_it_is(file: &[u8]) -> &'static str {
    match file {
        [0x7f, b'E', b'L', b'F', ..] => {
            "an ELF file, such as vmlinux. Next step: pass arch/x86/boot/bzImage of the same build \
             (installed: /boot/vmlinuz-VERSION)"
        }
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] | [0xfd, b'7', b'z', b'X', b'Z', ..] => {
            "a compressed file, such as vmlinux.gz or Image.gz. Next step: pass \
             arch/x86/boot/bzImage, which is compressed within itself"
        }
        [b'0', b'7', b'0', b'7', b'0', b'1' | b'2', ..] => {
            "an initramfs. Next step: pass it with --initrd, and the bzImage with --first-kernel"
        }
        _ if file.get(0x38..0x3c) == Some(b"ARM\x64") => "an arm64 Image; x86 kernels are taken",
        [b'M', b'Z', ..] => {
            "an EFI program without a setup header, such as a unified kernel image. Next step: \
             pass the bzImage in it"
        }
        [] => "an empty file",
        _ => "something else. Next step: pass arch/x86/boot/bzImage of a build",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use handoff::setup_header::SECTOR;

    /// A bzImage with one sector of setup, and two of code.
    fn bzimage(version: u16) -> Vec<u8> {
        let mut file = vec![0; 4 * SECTOR];
        file[0x1f1] = 1;
        file[0x202..0x206].copy_from_slice(b"HdrS");
        file[0x206..0x208].copy_from_slice(&version.to_le_bytes());
        file[0x211] = LOADED_HIGH;
        file[0x258..0x260].copy_from_slice(&0x100_0000_u64.to_le_bytes());
        file
    }

    #[test]
    fn a_header_tells_i386_from_x86_64() {
        let mut file = bzimage(0x20f);
        let i386 = BzImage { is_64_bit: false, pref_address: Some(0x100_0000) };
        assert_eq!(BzImage::parse(&file).unwrap(), i386);
        file[0x236] = 0x7f;
        assert_eq!(BzImage::parse(&file).unwrap(), BzImage { is_64_bit: true, ..i386 });
        file[0x236] = 0x7e;
        assert_eq!(BzImage::parse(&file).unwrap(), i386);
        file[0x258..0x260].fill(0);
        assert_eq!(BzImage::parse(&file).unwrap().pref_address, None);
    }

    #[test]
    fn the_code_tells_where_an_old_header_does_not() {
        let mut file = bzimage(0x20b);
        // The flags are others' bytes before 2.12.
        file[0x236] = 1;
        assert!(!BzImage::parse(&file).unwrap().is_64_bit);
        file[2 * SECTOR + 0x90..][..READS_EFER.len()].copy_from_slice(READS_EFER);
        assert!(BzImage::parse(&file).unwrap().is_64_bit);
        let mut file = bzimage(0x20b);
        file[2 * SECTOR + BEFORE_64_BIT_ENTRY..][..READS_EFER.len()].copy_from_slice(READS_EFER);
        assert!(!BzImage::parse(&file).unwrap().is_64_bit, "code of another entry");
        assert_eq!(BzImage::parse(&bzimage(0x209)).unwrap().pref_address, None);
    }

    #[test]
    fn what_is_no_bzimage_is_named_with_the_next_step() {
        let refused = |file: &[u8]| format!("{:#}", BzImage::parse(file).unwrap_err());
        assert!(
            refused(b"\x7fELF\x02\x01").contains("vmlinux. Next step: pass arch/x86/boot/bzImage")
        );
        assert!(refused(b"\x1f\x8b\x08").contains("a compressed file"));
        assert!(refused(b"\x28\xb5\x2f\xfd").contains("a compressed file"));
        assert!(refused(b"070701").contains("--initrd"));
        let mut arm64 = vec![0; 0x40];
        arm64[0x38..0x3c].copy_from_slice(b"ARM\x64");
        assert!(refused(&arm64).contains("arm64"));
        assert!(refused(b"MZ").contains("EFI"));
        assert!(refused(b"").contains("empty"));
        assert!(refused(&[0; 4096]).contains("something else"));
        let mut zimage = bzimage(0x20f);
        zimage[0x211] = 0;
        assert!(refused(&zimage).contains("zImage"));
        for length in 0..0x260 {
            assert!(BzImage::parse(&bzimage(0x20f)[..length]).is_err(), "{length}");
        }
    }
}
