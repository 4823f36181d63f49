//! How this build of the kernel lays out its log: VMCOREINFO says it, nothing is assumed.

use crate::{Error, vmcoreinfo_get};

/// The longest structure that is believed, in bytes. The kernel's have about a hundred.
const MAX_STRUCT: u64 = 64 << 10;

/// Offsets and sizes in bytes, of Linux' `kernel/printk/printk_ringbuffer.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Virtual address of the pointer to the ring.
    pub(super) prb: u64,
    /// Length of a `long`: 4 or 8.
    pub(super) word: usize,
    /// In `printk_ringbuffer`: how many descriptors there are, as a power of two.
    pub(super) count_bits: u64,
    /// In `printk_ringbuffer`: the pointer to the descriptors.
    pub(super) descs: u64,
    /// In `printk_ringbuffer`: the pointer to the `printk_info`s.
    pub(super) infos: u64,
    /// In `printk_ringbuffer`: id of the newest descriptor.
    pub(super) head_id: u64,
    /// In `printk_ringbuffer`: id of the oldest descriptor.
    pub(super) tail_id: u64,
    /// In `printk_ringbuffer`: how long the text ring is, as a power of two.
    pub(super) size_bits: u64,
    /// In `printk_ringbuffer`: the pointer to the text ring.
    pub(super) data: u64,
    /// Length of a descriptor.
    pub(super) desc_size: u64,
    /// In `prb_desc`: its id and state.
    pub(super) state: u64,
    /// In `prb_desc`: where its block begins.
    pub(super) begin: u64,
    /// In `prb_desc`: where the next block begins.
    pub(super) next: u64,
    /// Length of a `printk_info`.
    pub(super) info_size: u64,
    /// In `printk_info`: the number of the record (64 bits).
    pub(super) seq: u64,
    /// In `printk_info`: its time (64 bits).
    pub(super) ts_nsec: u64,
    /// In `printk_info`: length of its text (16 bits).
    pub(super) text_len: u64,
    /// In `printk_info`: who wrote it (32 bits).
    pub(super) caller_id: u64,
}

impl Layout {
    /// Reads the layout from the text of a VMCOREINFO note.
    ///
    /// # Errors
    /// [`Error::NoKey`] or [`Error::BadKey`].
    pub(super) fn parse(text: &[u8]) -> Result<Self, Error> {
        let size = |key| number(text, key);
        let counter = size("OFFSET(atomic_long_t.counter)")?;
        let desc_ring = size("OFFSET(printk_ringbuffer.desc_ring)")?;
        let text_ring = size("OFFSET(printk_ringbuffer.text_data_ring)")?;
        let lpos = size("OFFSET(prb_desc.text_blk_lpos)")?;
        Ok(Self {
            prb: address(text, "SYMBOL(prb)")?,
            word: word(text)?,
            count_bits: desc_ring + size("OFFSET(prb_desc_ring.count_bits)")?,
            descs: desc_ring + size("OFFSET(prb_desc_ring.descs)")?,
            infos: desc_ring + size("OFFSET(prb_desc_ring.infos)")?,
            head_id: desc_ring + size("OFFSET(prb_desc_ring.head_id)")? + counter,
            tail_id: desc_ring + size("OFFSET(prb_desc_ring.tail_id)")? + counter,
            size_bits: text_ring + size("OFFSET(prb_data_ring.size_bits)")?,
            data: text_ring + size("OFFSET(prb_data_ring.data)")?,
            desc_size: size("SIZE(prb_desc)")?,
            state: size("OFFSET(prb_desc.state_var)")? + counter,
            begin: lpos + size("OFFSET(prb_data_blk_lpos.begin)")?,
            next: lpos + size("OFFSET(prb_data_blk_lpos.next)")?,
            info_size: size("SIZE(printk_info)")?,
            seq: size("OFFSET(printk_info.seq)")?,
            ts_nsec: size("OFFSET(printk_info.ts_nsec)")?,
            text_len: size("OFFSET(printk_info.text_len)")?,
            caller_id: size("OFFSET(printk_info.caller_id)")?,
        })
    }
}

/// Length of a `long` in bytes.
fn word(text: &[u8]) -> Result<usize, Error> {
    let key = "SIZE(atomic_long_t)";
    match number(text, key)? {
        4 => Ok(4),
        8 => Ok(8),
        _ => Err(Error::BadKey { key }),
    }
}

/// The address of a symbol: hexadecimal without `0x`.
fn address(text: &[u8], key: &'static str) -> Result<u64, Error> {
    let value = vmcoreinfo_get(text, key).ok_or(Error::NoKey { key })?;
    u64::from_str_radix(value, 16).map_err(|_| Error::BadKey { key })
}

/// A size or an offset: decimal, and small enough that a few can be added up.
fn number(text: &[u8], key: &'static str) -> Result<u64, Error> {
    let value = vmcoreinfo_get(text, key).ok_or(Error::NoKey { key })?;
    value.parse().ok().filter(|number| *number <= MAX_STRUCT).ok_or(Error::BadKey { key })
}
