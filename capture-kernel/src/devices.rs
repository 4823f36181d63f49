//! The search for devices on the buses: memory devices, and the device of a target.

use crate::Clock;
use crate::bus::{Buses, Place, find, name};
use crate::driver::Error;
use crate::driver::dma::SlotMemory;
use crate::driver::virtio::console::{PortList, PortName, VirtioConsole};
use crate::driver::virtio::mem::{self, Region};
use core::mem::ManuallyDrop;
use log::{info, warn};
use virtio_drivers::transport::{DeviceType, Transport};
use vmcore::{Holes, PhysRange};

/// Limits for the queries of virtio-mem devices about their unplugged memory, and the memory that
/// cannot be theirs.
pub struct Asking<'a> {
    /// Memory that no such device can have: the memory that we run in.
    pub ours: &'a [PhysRange],
    /// Most unplugged ranges that are recorded.
    pub most: usize,
    /// Memory for the queues.
    pub slot: SlotMemory,
    /// Milliseconds that one device may take.
    pub timeout: u64,
}

/// Adds to `holes` the unplugged memory of the virtio-mem devices on `buses`. Stops all of them,
/// and logs the result for each.
pub fn find_unplugged<T: Transport>(
    buses: Buses<'_, T>,
    asking: &Asking<'_>,
    holes: &mut Holes,
    clock: &dyn Clock,
) {
    let kind = DeviceType::Memory;
    for bus in buses {
        for place in bus.devices(kind) {
            let asked = bus
                .start(place, clock)
                .and_then(|transport| ask(transport, place, asking, holes, clock));
            if let Err(failure) = asked {
                warn!(
                    "{} at {place}: {failure}; its memory is not known, and may be read although it \
                     is unplugged",
                    name(kind)
                );
            }
            bus.stop(place, clock);
        }
    }
}

