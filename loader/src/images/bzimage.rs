//! A Linux bzImage as capture kernel, entered at the start of its protected-mode code.
//!
//! Source: Linux `Documentation/arch/x86/boot.rst`, "The Real-Mode Kernel Header" and "32-bit Boot
//! Protocol".

use handoff::boot_params::{HEADER_MAGIC, LOADED_HIGH};
use handoff::setup_header::{
    self, DEFAULT_SECTS, HEADER, INIT_SIZE, JUMP, KERNEL_ALIGNMENT as ALIGNMENT, LOADFLAGS,
    PREF_ADDRESS, RELOCATABLE, SECTOR, SETUP_SECTS, VERSION,
};

use crate::images::elf::Load;
use crate::images::error::ImageError;
use crate::images::kernel_image::KernelImage;

const MAGIC: &[u8] = &HEADER_MAGIC;
/// The first protocol that gives the kernel's memory size (`init_size`).
const OLDEST: u16 = setup_header::VERSION_OF_PREF_ADDRESS;
/// More memory than any capture kernel may want, in bytes.
const MOST_MEMORY: u32 = 1 << 30;

/// Whether the file says of itself that it is a bzImage.
pub(crate) fn is_bzimage(file: &[u8]) -> bool {
    file.get(HEADER..HEADER + MAGIC.len()) == Some(MAGIC)
}

/// Reads and checks the file.
pub(crate) fn parse(file: &[u8]) -> Result<KernelImage<'_>, ImageError> {
    let damaged = ImageError::Damaged { what: "setup header" };
    let version = u16::from_le_bytes(field(file, VERSION)?);
    if version < OLDEST || byte(file, LOADFLAGS)? & LOADED_HIGH == 0 {
        return Err(ImageError::OldBzImage { version });
    }
    let sectors = match byte(file, SETUP_SECTS)? {
        0 => DEFAULT_SECTS,
        sectors => sectors.into(),
    };
    let code = file.get((sectors + 1) * SECTOR..).filter(|code| !code.is_empty());
    let code = code.ok_or(damaged.clone())?;
    let header_end = HEADER + usize::from(byte(file, JUMP)?);
    let setup_header = file.get(SETUP_SECTS..header_end).ok_or(damaged.clone())?;
    let align = u32::from_le_bytes(field(file, ALIGNMENT)?);
    let preferred = u64::from_le_bytes(field(file, PREF_ADDRESS)?);
    let paddr = u32::try_from(preferred).map_err(|_| damaged.clone())?;
    let memsz = u32::from_le_bytes(field(file, INIT_SIZE)?).max(code.len() as u32);
    if memsz > MOST_MEMORY {
        return Err(ImageError::TooLarge { size: memsz.into(), limit: MOST_MEMORY.into() });
    }
    if !align.is_power_of_two() || paddr.checked_add(memsz).is_none() || paddr % align != 0 {
        return Err(damaged);
    }
    Ok(KernelImage {
        loads: vec![Load { vaddr: paddr, paddr, memsz, bytes: code }],
        entry: paddr,
        movable: byte(file, RELOCATABLE)? != 0,
        align: align.into(),
        setup_header: Some(setup_header),
    })
}

fn byte(file: &[u8], at: usize) -> Result<u8, ImageError> {
    field::<1>(file, at).map(|[byte]| byte)
}

fn field<const N: usize>(file: &[u8], at: usize) -> Result<[u8; N], ImageError> {
    let bytes = file.get(at..).and_then(|rest| rest.first_chunk());
    bytes.copied().ok_or(ImageError::Damaged { what: "setup header" })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header fields of Debian's 6.1.0-50-686-pae, around two sectors of code.
    fn debian() -> Vec<u8> {
        let mut file = vec![0; 40 * SECTOR];
        file[SETUP_SECTS] = 39;
        file[JUMP] = 0x6a;
        file[HEADER..HEADER + 4].copy_from_slice(MAGIC);
        file[VERSION..VERSION + 2].copy_from_slice(&0x20f_u16.to_le_bytes());
        file[LOADFLAGS] = 1;
        file[ALIGNMENT..ALIGNMENT + 4].copy_from_slice(&0x100_0000_u32.to_le_bytes());
        file[RELOCATABLE] = 1;
        file[PREF_ADDRESS..PREF_ADDRESS + 8].copy_from_slice(&0x100_0000_u64.to_le_bytes());
        file[INIT_SIZE..INIT_SIZE + 4].copy_from_slice(&0x113_5000_u32.to_le_bytes());
        file.extend([0xfc; 2 * SECTOR]);
        file
    }

    #[test]
    fn debians_kernel_is_understood() {
        let file = debian();
        assert!(is_bzimage(&file));
        let image = parse(&file).expect("a good file");
        assert_eq!((image.entry, image.movable, image.align), (0x100_0000, true, 0x100_0000));
        assert_eq!(image.span(), (0x100_0000, 0x213_5000));
        let [load] = image.loads[..] else { panic!("{:?}", image.loads) };
        assert_eq!(
            (load.paddr, load.memsz, load.bytes),
            (0x100_0000, 0x113_5000, &[0xfc; 1024][..])
        );
        assert_eq!(image.setup_header.expect("a header").len(), 0x202 + 0x6a - 0x1f1);
        // Where the slot begins elsewhere, it goes to the next multiple of its alignment.
        assert_eq!(image.moved_start(0x420_0000), 0x500_0000);
        assert_eq!(image.moved_start(0x400_0000), 0x400_0000);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |change: fn(&mut Vec<u8>)| {
            let mut file = debian();
            change(&mut file);
            parse(&file).err()
        };
        let damaged = Some(ImageError::Damaged { what: "setup header" });
        assert_eq!(refused(|file| file.truncate(0x210)), damaged);
        assert_eq!(refused(|file| file.truncate(40 * SECTOR)), damaged);
        assert_eq!(refused(|file| file[ALIGNMENT] = 3), damaged);
        assert_eq!(refused(|file| file[PREF_ADDRESS + 4] = 1), damaged);
        assert_eq!(refused(|file| file[PREF_ADDRESS + 3] = 0xff), damaged);
        assert_eq!(
            refused(|file| file[INIT_SIZE + 3] = 0x7f),
            Some(ImageError::TooLarge { size: 0x7f13_5000, limit: 1 << 30 })
        );
        assert_eq!(
            refused(|file| file[VERSION] = 9),
            Some(ImageError::OldBzImage { version: 0x209 })
        );
        assert!(!is_bzimage(b"\x7fELF"));
    }
}
