//! Layout of the log in this build of the kernel. It comes from VMCOREINFO; nothing is assumed.
//!
//! Before Linux 5.10, VMCOREINFO has no length of a pointer. It has the length of `list_head`,
//! which is two pointers.

use crate::Error;
use vmcore::Vmcoreinfo;

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
    /// In `printk_info`: its writer (32 bits).
    pub(super) caller_id: u64,
    /// Bytes of a descriptor, and of a `printk_info`, up to the last of these fields.
    pub(super) used: [usize; 2],
}

/// The most bytes of a descriptor or a `printk_info` that are read. The kernel's fields lie within
/// the first 24.
pub(super) const MOST_USED: usize = 128;

impl Layout {
    /// Reads the layout from the text of a VMCOREINFO note.
    ///
    /// # Errors
    /// [`Error::NoKey`] or [`Error::BadKey`].
    pub(super) fn parse(text: &[u8]) -> Result<Self, Error> {
        let text = &Vmcoreinfo::new(text);
        // In the order in which Linux writes the keys.
        let size = |key| number(text, key);
        let prb = address(text, "SYMBOL(prb)")?;
        let desc_ring = size("OFFSET(printk_ringbuffer.desc_ring)")?;
        let text_ring = size("OFFSET(printk_ringbuffer.text_data_ring)")?;
        let mut layout = Self {
            prb,
            count_bits: desc_ring + size("OFFSET(prb_desc_ring.count_bits)")?,
            descs: desc_ring + size("OFFSET(prb_desc_ring.descs)")?,
            infos: desc_ring + size("OFFSET(prb_desc_ring.infos)")?,
            head_id: desc_ring + size("OFFSET(prb_desc_ring.head_id)")?,
            tail_id: desc_ring + size("OFFSET(prb_desc_ring.tail_id)")?,
            desc_size: size("SIZE(prb_desc)")?,
            state: size("OFFSET(prb_desc.state_var)")?,
            begin: size("OFFSET(prb_data_blk_lpos.begin)")?,
            next: size("OFFSET(prb_data_blk_lpos.next)")?,
            info_size: size("SIZE(printk_info)")?,
            seq: size("OFFSET(printk_info.seq)")?,
            ts_nsec: size("OFFSET(printk_info.ts_nsec)")?,
            text_len: size("OFFSET(printk_info.text_len)")?,
            caller_id: size("OFFSET(printk_info.caller_id)")?,
            size_bits: text_ring + size("OFFSET(prb_data_ring.size_bits)")?,
            data: text_ring + size("OFFSET(prb_data_ring.data)")?,
            word: word(text)?,
            used: [0; 2],
        };
        let counter = size("OFFSET(atomic_long_t.counter)")?;
        for field in [&mut layout.head_id, &mut layout.tail_id, &mut layout.state] {
            *field += counter;
        }
        let block = size("OFFSET(prb_desc.text_blk_lpos)")?;
        for field in [&mut layout.begin, &mut layout.next] {
            *field += block;
        }
        let Self { word, state, begin, next, seq, ts_nsec, text_len, caller_id, .. } = layout;
        let desc = state.max(begin).max(next) + word as u64;
        let info = (seq + 8).max(ts_nsec + 8).max(text_len + 2).max(caller_id + 4);
        let fits = |key, used: u64, size: u64| match used {
            used if used <= size.min(MOST_USED as u64) => Ok(used as usize),
            _ => Err(Error::BadKey { key }),
        };
        layout.used = [
            fits("SIZE(prb_desc)", desc, layout.desc_size)?,
            fits("SIZE(printk_info)", info, layout.info_size)?,
        ];
        Ok(layout)
    }
}

/// VMCOREINFO's description of the log of Linux 3.5 to 5.9 (`log_buf_vmcoreinfo_setup`): virtual
/// addresses of variables, offsets and sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BufferLayout {
    /// Length of a pointer: 4 or 8.
    pub(super) word: usize,
    /// Address of the pointer to the buffer.
    pub(super) log_buf: u64,
    /// Address of the buffer's length (32 bits).
    pub(super) log_buf_len: u64,
    /// Address of the index of the oldest record (32 bits).
    pub(super) log_first_idx: u64,
    /// Address of the index after the newest record (32 bits).
    pub(super) log_next_idx: u64,
    /// Length of a record's header.
    pub(super) size: u64,
    /// In the header: the time (64 bits).
    pub(super) ts_nsec: u64,
    /// In the header: length of the whole record (16 bits).
    pub(super) len: u64,
    /// In the header: length of the text after it (16 bits).
    pub(super) text_len: u64,
    /// In the header: the caller (32 bits), if the kernel was built to store it.
    pub(super) caller_id: Option<u64>,
}

