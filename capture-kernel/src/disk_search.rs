//! The search for a dump disk: every disk of every controller, and its partitions.

use crate::bus::{Buses, Place, name};
use crate::driver::controller::{Controller, MOST_DISKS};
use crate::driver::kinds::{PCI_KINDS, Parts, Started, virtio_kinds};
use crate::driver::partition::Partition;
use crate::targets::TargetError;
use crate::targets::disk::{DumpDisk, locate};
use alloc::boxed::Box;
use dumpfile::DiskId;
use log::{info, warn};
use virtio_drivers::transport::Transport;

/// A dump disk on a controller of any kind.
pub type AnyDisk<'c> = DumpDisk<'c, Partition<Box<dyn Controller + 'c>>>;

/// The disk or partition on one of `buses` whose header carries `id`. The kinds of controllers come
/// in the order of [`crate::driver::kinds`], and for each disk its front before its partitions.
/// Controllers without the disk are stopped, and the reason for each disk is logged.
///
/// # Errors
/// [`TargetError::NoSuchDisk`].
pub fn find_disk<'c, T: Transport + 'c>(
    mut buses: Buses<'_, T>,
    id: DiskId,
    parts: Parts<'c>,
) -> Result<AnyDisk<'c>, TargetError> {
    for kind in virtio_kinds() {
        for bus in &mut buses {
            for place in bus.devices(kind.kind) {
                let transport = bus.start(place, parts.clock);
                let started = transport.and_then(|transport| (kind.start)(transport, parts));
                match take(started, (name(kind.kind), place), id, parts) {
                    Some(disk) => return Ok(disk),
                    None => bus.stop(place, parts.clock),
                }
            }
        }
    }
    for kind in PCI_KINDS {
        for bus in &mut buses {
            for place in bus.controllers(kind.class) {
                let started =
                    bus.registers(place, kind.bar, kind.length).and_then(|mut registers| {
                        (kind.quiet)(&mut *registers, parts.clock, parts.timeout)?;
                        parts.slot.translation.check()?;
                        bus.allow_dma(place);
                        (kind.start)(registers, parts)
                    });
                match take(started, (kind.name, place), id, parts) {
                    Some(disk) => return Ok(disk),
                    None => bus.stop(place, parts.clock),
                }
            }
        }
    }
    Err(TargetError::NoSuchDisk(id))
}

/// The disk of a controller that carries `id`. If it has none, the controller is stopped, and the
/// reasons are logged.
fn take<'c>(
    started: Started<'c>,
    (kind, place): (&str, Place),
    id: DiskId,
    parts: Parts<'c>,
) -> Option<AnyDisk<'c>> {
    let failure = match started {
        Ok(controller) => match look(controller, (kind, place), id, parts) {
            Ok(found) => return found,
            Err(failure) => failure,
        },
        Err(failure) => failure.into(),
    };
    warn!("{kind} at {place}: {failure}");
    None
}

