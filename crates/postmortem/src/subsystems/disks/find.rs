//! Disks and partitions, found through the class of block devices.

use super::super::holes::Holes;
use crate::{Error, Kernel, Object};

/// Most partitions of a disk.
const MOST_PARTS: u64 = 1024;

/// The disks: `struct gendisk`.
pub(super) fn disks<'k>(
    kernel: &'k Kernel<'k>,
    holes: &mut Holes,
) -> Result<Vec<Object<'k>>, Error> {
    let nodes = class(kernel)?.field("klist_devices.k_list")?.list("struct klist_node", "n_node");
    let mut found = Vec::new();
    for node in holes.walk("block devices", nodes) {
        found.extend(holes.take("block device", disk_of(&node)).flatten());
    }
    Ok(found)
}

/// The disk of a node of the class; [`None`] for a partition.
fn disk_of<'k>(node: &Object<'k>) -> Result<Option<Object<'k>>, Error> {
    let private = node.container_of("struct device_private", "knode_class")?;
    let device = private.field("device")?.deref()?;
    if device.field("type.name")?.text()? != "disk" {
        return Ok(None);
    }
    let has_disk = node.kernel().types().has_field("struct block_device", "bd_device");
    match has_disk {
        true => {
            let whole = device.container_of("struct block_device", "bd_device")?;
            whole.field("bd_disk")?.deref().map(Some)
        }
        false => device.container_of("struct gendisk", "part0.__dev").map(Some),
    }
}

/// The `struct subsys_private` of the class: the class points to it before 6.4; later it is in the
/// list of all classes.
fn class<'k>(kernel: &'k Kernel<'k>) -> Result<Object<'k>, Error> {
    let class = kernel.global("block_class")?;
    if class.has("p") {
        return class.field("p")?.deref();
    }
    let all = kernel.global("class_kset")?.field("list")?;
    for object in all.list("struct kobject", "entry")? {
        let private = object?.container_of("struct subsys_private", "subsys.kobj")?;
        if private.field("class")?.number()? == class.address() {
            return Ok(private);
        }
    }
    Err(Error::Missing("the class of block devices is not in the list of classes".to_owned()))
}

/// The whole disk, and its partitions.
pub(super) fn volumes<'k>(gendisk: &Object<'k>) -> Result<(Object<'k>, Vec<Object<'k>>), Error> {
    let whole = gendisk.field("part0")?;
    if whole.has("dkstats") {
        return Ok((whole, table(gendisk)?));
    }
    let whole = whole.deref()?;
    let mut parts = Vec::new();
    for entry in gendisk.field("part_tbl")?.indexed("struct block_device")? {
        let (number, part) = entry?;
        if number > 0 {
            parts.push(part);
        }
    }
    Ok((whole, parts))
}

/// The partitions of the table of kernels before 5.11; the first entry is the whole disk.
fn table<'k>(gendisk: &Object<'k>) -> Result<Vec<Object<'k>>, Error> {
    let Some(table) = gendisk.field("part_tbl")?.deref_or_null()? else { return Ok(Vec::new()) };
    let entries = table.field("part")?;
    let mut parts = Vec::new();
    for number in 1..table.field("len")?.number()?.min(MOST_PARTS) {
        parts.extend(entries.index(number)?.deref_or_null()?);
    }
    Ok(parts)
}