/// Asks one device. An error is that it is not known where its memory is.
fn ask<T: Transport>(
    transport: T,
    place: Place,
    Asking { ours, most, slot, timeout }: &Asking<'_>,
    holes: &mut Holes,
    clock: &dyn Clock,
) -> Result<(), Error> {
    // Dropping a transport waits for a reset without an end.
    let transport = ManuallyDrop::new(transport);
    let region = Region::read(&*transport)?;
    if ours.iter().any(|ours| ours.overlaps(region.range)) {
        return Err(Error::BadRegion);
    }
    let transport = ManuallyDrop::into_inner(transport);
    let name = name(DeviceType::Memory);
    let Region { range, plugged, .. } = region;
    info!("{name} at {place}: memory {range}, {plugged} of {} bytes are plugged", range.length());
    match mem::ask(transport, &region, (holes, *most), *slot, clock, *timeout) {
        Err(Error::NoMemory) => Err(Error::NoMemory),
        Err(failure) => {
            warn!("{name} at {place}: {failure}; the unanswered part is left out");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// The virtio console on one of `buses` that has a port called `name`. The others are
/// stopped, and the reason for each is logged.
///
/// # Errors
/// [`Error::NoSuchPort`], with the names that there are.
pub fn find_console<'c, T: Transport>(
    buses: Buses<'_, T>,
    name: PortName,
    slot: SlotMemory,
    clock: &'c dyn Clock,
    timeout: u64,
) -> Result<VirtioConsole<'c, T>, Error> {
    let mut all = PortList::default();
    let open = |transport| {
        VirtioConsole::open(transport, name, slot, clock, timeout).inspect_err(|failure| {
            if let Error::NoSuchPort { found, .. } = failure {
                all.join(found);
            }
        })
    };
    let found = find(buses, DeviceType::Console, clock, open);
    let (place, console) = found.ok_or(Error::NoSuchPort { name, found: all })?;
    info!("target virtio-console at {place}, port {name}");
    Ok(console)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Console, FakeBus, FakeClock, Mem, logged, slot};
    use alloc::vec::Vec;
    use core::cell::RefCell;
    use std::rc::Rc;
    use std::string::{String, ToString};
    use std::vec;
    use vmcore::PhysAddr;

    #[test]
    fn the_console_that_has_the_port_is_kept_and_the_others_are_stopped() {
        let consoles = [Console::new(), Console::new(), Console::new()];
        consoles[0].borrow_mut().ports = vec![(1, "one")];
        consoles[1].borrow_mut().base.features = 1 << 32;
        let mut first = FakeBus::new(consoles[..1].to_vec());
        let mut second = FakeBus::new(consoles[1..].to_vec());
        let clock = FakeClock::default();
        let buses: Buses<'_, _> = [&mut first, &mut second];
        let (found, said) =
            logged(|| find_console(buses, PortName::new("kdump"), slot(), &clock, 1000));
        found.expect("is there");
        assert_eq!((first.stopped, second.stopped), (vec![0x1000], vec![0x1000]));
        assert_eq!(consoles.map(|console| console.borrow().base.status == 0), [true, false, false]);
        let one = "virtio-console at MMIO 0x1000: no virtio-console has a port named kdump; ports \
                   found: one (";
        assert!(said[0].starts_with(one), "{}", said[0]);
        assert!(said[1].contains("MMIO 0x1000: a virtio console with a single nameless port"));
        assert_eq!(said[2], "target virtio-console at MMIO 0x2000, port kdump");
    }

    /// The holes and the messages for two devices, one of which is at `second`.
    fn unplugged(second: &Rc<RefCell<Mem>>, ours: &[PhysRange]) -> (Vec<String>, Vec<String>) {
        let first = Mem::new(1 << 32, vec![true, false]);
        let mut buses = [FakeBus::new(vec![first]), FakeBus::new(vec![second.clone()])];
        let (clock, mut holes) = (FakeClock::default(), Holes::new());
        let asking = Asking { ours, most: 64, slot: slot(), timeout: 100 };
        let [one, other] = &mut buses;
        let ((), said) = logged(|| find_unplugged([one, other], &asking, &mut holes, &clock));
        assert!(buses.iter().all(|bus| bus.stopped == [0x1000]));
        (holes.iter().map(|hole| hole.to_string()).collect(), said)
    }

    #[test]
    fn every_memory_device_is_asked() {
        let second = Mem::new(1 << 33, vec![false, true, true]);
        let (holes, said) = unplugged(&second, &[]);
        let expected =
            ["LEFTOUT(100200000-100400000)=unplugged", "LEFTOUT(200000000-200200000)=unplugged"];
        assert_eq!(holes, expected);
        let expected = "virtio-mem at MMIO 0x1000: memory 0x200000000..0x200600000, 4194304 of \
                        6291456 bytes are plugged";
        assert_eq!(said[1], expected);
    }

    #[test]
    fn a_memory_device_that_does_not_answer_is_named_and_left_out() {
        let second = Mem::new(1 << 33, vec![true, true]);
        second.borrow_mut().stalls_after = Some(0);
        let (holes, said) = unplugged(&second, &[]);
        assert_eq!(holes[1], "LEFTOUT(200000000-200400000)=virtio-mem device not answering");
        assert!(said[2].ends_with("the unanswered part is left out"), "{said:?}");
    }

    #[test]
    fn a_memory_device_that_claims_what_we_run_in_is_not_believed() {
        let second = Mem::new(1 << 24, vec![false, false]);
        let image = PhysRange::new(PhysAddr::new(0x120_0000), 0x1000).expect("no wrap");
        let (holes, said) = unplugged(&second, &[image]);
        assert_eq!(holes.len(), 1);
        assert!(said[1].contains("describes no region of memory"), "{said:?}");
        assert_eq!(second.borrow().requests, 0);
    }

    #[test]
    fn without_the_port_all_names_are_said() {
        let mut buses = [Console::new(), Console::new()].map(|console| FakeBus::new(vec![console]));
        buses[1].devices[0].borrow_mut().ports = vec![(7, "\x1b[2Jx"), (8, "another-long-name")];
        let [first, second] = &mut buses;
        let clock = FakeClock::default();
        let found = find_console([first, second], PortName::new("vmcore"), slot(), &clock, 1000);
        let failure = found.err().expect("is not there").to_string();
        let names = "named vmcore; ports found: hvc, org.qemu.guest_agent.0, kdump ... (QEMU";
        assert!(failure.contains(names), "{failure}");
        for bus in &buses {
            assert_eq!((&bus.stopped[..], bus.devices[0].borrow().base.status), (&[0x1000][..], 0));
        }
    }
}
