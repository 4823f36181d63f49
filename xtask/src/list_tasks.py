"""Lists the tasks of a Linux dump and their stacks with drgn: a line for each task and each frame.

Arguments: the dump; the kernel's vmlinux with debug information. The stack of the task that crashed
comes once more at the end.
"""

import sys

import drgn
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import task_cpu, task_state_to_char

dump, vmlinux = sys.argv[1:]
program = drgn.Program()
program.set_core_dump(dump)
program.load_debug_info([vmlinux])


def show(stack):
    for number, frame in enumerate(stack):
        # The last one may be that of a program.
        if frame.pc < 1 << 63:
            continue
        inline = " inline" if frame.is_inline else ""
        print(f"  #{number} {frame.name} pc {frame.pc:#x} sp {frame.sp:#x}{inline}")


for task in for_each_task(program):
    name = task.comm.string_().decode(errors="backslashreplace")
    print(task.pid.value_(), name, task_state_to_char(task), f"CPU {task_cpu(task)}")
    show(program.stack_trace(task))
crashed = program.crashed_thread()
print("crashed:", crashed.tid)
show(crashed.stack_trace())
