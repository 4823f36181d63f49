//! Names of functions of modules, which the kernel's own symbols do not have.

use linux::{Budget, Frame, Most, Trust};

use super::cpu::CpuTimers;
use crate::Kernel;

/// Names the functions that only have an address.
pub(super) fn of_modules(kernel: &Kernel<'_>, cpus: &mut [CpuTimers]) {
    let mut names: Vec<&mut String> = Vec::new();
    for cpu in cpus {
        for timer in cpu.wheels.iter_mut().flat_map(|wheel| &mut wheel.timers) {
            names.push(&mut timer.name);
            names.extend(&mut timer.work);
        }
        let clocks = cpu.clocks.iter_mut().flat_map(|clock| &mut clock.timers);
        names.extend(clocks.map(|timer| &mut timer.name));
    }
    let address = |name: &str| u64::from_str_radix(name.strip_prefix("0x")?, 16).ok();
    let unnamed = names.into_iter().filter_map(|name| Some((address(name)?, name)));
    let unnamed: Vec<_> = unnamed.filter(|(function, _)| *function != 0).collect();
    let frame = |at: u64| Frame { at, is_return: false, trust: Trust::Sure };
    let frames: Vec<_> = unnamed.iter().map(|(function, _)| frame(*function)).collect();
    let (go_on, most) = (&mut || true, Most::HOST.names);
    let names = kernel.dead().names(frames.iter(), most, &mut Budget::new(go_on));
    for (frame, (_, name)) in frames.iter().zip(unnamed) {
        let Some(found) = names.get(frame) else { continue };
        let module = found.module.map(|module| format!(" [{module}]")).unwrap_or_default();
        *name = format!("{}{module}", found.name);
    }
}
