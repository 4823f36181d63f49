//! The capture kernel.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod kernel {
    use boot_stub::console::{self, println};
    use boot_stub::paging::AddressSpace;
    use boot_stub::{exceptions, power};
    use handoff::Stage;

    boot_stub::entry!(main, failed);

    #[expect(unsafe_code, reason = "the address space is taken once")]
    fn main(boot_params: u32, physical_minus_virtual: u32) -> ! {
        console::init(console::COM1);
        exceptions::init();
        // SAFETY: this is the main function that the entry code called, and the only call.
        let mut space = unsafe { AddressSpace::take(physical_minus_virtual) };
        exceptions::enable_machine_check();
        console::stage(Stage::CaptureEntry);
        println!(
            "image {:x?} boot_params {boot_params:#x} ro {}",
            space.image(),
            space.window_refuses_writes()
        );
        failed()
    }

    fn failed() -> ! {
        console::stage(Stage::Failed);
        power::reset()
    }
}

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("the capture kernel is an i386 image, not a program: use `cargo xtask build`");
    std::process::exit(2);
}
