//! A Linux bzImage as capture kernel, entered at the start of its protected-mode code.
//!
//! Source: Linux `Documentation/arch/x86/boot.rst`, "The Real-Mode Kernel Header" and "32-bit Boot
//! Protocol".

use std::mem::offset_of;

use crate::images::elf::Load;
use crate::images::error::ImageError;
use crate::images::kernel_image::KernelImage;
use handoff::SetupHeader;
use handoff::setup_header::{LOADED_HIGH, VERSION_OF_PREF_ADDRESS};

/// More memory than any capture kernel may want, in bytes.
const MOST_MEMORY: u32 = 1 << 30;

/// Reads and checks the file. A protocol before 2.10 does not give the kernel's memory size.
pub(crate) fn parse<'a>(
    file: &'a [u8],
    header: &'a SetupHeader,
) -> Result<KernelImage<'a>, ImageError> {
    let damaged = ImageError::Damaged { what: "setup header" };
    let version = header.version.get();
    if version < VERSION_OF_PREF_ADDRESS || header.loadflags & LOADED_HIGH == 0 {
        return Err(ImageError::OldBzImage { version });
    }
    let code = file.get(header.code_offset()..).filter(|code| !code.is_empty());
    let code = code.ok_or(damaged.clone())?;
    let length = offset_of!(SetupHeader, header) + usize::from(header.length);
    let setup_header = file.get(SetupHeader::OFFSET..SetupHeader::OFFSET + length);
    let align = header.kernel_alignment.get();
    let paddr = u32::try_from(header.pref_address.get()).map_err(|_| damaged.clone())?;
    let memsz = header.init_size.get().max(code.len() as u32);
    if memsz > MOST_MEMORY {
        return Err(ImageError::TooLarge { size: memsz.into(), limit: MOST_MEMORY.into() });
    }
    if !align.is_power_of_two() || paddr.checked_add(memsz).is_none() || paddr % align != 0 {
        return Err(damaged);
    }
    Ok(KernelImage {
        loads: vec![Load { vaddr: paddr, paddr, memsz, bytes: code }],
        entry: paddr,
        movable: header.relocatable_kernel != 0,
        align: align.into(),
        setup_header: Some(setup_header.ok_or(damaged)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use handoff::setup_header::{HEADER_MAGIC, SECTOR};
    use zerocopy::FromBytes;

    /// The header fields of Debian's 6.1.0-50-686-pae, around two sectors of code.
    fn debian(change: fn(&mut SetupHeader)) -> Vec<u8> {
        let mut file = vec![0; 40 * SECTOR];
        let (header, _) = SetupHeader::mut_from_prefix(&mut file[0x1f1..]).expect("room");
        header.setup_sects = 39;
        header.length = 0x6a;
        header.header = HEADER_MAGIC;
        header.version = 0x20f.into();
        header.loadflags = 1;
        header.kernel_alignment = 0x100_0000.into();
        header.relocatable_kernel = 1;
        header.pref_address = 0x100_0000.into();
        header.init_size = 0x113_5000.into();
        change(header);
        file.extend([0xfc; 2 * SECTOR]);
        file
    }

    fn parsed(file: &[u8]) -> Result<KernelImage<'_>, ImageError> {
        parse(file, SetupHeader::find(file).expect("a header"))
    }

    #[test]
    fn debians_kernel_is_understood() {
        let file = debian(|_| ());
        let image = parsed(&file).expect("a good file");
        assert_eq!((image.entry, image.movable, image.align), (0x100_0000, true, 0x100_0000));
        assert_eq!(image.span(), (0x100_0000, 0x213_5000));
        let [load] = image.loads[..] else { panic!("{:?}", image.loads) };
        assert_eq!(
            (load.paddr, load.memsz, load.bytes),
            (0x100_0000, 0x113_5000, &[0xfc; 1024][..])
        );
        assert_eq!(image.setup_header.expect("a header").len(), 0x202 + 0x6a - 0x1f1);
        // In a slot that begins elsewhere, it goes to the next multiple of its alignment.
        assert_eq!(image.moved_start(0x420_0000), 0x500_0000);
        assert_eq!(image.moved_start(0x400_0000), 0x400_0000);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |change| parsed(&debian(change)).err();
        let damaged = Some(ImageError::Damaged { what: "setup header" });
        assert_eq!(parsed(&debian(|_| ())[..40 * SECTOR]).err(), damaged);
        assert_eq!(refused(|header| header.kernel_alignment = 0x100_0003.into()), damaged);
        assert_eq!(refused(|header| header.pref_address = 0x1_0100_0000.into()), damaged);
        assert_eq!(refused(|header| header.pref_address = 0xff00_0000.into()), damaged);
        assert_eq!(
            refused(|header| header.init_size = 0x7f13_5000.into()),
            Some(ImageError::TooLarge { size: 0x7f13_5000, limit: 1 << 30 })
        );
        assert_eq!(
            refused(|header| header.version = 0x209.into()),
            Some(ImageError::OldBzImage { version: 0x209 })
        );
        assert!(SetupHeader::find(&debian(|_| ())[..0x210]).is_none());
        assert!(SetupHeader::find(b"\x7fELF").is_none());
    }
}
