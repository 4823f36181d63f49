"""Compares an ELF core that was made of a kdump-compressed file with the dump of all memory.

Arguments: the dump of all memory (ELF); the kdump-compressed file; the ELF core made of it. Prints
the numbers of pages as JSON. Fails if a page that the kdump-compressed file has is another than in
the whole dump, or if one that it does not have is not zero. Fields: makedumpfile, diskdump_mod.h.
"""

import json
import mmap
import struct
import sys

PAGE = 4096


def open_map(path):
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def pages(path):
    """The bytes of each whole page in the file, by page frame."""
    core = open_map(path)
    wide = core[4] == 2
    table, count = struct.unpack_from("<Q" if wide else "<I", core, 32 if wide else 28)[0], 0
    count = struct.unpack_from("<H", core, 56 if wide else 44)[0]
    found = {}
    for index in range(count):
        if wide:
            kind, _, offset, _, start, size = struct.unpack_from("<IIQQQQ", core, table + 56 * index)
        else:
            kind, offset, _, start, size = struct.unpack_from("<5I", core, table + 32 * index)
        if kind == 1:
            first = -start % PAGE
            for at in range(first, size - PAGE + 1, PAGE):
                found[(start + at) // PAGE] = core[offset + at : offset + at + PAGE]
    return found


def stored(path):
    """The page frames that a kdump-compressed file has."""
    dump = open_map(path)
    status = 412 if struct.unpack_from("<i", dump, 416)[0] == PAGE else 424
    _, sub, bitmap, frames = struct.unpack_from("<iiII", dump, status + 4)
    bits = dump[(1 + sub) * PAGE + bitmap // 2 * PAGE :][: frames // 8 + 1]
    return {frame for frame in range(frames) if bits[frame // 8] >> frame % 8 & 1}


whole, made, kept = pages(sys.argv[1]), pages(sys.argv[3]), stored(sys.argv[2])
zero = bytes(PAGE)
differ = [frame for frame in kept if made.get(frame, zero) != whole[frame]]
extra = [frame for frame, page in made.items() if frame not in kept and page != zero]
assert not differ and not extra, f"{len(differ)} pages differ, {len(extra)} are too many"
print(json.dumps({"kept": len(kept), "whole": len(whole)}))