/// Looks at each disk of a controller.
fn look<'c>(
    mut controller: Box<dyn Controller + 'c>,
    (kind, place): (&str, Place),
    id: DiskId,
    Parts { slot, clock, .. }: Parts<'c>,
) -> Result<Option<AnyDisk<'c>>, TargetError> {
    for index in 0..controller.disks().min(MOST_DISKS) {
        let disk = controller.disk_name(index);
        let looked = controller.select(index).map_err(TargetError::from).and_then(|()| {
            locate(&mut *controller, id, &mut |text| warn!("{kind} at {place}{disk}{text}"))
        });
        match looked {
            Ok(located) => {
                let partition = Partition::new(controller, located.place.clone())?;
                let found = DumpDisk::open(partition, id, slot, clock)?;
                info!("target {kind} at {place}{disk}{located}, id {id}");
                return Ok(Some(found));
            }
            Err(failure) => warn!("{kind} at {place}{disk}: {failure}"),
        }
    }
    controller.stop()?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::Dump;
    use crate::fake::{Disk, FakeBus, FakeClock, logged, slot};
    use crate::targets::Target;
    use dumpfile::{DiskError, DiskHeader};
    use std::string::String;
    use std::vec::Vec;
    use std::{format, vec};

    const OURS: DiskId = DiskId([0xa5; 16]);
    const OTHER: DiskId = DiskId([1; 16]);

    fn search(
        first: &mut FakeBus<Disk>,
        second: &mut FakeBus<Disk>,
    ) -> (Option<TargetError>, Vec<String>) {
        let clock = FakeClock::default();
        let parts = Parts { slot: slot(), clock: &clock, timeout: 100 };
        logged(|| find_disk([first, second], OURS, parts).err())
    }

    #[test]
    fn the_target_may_be_on_the_second_bus() {
        let mut first = FakeBus::with(&[OTHER]);
        let mut second = FakeBus::with(&[OTHER, OURS, OURS]);
        second.devices[0].borrow_mut().base.features |= 1 << 33;
        let (failure, said) = search(&mut first, &mut second);
        assert_eq!(failure, None);
        assert_eq!((first.stopped, first.devices[0].borrow().base.status), (vec![0x1000], 0));
        assert_eq!(
            (&second.started[..], &second.stopped[..]),
            (&[0x1000, 0x2000][..], &[0x1000][..])
        );
        assert!(said[1].contains("virtio-blk at MMIO 0x1000: ") && said[1].contains("IOMMU"));
        assert_eq!(said[2], std::format!("target virtio-blk at MMIO 0x2000, id {OURS}"));
    }

    #[test]
    fn without_the_id_nothing_is_written_and_all_are_stopped() {
        let mut buses = [FakeBus::with(&[]), FakeBus::with(&[OTHER, OTHER])];
        let [first, second] = &mut buses;
        assert_eq!(search(first, second).0, Some(TargetError::NoSuchDisk(OURS)));
        assert_eq!(second.stopped, [0x1000, 0x2000]);
        assert!(second.devices.iter().all(|disk| disk.borrow().writes == 0));
    }

    /// Start and length of each partition of [`partitioned`], in sectors of 512 bytes.
    const PARTITIONS: [(u32, u32); 3] = [(1, 62), (63, 401), (464, 48)];

    /// A disk with an MBR, whose partitions carry the headers with these ids.
    fn partitioned(ids: [DiskId; 3]) -> Vec<u8> {
        let mut bytes = vec![0xee; 512 << 9];
        bytes[446..512].fill(0);
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        for (index, ((start, count), id)) in PARTITIONS.into_iter().zip(ids).enumerate() {
            let entry = &mut bytes[446 + 16 * index..][..16];
            entry[4] = 0x83;
            entry[8..12].copy_from_slice(&start.to_le_bytes());
            entry[12..].copy_from_slice(&count.to_le_bytes());
            let header = DiskHeader::new(id).encode();
            bytes[(start as usize) << 9..][..8192].copy_from_slice(&[header, header].concat());
        }
        bytes
    }

    #[test]
    fn the_partition_with_the_id_is_written_and_nothing_else() {
        let before = partitioned([OTHER, OURS, OURS]);
        let disk = Disk::new(before.clone());
        let mut buses = [FakeBus::new(vec![disk.clone()]), FakeBus::new(vec![])];
        let [first, second] = &mut buses;
        let clock = FakeClock::default();
        let parts = Parts { slot: slot(), clock: &clock, timeout: 100 };
        let (found, said) = logged(|| find_disk([first, second], OURS, parts));
        let expected = [
            format!("virtio-blk at MMIO 0x1000, partition 1: a dump disk, but with id {OTHER}"),
            format!("target virtio-blk at MMIO 0x1000, partition 2, id {OURS}"),
        ];
        assert_eq!(said, expected);
        assert_eq!(disk.borrow().writes, 0);
        let dump = Dump { bulk: None, ..Dump::default() };
        let delivered = found.expect("is there").deliver(&dump, &mut |_| ());
        assert_eq!(delivered, Err(TargetError::NothingToSend));
        let after = &disk.borrow().bytes;
        let place = 63 << 9..464 << 9;
        assert_ne!(after[place.clone()], before[place.clone()]);
        assert_eq!(after[..place.start], before[..place.start]);
        assert_eq!(after[place.end..], before[place.end..]);
    }

    #[test]
    fn a_disk_without_the_id_is_named_once() {
        let [damaged, without] = [partitioned([OTHER; 3]), partitioned([OTHER; 3])];
        let (mut damaged, mut without) = (damaged, without);
        without[63 << 9..][..4].fill(0);
        // Partition 2 begins in partition 1, and partition 3 ends after the disk.
        damaged[446 + 16 + 8] = 60;
        damaged[446 + 32 + 12] = 49;
        let mut first = FakeBus::new([damaged, without].map(Disk::new).to_vec());
        let (failure, said) = search(&mut first, &mut FakeBus::with(&[]));
        assert_eq!(failure, Some(TargetError::NoSuchDisk(OURS)));
        let (one, other) = ("virtio-blk at MMIO 0x1000", "virtio-blk at MMIO 0x2000");
        let left = "leaves the disk, or the part of it that is for partitions: ignored";
        let not = "not a dump disk";
        let expected = [
            format!("{one}: partition 3 {left}"),
            format!("{one}: partitions 1 and 2 overlap: both ignored"),
            format!("{one}: {not}: {}", DiskError::NotOurs),
            format!("{other}, partition 1: a dump disk, but with id {OTHER}"),
            format!("{other}, partition 3: a dump disk, but with id {OTHER}"),
            format!("{other}: {not}, and none of its partitions (3) has the id"),
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn a_dump_disk_that_was_partitioned_since_is_no_dump_disk() {
        let mut front = [DiskHeader::new(OURS).encode(); 2].concat();
        let table = &partitioned([OTHER; 3])[446..512];
        front[446..512].copy_from_slice(table);
        let mut first = FakeBus::new(vec![Disk::new(front)]);
        let (failure, said) = search(&mut first, &mut FakeBus::with(&[]));
        assert_eq!(failure, Some(TargetError::NoSuchDisk(OURS)));
        assert!(said.last().is_some_and(|said| said.contains("now has a partition table")));
    }
}
