//! The controllers that a dump disk can be on: QEMU's devices for each, and Linux's drivers.

use crate::host::machine_type::MachineType;

/// QEMU's id of a controller that has disks beside it; its bus is `BUS.0`.
const BUS: &str = "disks";
/// Properties of a disk. All others are its controller's, where that is a device of its own.
const OF_DISKS: [&str; 7] = [
    "logical_block_size",
    "physical_block_size",
    "lun",
    "scsi-id",
    "serial",
    "write-cache",
    "removable",
];

/// One kind of controller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// A disk that is a virtio device.
    #[default]
    VirtioBlk,
    /// A SCSI controller that is a virtio device.
    VirtioScsi,
    /// NVM Express.
    Nvme,
    /// SATA.
    Ahci,
}

impl Controller {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::VirtioBlk, Self::VirtioScsi, Self::Nvme, Self::Ahci];

    /// Its word on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::VirtioBlk => "virtio-blk",
            Self::VirtioScsi => "virtio-scsi",
            Self::Nvme => "nvme",
            Self::Ahci => "ahci",
        }
    }

    /// QEMU's values of `-device` for the controller with a disk whose drive is `drive`.
    /// `properties` are more properties, such as `disable-modern=on`, of the one or the other.
    ///
    /// On PCI a transitional virtio device.
    pub fn devices(self, machine: MachineType, drive: &str, properties: &str) -> Vec<String> {
        let all = properties.split(',').filter(|property| !property.is_empty());
        let is_of_disk =
            |property: &&str| OF_DISKS.iter().any(|key| property.split('=').next() == Some(key));
        let (disk, bus): (Vec<_>, Vec<_>) = all.partition(is_of_disk);
        let bus = match self {
            Self::VirtioBlk => None,
            Self::VirtioScsi => Some(format!("{},id={BUS}", machine.scsi_device())),
            Self::Nvme => Some(format!("nvme,id={BUS},serial={BUS}")),
            Self::Ahci => Some(format!("ahci,id={BUS}")),
        }
        .map(|device| joined(device, &bus))
        .into_iter();
        let disk = match self {
            Self::VirtioBlk => self.disk(machine, (0, drive), properties),
            _ => self.disk(machine, (0, drive), &disk.join(",")),
        };
        bus.chain([disk]).collect()
    }

    /// QEMU's value of `-device` for one disk, by its number on the controller and its drive;
    /// virtio-blk's disks are their own controllers.
    pub fn disk(
        self,
        machine: MachineType,
        (number, drive): (usize, &str),
        properties: &str,
    ) -> String {
        let device = match self {
            Self::VirtioBlk => machine.disk_device().to_string(),
            Self::VirtioScsi => format!("scsi-hd,bus={BUS}.0"),
            Self::Nvme => format!("nvme-ns,bus={BUS}"),
            Self::Ahci => format!("ide-hd,bus={BUS}.{number}"),
        };
        joined(format!("{device},drive={drive}"), &[properties])
    }

    /// Modules of a Linux with the driver of its disks, as paths below the package's folder of
    /// modules. Others that these need are not named.
    pub const fn modules(self) -> &'static [&'static str] {
        const VIRTIO: &str = "drivers/virtio/virtio_pci.ko";
        const DISK: &str = "drivers/scsi/sd_mod.ko";
        match self {
            Self::VirtioBlk => &[VIRTIO, "drivers/block/virtio_blk.ko"],
            Self::VirtioScsi => &[VIRTIO, "drivers/scsi/virtio_scsi.ko", DISK],
            Self::Nvme => &["drivers/nvme/host/nvme.ko"],
            Self::Ahci => &["drivers/ata/ahci.ko", DISK],
        }
    }
}

/// A device and its properties.
fn joined(device: String, properties: &[&str]) -> String {
    let properties = properties.iter().filter(|property| !property.is_empty());
    properties.fold(device, |device, property| format!("{device},{property}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_go_to_the_device_that_has_them() {
        let properties = "logical_block_size=4096,disable-legacy=on";
        let devices = |controller: Controller| {
            controller.devices(MachineType::Pc, "dump", properties).join(" ")
        };
        let blk = "virtio-blk-pci,drive=dump,logical_block_size=4096,disable-legacy=on";
        assert_eq!(devices(Controller::VirtioBlk), blk);
        let scsi = "virtio-scsi-pci,id=disks,disable-legacy=on \
                    scsi-hd,bus=disks.0,drive=dump,logical_block_size=4096";
        assert_eq!(devices(Controller::VirtioScsi), scsi);
        let nvme = Controller::Nvme.devices(MachineType::Pc, "dump", "");
        assert_eq!(nvme, ["nvme,id=disks,serial=disks", "nvme-ns,bus=disks,drive=dump"]);
    }
}
