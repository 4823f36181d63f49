//! The parts that our i386 images need below their `main`: entry code, descriptor tables,
//! exceptions, interrupts, the 16550, the TSC, the local APIC, PCI configuration space, PAE page
//! tables, ways to stop the machine. Mechanism only: no policy, no formats.
//!
//! On the host this crate is empty; `xtask` locates its folder to find the target description
//! (`i686-kdump.json`), and build scripts of the images find the linker scripts in `link/`.
//!
//! An image says `boot_stub::entry!(main, failed)` and links with one of the scripts:
//!
//! | script | entry | main's arguments |
//! |---|---|---|
//! | `purgatory.ld`, `guest.ld` | `flat_entry32`, paging off | EAX, EBX as the caller left them |
//! | `purgatory.ld` | also `flat_entry64`, 64-bit mode | nothing |
//! | `capture-kernel.ld` | `linux_entry32`, paging on | boot_params (physical), physical minus virtual |

#![no_std]
#![cfg(target_os = "none")]

pub mod apic;
pub mod console;
pub mod double_fault;
mod entry;
pub mod exceptions;
mod fail;
mod frame;
mod gates;
pub mod heap;
pub mod identity;
pub mod interrupts;
pub mod machine_check;
pub mod paging;
pub mod pci_config;
pub mod power;
mod segments;
pub mod tsc;
pub mod uart;

pub use fail::fail;
pub use segments::{CODE_SELECTOR, DATA_SELECTOR};

/// Names the two functions that the entry code and the exception handlers call:
/// `main(u32, u32) -> !` and `failed() -> !`, the failure action.
#[macro_export]
macro_rules! entry {
    ($main:ident, $failed:ident) => {
        #[expect(unsafe_code, reason = "symbols that boot-stub's assembly calls")]
        mod boot_stub_symbols {
            #[unsafe(no_mangle)]
            extern "C" fn kernel_main(first: u32, second: u32) -> ! {
                super::$main(first, second)
            }

            #[unsafe(no_mangle)]
            extern "C" fn kernel_failed() -> ! {
                super::$failed()
            }
        }
    };
}
