//! The kinds of machine that QEMU emulates: attachment of the dump disk, and arguments for the
//! kernels.

use std::path::Path;

/// Addresses of the registers of the first two virtio transports of QEMU's microvm, and their
/// interrupts (`hw/i386/microvm.c`, `VIRTIO_MMIO_BASE` and `VIRTIO_IRQ_BASE`; without ACPI).
const TRANSPORTS: [&str; 2] =
    ["virtio_mmio.device=512@0xfeb00000:5", "virtio_mmio.device=512@0xfeb00200:6"];

/// One kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MachineType {
    /// QEMU's `pc`: virtio on the PCI bus.
    #[default]
    Pc,
    /// QEMU's `q35`: the same with PCI Express, which IOMMUs need. Less than 2.75 GiB of memory, so
    /// that all of it is below 4 GiB.
    Q35,
    /// QEMU's `microvm`: no PCI, no ACPI; virtio devices have their registers in memory, and
    /// kernels get their addresses.
    MicroVm,
}

impl MachineType {
    /// QEMU's value of `-machine`.
    pub fn argument(self) -> &'static str {
        match self {
            Self::Pc => "pc,memory-backend=ram",
            Self::Q35 => "q35,memory-backend=ram",
            Self::MicroVm => {
                "microvm,memory-backend=ram,acpi=off,isa-serial=on,pit=on,pic=on,rtc=on"
            }
        }
    }

    /// Properties of the machine's own devices. A microvm's transports are legacy-only by
    /// themselves.
    pub fn globals(self) -> &'static [&'static str] {
        match self {
            Self::Pc | Self::Q35 => &[],
            Self::MicroVm => &["-global", "virtio-mmio.force-legacy=false"],
        }
    }

    /// QEMU's value of `-device` for the dump disk, up to its properties.
    pub fn disk_device(self) -> &'static str {
        match self {
            Self::Pc | Self::Q35 => "virtio-blk-pci",
            Self::MicroVm => "virtio-blk-device,bus=virtio-mmio-bus.0",
        }
    }

    /// QEMU's value of `-device` for a virtio SCSI controller.
    pub fn scsi_device(self) -> &'static str {
        match self {
            Self::Pc | Self::Q35 => "virtio-scsi-pci",
            Self::MicroVm => "virtio-scsi-device,bus=virtio-mmio-bus.0",
        }
    }

    /// QEMU's value of `-device` for the virtio console.
    pub fn console_device(self) -> &'static str {
        match self {
            Self::Pc | Self::Q35 => "virtio-serial-pci",
            Self::MicroVm => "virtio-serial-device,bus=virtio-mmio-bus.1",
        }
    }

    /// Words by which a kernel finds the dump disk and the virtio console, as far as they are
    /// `used`. QEMU itself passes them to a Linux, but not to a multiboot kernel.
    pub fn device_words(self, used: [bool; 2]) -> String {
        let words = TRANSPORTS.iter().zip(used).filter(|(_, used)| *used);
        match self {
            Self::Pc | Self::Q35 => String::new(),
            Self::MicroVm => words.map(|(word, _)| *word).collect::<Vec<_>>().join(" "),
        }
    }
}

/// A path as QEMU's option syntax wants it: a comma in it is doubled.
pub(crate) fn option_path(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
