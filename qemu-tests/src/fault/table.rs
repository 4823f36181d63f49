//! Every fault and its hooks.

use crate::fault::balloon::Balloon;
use crate::fault::busy_disk::BusyDisk;
use crate::fault::corrupt_vmcore::CorruptVmcore;
use crate::fault::damaged_segment::DamagedSegment;
use crate::fault::damaged_symbols::DamagedSymbols;
use crate::fault::deaf_cpu::DeafCpu;
use crate::fault::disk::{Disk, DiskSize};
use crate::fault::hang::Hang;
use crate::fault::holes::Holes;
use crate::fault::hooks::{Hooks, NoFault};
use crate::fault::hotplug::Hotplug;
use crate::fault::kind::Fault;
use crate::fault::machine_check::MachineCheck;
use crate::fault::machine_check_in_look::MachineCheckInLook;
use crate::fault::machine_check_in_note::MachineCheckInNote;
use crate::fault::missing_cpu::MissingCpu;
use crate::fault::nmi::Nmi;
use crate::fault::nmi_at::NmiAt;
use crate::fault::nmi_button::NmiButton;
use crate::fault::no_symbols::NoSymbols;
use crate::fault::oops::Oops;
use crate::fault::other_reservation::OtherReservation;
use crate::fault::qemu_dies::QemuDies;
use crate::fault::stray_write::StrayWrite;
use crate::fault::unsealed::Unsealed;
use crate::fault::wrong_segment::WrongSegment;
use crate::fault::wrong_slot_image::WrongSlotImage;

/// The hooks of a cycle's fault.
pub fn hooks(fault: Option<Fault>) -> Box<dyn Hooks> {
    let Some(fault) = fault else { return Box::new(NoFault) };
    match fault {
        Fault::StrayWrite => Box::new(StrayWrite::default()),
        Fault::CorruptVmcore => Box::new(CorruptVmcore),
        Fault::Holes(count) => Box::new(Holes(count)),
        Fault::Oops => Box::new(Oops::INVALID),
        Fault::NullDereference => Box::new(Oops::NULL),
        Fault::GeneralProtection => Box::new(Oops::PROTECTION),
        Fault::StackOverflow => Box::new(Oops::STACK),
        Fault::EndlessLoop => Box::new(Oops::ENDLESS),
        Fault::NoSymbols => Box::new(NoSymbols),
        Fault::DeafCpu(cpu) => Box::new(DeafCpu(cpu)),
        Fault::MissingCpu => Box::new(MissingCpu),
        Fault::DamagedSymbols => Box::new(DamagedSymbols),
        Fault::DamagedSegment { name, offset } => Box::new(DamagedSegment { name, offset }),
        Fault::WrongSegment { name, change } => Box::new(WrongSegment { name, change }),
        Fault::WrongSlotImage(change) => Box::new(WrongSlotImage(change)),
        Fault::OtherReservation(slot) => Box::new(OtherReservation(slot)),
        Fault::Unsealed => Box::new(Unsealed),
        Fault::Disk(attachment) => Box::new(Disk(attachment)),
        Fault::DiskSize(size) => Box::new(DiskSize(size)),
        Fault::QemuDies => Box::new(QemuDies),
        Fault::Nmi => Box::new(Nmi),
        Fault::NmiButton => Box::new(NmiButton),
        Fault::NmiAt(place) => Box::new(NmiAt::new(place)),
        Fault::BusyDisk(controller) => Box::new(BusyDisk::new(controller)),
        Fault::MachineCheckInNote => Box::new(MachineCheckInNote::default()),
        Fault::MachineCheckInLook { large } => Box::new(MachineCheckInLook::new(large)),
        Fault::MachineCheck { context_corrupt } => Box::new(MachineCheck { context_corrupt }),
        Fault::Hang => Box::new(Hang),
        Fault::Balloon(bytes) => Box::new(Balloon(bytes)),
        Fault::Hotplug { size, left } => Box::new(Hotplug::new(size, left)),
    }
}
