"""Opening dumps, and reading their bytes."""

import kdump
import pytest


def test_a_dump_is_opened_and_read(kernel):
    banner = kernel.said("version").encode()
    symbols = kernel.dump.section_data("vmcoreinfo")
    assert banner and symbols


def test_errors_name_the_address(fake):
    with pytest.raises(kdump.MemoryFault, match="0xdead0000") as fault:
        fake("amd64-lock").read(0xDEAD0000, 8)
    assert fault.value.address == 0xDEAD0000


def test_a_missing_dump_is_named():
    with pytest.raises(kdump.Error, match="no-such-file"):
        kdump.Dump("/no-such-file")


def test_a_pointer_is_indexed_as_in_c(kernel):
    task, size = kernel.dump.symbol("init_task"), kernel.dump.sizeof("struct task_struct")
    assert task[0] == task
    assert [int(task[index]) - int(task) for index in (2, -1)] == [2 * size, -size]
    with pytest.raises(TypeError):
        iter(task)
