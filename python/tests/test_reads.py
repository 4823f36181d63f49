"""Walks read each page of the dump once: bounds on the number of reads, not on time."""

import kdump

PAGE = 4096
FEW = 8
"""Reads for page tables and the head of the list."""


def test_a_walk_reads_each_page_once(kernel):
    dump = kdump.Dump(kernel.vmcore, kernel.vmlinux)
    head = dump.symbol("init_task").tasks

    def walk():
        before, tasks = dump.reads, dump.list(head, "struct task_struct", "tasks")
        found = {int(task): (task.pid, str(task.comm)) for task in tasks}
        return found, dump.reads - before

    found, reads = walk()
    offsets = [dump.offsetof("struct task_struct", name) for name in ("tasks", "pid", "comm")]
    pages = {(task + offset) // PAGE for task in found for offset in offsets}
    assert len(found) > 20
    assert reads <= len(pages) + FEW
    assert walk() == (found, 0)


def test_an_object_costs_no_read(kernel):
    dump = kdump.Dump(kernel.vmcore, kernel.vmlinux)
    before = dump.reads
    task = dump.symbol("init_task")
    assert dump.reads == before
    assert task.comm == "swapper/0" and task.pid == 0
    assert dump.reads <= before + 2
