//! Swap areas (Linux, `mm/swapfile.c`).

use collector::Hex;
use serde::Serialize;

use super::holes::Holes;
use super::paths;
use super::zones::PAGE;
use crate::report::{Severity, Warning};
use crate::{Error, Kernel, Object};

/// Most swap areas (`MAX_SWAPFILES` is below 32).
const MOST: u64 = 64;
/// `S_IFMT` and `S_IFBLK` of POSIX's `st_mode`.
const KIND: u64 = 0o170_000;
const BLOCK_DEVICE: u64 = 0o060_000;

/// All swap areas.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Swap {
    /// By number.
    pub areas: Vec<SwapArea>,
    /// Parts that could not be read.
    pub missing: Vec<String>,
}

/// A swap area, as in `/proc/swaps`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SwapArea {
    /// Path of the file or device; in a mount of its own the path there.
    pub file: String,
    /// `partition` or `file`.
    pub kind: &'static str,
    /// Size in KiB.
    pub size_kib: u64,
    /// KiB in use.
    pub used_kib: u64,
    /// Its priority.
    pub priority: i64,
    /// Address of its `struct swap_info_struct`.
    pub address: Hex,
    /// False while it is being turned off.
    pub is_writable: bool,
}

/// Reads all swap areas.
///
/// # Errors
/// [`Error::NoSymbol`]: a kernel without swap.
pub fn read(kernel: &Kernel<'_>) -> Result<Swap, Error> {
    let mut holes = Holes::default();
    let mut areas = Vec::new();
    for info in used(kernel)? {
        areas.extend(holes.take("swap area", area(&info)));
    }
    Ok(Swap { areas, missing: holes.into_list() })
}

/// The areas that are in use.
fn used<'k>(kernel: &'k Kernel<'k>) -> Result<Vec<Object<'k>>, Error> {
    let table = kernel.global("swap_info")?;
    let count = kernel.global("nr_swapfiles")?.number()?.min(MOST);
    let is_used = kernel.types().enumerator("SWP_USED")? as u64;
    let mut found = Vec::new();
    for index in 0..count {
        if let Some(info) = table.index(index)?.deref_or_null()?
            && info.field("flags")?.number()? & is_used != 0
        {
            found.push(info);
        }
    }
    Ok(found)
}

fn area(info: &Object<'_>) -> Result<SwapArea, Error> {
    let number = |path: &str| info.field(path)?.number();
    let file = info.field("swap_file")?.deref()?;
    let mode = file.field("f_inode.i_mode")?.number()?;
    let writable = info.kernel().types().enumerator("SWP_WRITEOK")? as u64;
    Ok(SwapArea {
        file: paths::of_file(&file)?,
        kind: if mode & KIND == BLOCK_DEVICE { "partition" } else { "file" },
        size_kib: number("pages")?.saturating_mul(PAGE / 1024),
        used_kib: number("inuse_pages")?.saturating_mul(PAGE / 1024),
        priority: info.field("prio")?.signed()?,
        address: Hex(info.address()),
        is_writable: number("flags")? & writable == writable,
    })
}

/// Pages in use by areas that are being turned off: they count as free (Linux, `si_swapinfo`).
pub(crate) fn turned_off_pages(kernel: &Kernel<'_>) -> Result<u64, Error> {
    let writable = kernel.types().enumerator("SWP_WRITEOK")? as u64;
    let mut sum = 0_u64;
    for info in used(kernel)? {
        if info.field("flags")?.number()? & writable != writable {
            sum = sum.saturating_add(info.field("inuse_pages")?.number()?);
        }
    }
    Ok(sum)
}

/// A warning if nine tenths of the swap space are in use.
pub fn warnings(swap: &Swap) -> Vec<Warning> {
    let sum =
        |value: fn(&SwapArea) -> u64| swap.areas.iter().map(value).fold(0, u64::saturating_add);
    let (size, used) = (sum(|area| area.size_kib), sum(|area| area.used_kib));
    let is_full = size > 0 && used >= size - size / 10;
    let text = format!("swap is full: {used} of {size} KiB are in use");
    is_full
        .then_some(Warning { severity: Severity::Warning, text, section: "swap" })
        .into_iter()
        .collect()
}
