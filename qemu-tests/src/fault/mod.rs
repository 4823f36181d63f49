//! Faults that a cycle causes: one file a fault, with all that it changes. To add one: its name in
//! `kind.rs`, its file, its line in `table.rs`.

mod balloon;
mod busy_disk;
mod corrupt_vmcore;
mod damaged_segment;
mod damaged_symbols;
mod deaf_cpu;
mod disk;
mod hang;
mod holes;
pub mod hooks;
mod hotplug;
pub mod kind;
mod machine_check;
mod machine_check_in_look;
mod machine_check_in_note;
mod missing_cpu;
mod nmi;
mod nmi_at;
mod nmi_button;
mod no_symbols;
mod oops;
mod other_reservation;
mod qemu_dies;
mod stray_write;
pub mod table;
mod unsealed;
mod wrong_segment;
mod wrong_slot_image;
