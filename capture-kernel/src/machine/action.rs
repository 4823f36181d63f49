//! The end: the final action after a dump, the failure action otherwise.

use crate::machine::{truth, watchdog};
use boot_stub::console::{self, println};
use boot_stub::{exceptions, machine_check, power};
use capture_kernel::targets::TargetError;
use cmdline::{Action, Options, PowerOff};
use core::sync::atomic::{AtomicBool, Ordering};
use handoff::Stage;
use spin::Once;

struct Actions {
    last: Action,
    failure: Action,
    power_off: Option<PowerOff>,
}

/// Actions of the command line. Before it is read: a reboot.
static ACTIONS: Once<Actions> = Once::new();

/// Stores the actions of `options`.
pub(crate) fn set(options: &Options<'_>) {
    ACTIONS.call_once(|| Actions {
        last: options.final_action,
        failure: options.failure_action,
        power_off: options.poweroff,
    });
}

/// After a complete dump.
pub(crate) fn finish() -> ! {
    println!("kdump: {} NMIs arrived during the capture", exceptions::nmi_count());
    println!("kdump: {} machine checks were survived", machine_check::count());
    console::stage(Stage::FinalAction);
    truth::kdump_truth_final();
    act(ACTIONS.get().map_or(Action::Reboot, |actions| actions.last))
}

/// Ends a capture whose dump did not leave the machine.
pub(crate) fn give_up(failure: TargetError) -> ! {
    println!("kdump: no dump: {failure}");
    on_failure()
}

/// Ends a kernel that cannot go on; also after an exception or an internal error. If that happens
/// here as well, the machine is reset without another word.
pub(crate) fn on_failure() -> ! {
    static FAILING: AtomicBool = AtomicBool::new(false);
    if FAILING.swap(true, Ordering::Relaxed) {
        power::reset()
    }
    console::release();
    println!("kdump: failed at stage={}", console::current_stage());
    console::stage(Stage::Failed);
    truth::kdump_truth_final();
    act(ACTIONS.get().map_or(Action::Reboot, |actions| actions.failure))
}

fn act(action: Action) -> ! {
    watchdog::stop();
    match (action, ACTIONS.get().and_then(|actions| actions.power_off)) {
        (Action::Halt, _) => {
            println!("kdump: halted");
            power::halt()
        }
        (Action::PowerOff, Some(port)) => {
            power::power_off(port.pm1a_control, port.sleep_type);
            println!("kdump: the machine did not power off; rebooting");
        }
        (Action::PowerOff, None) => {
            println!("kdump: no kdump.pm1a= on the command line: cannot power off; rebooting");
        }
        (Action::Reboot, _) => println!("kdump: rebooting"),
    }
    power::reset()
}
