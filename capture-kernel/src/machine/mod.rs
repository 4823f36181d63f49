//! All that touches the machine itself.

mod action;
mod boot;
mod capture;
mod com_port;
mod devices;
mod heap;
mod iommu;
mod logger;
mod mmio_bus;
mod oldmem;
mod pci_bus;
mod progress;
mod registers;
mod time;
mod truth;
mod views;
mod watchdog;