/// The keys of a header: its size, its time, lengths of record and text, caller.
type HeaderKeys = [&'static str; 5];
/// Keys since Linux 3.11.
const PRINTK_LOG: HeaderKeys = [
    "SIZE(printk_log)",
    "OFFSET(printk_log.ts_nsec)",
    "OFFSET(printk_log.len)",
    "OFFSET(printk_log.text_len)",
    "OFFSET(printk_log.caller_id)",
];
/// Keys before Linux 3.11.
const LOG: HeaderKeys = [
    "SIZE(log)",
    "OFFSET(log.ts_nsec)",
    "OFFSET(log.len)",
    "OFFSET(log.text_len)",
    "OFFSET(log.caller_id)",
];
/// Smallest header in bytes, from its fields.
const MIN_HEADER: u64 = 16;

impl BufferLayout {
    /// Reads the layout from the text of a VMCOREINFO note.
    ///
    /// # Errors
    /// [`Error::NoKey`] or [`Error::BadKey`].
    pub(super) fn parse(text: &[u8]) -> Result<Self, Error> {
        let text = &Vmcoreinfo::new(text);
        let is_older = text.get(LOG[0]).is_some();
        let [size, ts_nsec, len, text_len, caller_id] = if is_older { LOG } else { PRINTK_LOG };
        let header = number(text, size)?;
        if header < MIN_HEADER {
            return Err(Error::BadKey { key: size });
        }
        let has_caller = text.get(caller_id).is_some();
        Ok(Self {
            word: pointer(text)?,
            log_buf: address(text, "SYMBOL(log_buf)")?,
            log_buf_len: address(text, "SYMBOL(log_buf_len)")?,
            log_first_idx: address(text, "SYMBOL(log_first_idx)")?,
            log_next_idx: address(text, "SYMBOL(log_next_idx)")?,
            size: header,
            ts_nsec: number(text, ts_nsec)?,
            len: number(text, len)?,
            text_len: number(text, text_len)?,
            caller_id: has_caller.then(|| number(text, caller_id)).transpose()?,
        })
    }
}

/// VMCOREINFO's description of the log before Linux 3.5 (`log_buf_kexec_setup`): virtual addresses
/// of variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinesLayout {
    /// Length of a pointer: 4 or 8.
    pub(super) word: usize,
    /// Address of the pointer to the ring.
    pub(super) log_buf: u64,
    /// Address of the ring's length (32 bits).
    pub(super) log_buf_len: u64,
    /// Address of the number of bytes ever written (32 bits).
    pub(super) log_end: u64,
}

impl LinesLayout {
    /// Reads the layout from the text of a VMCOREINFO note.
    ///
    /// # Errors
    /// [`Error::NoKey`] or [`Error::BadKey`].
    pub(super) fn parse(text: &[u8]) -> Result<Self, Error> {
        let text = &Vmcoreinfo::new(text);
        Ok(Self {
            word: pointer(text)?,
            log_buf: address(text, "SYMBOL(log_buf)")?,
            log_buf_len: address(text, "SYMBOL(log_buf_len)")?,
            log_end: address(text, "SYMBOL(log_end)")?,
        })
    }
}

/// Length of a pointer in bytes.
fn pointer(text: &Vmcoreinfo<'_>) -> Result<usize, Error> {
    let key = "SIZE(list_head)";
    match number(text, key)? {
        8 => Ok(4),
        16 => Ok(8),
        _ => Err(Error::BadKey { key }),
    }
}

/// Length of a `long` in bytes.
fn word(text: &Vmcoreinfo<'_>) -> Result<usize, Error> {
    let key = "SIZE(atomic_long_t)";
    match number(text, key)? {
        4 => Ok(4),
        8 => Ok(8),
        _ => Err(Error::BadKey { key }),
    }
}

/// The address of a symbol: hexadecimal without `0x`.
fn address(text: &Vmcoreinfo<'_>, key: &'static str) -> Result<u64, Error> {
    let value = text.get(key).ok_or(Error::NoKey { key })?;
    u64::from_str_radix(value, 16).map_err(|_| Error::BadKey { key })
}

/// A size or an offset: decimal, and small enough that a few can be added up.
fn number(text: &Vmcoreinfo<'_>, key: &'static str) -> Result<u64, Error> {
    let value = text.get(key).ok_or(Error::NoKey { key })?;
    value.parse().ok().filter(|number| *number <= MAX_STRUCT).ok_or(Error::BadKey { key })
}
