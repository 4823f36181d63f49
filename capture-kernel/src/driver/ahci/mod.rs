//! SATA disks behind an AHCI HBA (AHCI 1.3.1, ATA8-ACS): no interrupts, native command queuing
//! where the HBA and the disk have it, else one command after another.
//!
//! The HBA comes as the dead kernel left it: ports run, commands are in flight. [`quiet`] takes all
//! ports down and resets the HBA, before it can do DMA again. [`Ahci::start`] brings up the links,
//! and [`Controller::select`] makes one port's disk ready. Memory that the HBA may use is ours until it has confirmed another reset.
//!
//! [`Controller::select`]: super::controller::Controller::select

mod command;
mod disk;
mod hba;
mod identity;
mod port;
mod registers;
mod requests;
#[cfg(test)]
mod tests;

pub use disk::Ahci;
pub use hba::quiet;
