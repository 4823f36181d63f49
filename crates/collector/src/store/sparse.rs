//! Files with holes: blocks of zeros are never written.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, fallocate};
use sha2::{Digest, Sha256};

/// Size of a block that may become a hole, in bytes: a page, and a block of most file systems.
const BLOCK: usize = 4096;
/// Number of bytes that are read or zeroed at once.
const CHUNK: u64 = 1 << 20;

/// Writes `bytes` to `offset`, where the file is zero, and skips their zeros block by block.
pub(super) fn write(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut start = 0;
    while start < bytes.len() {
        let zeros = run(&bytes[start..], offset + start as u64, true);
        let from = start + zeros;
        start = from + run(&bytes[from..], offset + from as u64, false);
        file.write_all_at(&bytes[from..start], offset + from as u64)?;
    }
    Ok(())
}

/// Returns the number of bytes from the front of `bytes` on, which belong to `offset`, in blocks
/// that are all zero, or in blocks that are not.
fn run(bytes: &[u8], offset: u64, zero: bool) -> usize {
    let mut end = 0;
    while end < bytes.len() {
        let within = (offset + end as u64) as usize % BLOCK;
        let next = bytes.len().min(end + BLOCK - within);
        if is_zero(&bytes[end..next]) != zero {
            break;
        }
        end = next;
    }
    end
}

/// Looks at the bytes a cache line at a time, which the compiler makes fast.
fn is_zero(bytes: &[u8]) -> bool {
    let none = |line: &[u8]| line.iter().fold(0, |all, byte| all | byte) == 0;
    let (lines, rest) = bytes.as_chunks::<64>();
    lines.iter().all(|line| none(line)) && none(rest)
}

/// Makes a hole; where the file system has none, writes zeros.
pub(super) fn punch(file: &File, start: u64, end: u64) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    if fallocate(file, flags, start, end - start).is_ok() {
        return Ok(());
    }
    chunks(start, end).try_for_each(|(offset, length)| file.write_all_at(&vec![0; length], offset))
}

/// SHA-256 of a part of a file. `progress` is called with the bytes that are done.
pub(super) fn hash(
    file: &File,
    start: u64,
    end: u64,
    progress: &mut dyn FnMut(u64),
) -> io::Result<[u8; 32]> {
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; CHUNK as usize]);
    for (offset, length) in chunks(start, end) {
        let bytes = &mut buffer[..length];
        file.read_exact_at(bytes, offset)?;
        hash.update(&*bytes);
        progress(offset + length as u64 - start);
    }
    Ok(hash.finalize().into())
}

/// Offsets and lengths of a range's parts, [`CHUNK`] bytes each at most.
fn chunks(start: u64, end: u64) -> impl Iterator<Item = (u64, usize)> {
    let starts = (start..end).step_by(CHUNK as usize);
    starts.map(move |start| (start, (end - start).min(CHUNK) as usize))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// Pieces of a file come in any order, cut anywhere.
    #[test]
    fn zeros_are_left_out_and_nothing_else() {
        let mut truth = vec![0; 40 * BLOCK];
        for block in (0..40).step_by(3) {
            truth[block * BLOCK + block] = 1;
        }
        for step in [1000, BLOCK, 5000, 3 * BLOCK + 1] {
            let file = tempfile::tempfile().expect("a file");
            file.set_len(truth.len() as u64).expect("room");
            let pieces: Vec<_> = truth.chunks(step).enumerate().collect();
            for (index, piece) in pieces.into_iter().rev() {
                write(&file, piece, (index * step) as u64).expect("written");
            }
            let mut bytes = vec![0xff; truth.len()];
            file.read_exact_at(&mut bytes, 0).expect("read");
            assert!(bytes == truth, "in steps of {step}");
            let blocks = file.metadata().expect("its size").blocks() * 512;
            assert!(blocks <= 14 * BLOCK as u64, "{blocks} bytes on the disk");
        }
    }

    #[test]
    fn a_hole_is_zero_to_the_byte() {
        let file = tempfile::tempfile().expect("a file");
        write(&file, &[7; 3 * BLOCK], 0).expect("written");
        punch(&file, 100, 2 * BLOCK as u64 + 1).expect("a hole");
        let mut bytes = vec![0; 3 * BLOCK];
        file.read_exact_at(&mut bytes, 0).expect("read");
        let zeros: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] == 0).collect();
        assert_eq!((zeros[0], zeros.len()), (100, 2 * BLOCK + 1 - 100));
    }
}
