//! A dead i386 Linux, put together by hand.

#![allow(dead_code, reason = "each test file uses a part")]

/// VMCOREINFO of Debian's 6.1.0-50-686-pae, with `prb` moved to the vmcore's page.
pub const VMCOREINFO: &str = "OSRELEASE=6.1.0-50-686-pae\nPAGESIZE=4096\nSYMBOL(prb)=c0100000\n\
    OFFSET(printk_ringbuffer.desc_ring)=0\nOFFSET(printk_ringbuffer.text_data_ring)=24\n\
    OFFSET(prb_desc_ring.count_bits)=0\nOFFSET(prb_desc_ring.descs)=4\n\
    OFFSET(prb_desc_ring.infos)=8\nOFFSET(prb_desc_ring.head_id)=12\n\
    OFFSET(prb_desc_ring.tail_id)=16\nSIZE(prb_desc)=12\nOFFSET(prb_desc.state_var)=0\n\
    OFFSET(prb_desc.text_blk_lpos)=4\nOFFSET(prb_data_blk_lpos.begin)=0\n\
    OFFSET(prb_data_blk_lpos.next)=4\nSIZE(printk_info)=88\nOFFSET(printk_info.seq)=0\n\
    OFFSET(printk_info.ts_nsec)=8\nOFFSET(printk_info.text_len)=16\n\
    OFFSET(printk_info.caller_id)=20\nOFFSET(prb_data_ring.size_bits)=0\n\
    OFFSET(prb_data_ring.data)=4\nSIZE(atomic_long_t)=4\nOFFSET(atomic_long_t.counter)=0\n\
    CRASHTIME=1795273842\nKERNELOFFSET=7000000\nLEFTOUT(20000000-24000000)=GART\n\
    LEFTOUT(140000000-150000000)=unplugged\nLEFTOUT(more)=3 ranges, 12288 bytes\n\
    LEFTOUT(more-at-crash)=7 ranges, 14680064 bytes\n";

pub fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

pub fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

/// PRSTATUS of one CPU, and VMCOREINFO.
pub fn notes(vmcoreinfo: &str) -> Vec<u8> {
    let mut notes = words(&[5, 144, 1]);
    notes.extend(b"CORE\0\0\0\0");
    let mut prstatus = vec![0; 144];
    put(&mut prstatus, 24, &words(&[4711]));
    // ebx comes first, eip is the 13th of 17.
    put(&mut prstatus, 72, &words(&[0xb0b0_b0b0]));
    put(&mut prstatus, 72 + 12 * 4, &words(&[0xc012_3456]));
    notes.extend(prstatus);
    notes.extend(words(&[11, vmcoreinfo.len() as u32, 0]));
    notes.extend(b"VMCOREINFO\0\0");
    notes.extend(vmcoreinfo.as_bytes());
    notes
}

/// Two descriptors: the record "hello" and one that was still being written. 64 bytes of text.
pub fn put_log(page: &mut [u8]) {
    const BASE: u32 = 0xc010_0000;
    put(page, 0, &words(&[BASE + 0x40]));
    let desc_ring = [1, BASE + 0x80, BASE + 0x100, 1, 0, 0];
    put(page, 0x40, &words(&[&desc_ring[..], &[6, BASE + 0x200, 0, 0]].concat()));
    // State 2 is finalized; the block is from 0 up to 16.
    put(page, 0x80, &words(&[2 << 30, 0, 16, 1, 16, 32]));
    put(page, 0x100, &words(&[7, 0, 1_500_000_000, 0, 8, 1]));
    put(page, 0x200, b"\0\0\0\0hell\xc3\xb6\x1bX");
}
