"""Opens a dump with drgn, without debug information, and prints what it finds as JSON.

Arguments: the dump; a virtual address and a number of bytes to read there.
"""

import json
import sys

import drgn

path, address, length = sys.argv[1:]
program = drgn.Program()
program.set_core_dump(path)
print(
    json.dumps(
        {
            "is_linux": bool(program.flags & drgn.ProgramFlags.IS_LINUX_KERNEL),
            "architecture": program.platform.arch.name,
            "vmcoreinfo": program["VMCOREINFO"].string_().decode(),
            "memory": program.read(int(address), int(length)).hex(),
        }
    )
)
