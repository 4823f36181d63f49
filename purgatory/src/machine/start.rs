//! The way through purgatory, from stage to stage.

use crate::machine::{jump, params, verify};
use boot_stub::console::{self, println};
use boot_stub::{exceptions, power};
use handoff::Stage;
use handoff::purgatory::{ON_MISMATCH_HALT, STATE_SEALED};

boot_stub::entry!(main, failed);

fn main(_: u32, _: u32) -> ! {
    exceptions::init();
    let params = params::get();
    let known = verify::block(params);
    console::init(if known { params.console_port as u16 } else { console::COM1 });
    console::stage(Stage::Purgatory);
    if !known {
        println!("kdump: purgatory: the parameter block is damaged; nothing in it is followed");
        failed()
    }
    if params.state != STATE_SEALED {
        println!(
            "kdump: purgatory: the slot image is not sealed (state {}): the first kernel built no \
             ELF core header",
            params.state
        );
        failed()
    }
    if !verify::regions(params) {
        failed()
    }
    jump::back_up(&params.backup);
    console::stage(Stage::Verified);
    jump::to_kernel(params.entry, params.boot_params)
}

/// The action on a mismatch. A block that does not verify cannot choose it: then it is a reset.
fn failed() -> ! {
    println!("kdump: purgatory: no capture; stage={}", console::current_stage());
    let params = params::get();
    if verify::block(params) && params.on_mismatch == ON_MISMATCH_HALT {
        power::halt()
    }
    power::reset()
}
