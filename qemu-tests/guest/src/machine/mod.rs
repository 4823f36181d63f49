//! All that touches the machine itself.

mod command_line;
mod core_header;
mod cpu;
mod cpus;
mod crash;
mod death;
mod edu;
mod heap;
mod interrupt;
mod io_apic;
mod lone_bytes;
mod memory;
mod multiboot;
mod nmi;
mod note;
mod role;
mod slot;
mod smp;
mod start;
mod stop;
