"""drgn's helpers over our memory and types, without debug files; their answers are also an oracle
for crashinfo's sections."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import drgn
import kdump
import pytest
from drgn.helpers import linux
from kdump import drgn_plugin

spec = importlib.util.spec_from_file_location(
    "drgn_helpers", Path(__file__).with_name("drgn_helpers.py")
)
helpers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(helpers)

DOCS = Path(__file__).parents[2] / "docs/drgn.md"


@pytest.fixture(scope="module")
def prog(kernel):
    if kernel.dump.is_i386:
        pytest.skip("drgn unwinds no stacks of i386, and i386 kernels have no BTF")
    if kernel.name == "amd64-7.2":
        pytest.skip("drgn's mounts and stacks of 7.2 are not ours: the reason is not known yet")
    return drgn_plugin.program(kernel.dump)


def outcome(call, prog):
    """The cell of a helper: `yes`, `none there` where nothing can be tried, or the reason."""
    try:
        found = call(prog)
    except StopIteration:
        return "none there"
    except Exception as error:  # any of them is the answer
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        return re.sub(r"0x[0-9a-f]+", "0x…", text).replace("|", "/")
    assert found is not None, "it has found nothing"
    return "yes"


def table():
    """The columns of the table in docs/drgn.md: cells by the names of helpers."""
    lines = [line for line in DOCS.read_text().splitlines() if line.startswith("|")]
    rows = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]
    names = [row[0] for row in rows[2:]]
    columns = zip(*(row[1:] for row in rows[2:]), strict=True)
    cells = [dict(zip(names, column, strict=True)) for column in columns]
    return dict(zip(rows[0][1:], cells, strict=False))


def write(columns):
    """Replaces the table."""
    kernels = sorted(columns, key=lambda name: [int(x) for x in re.findall(r"\d+", name)])
    lines = ["| Helper | " + " | ".join(kernels) + " |", "|---" * (len(kernels) + 1) + "|"]
    for name in helpers.HELPERS:
        cells = [columns[kernel].get(name, "") for kernel in kernels]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    text = [line for line in DOCS.read_text().splitlines() if not line.startswith("|")]
    DOCS.write_text("\n".join([*text, *lines]) + "\n")


def test_the_table_of_helpers_is_that_of_the_docs(kernel, prog, request):
    found = {name: outcome(call, prog) for name, call in helpers.HELPERS.items()}
    if request.config.getoption("--write-tables"):
        write({**table(), kernel.name: found})
    step = "next step: cargo xtask python -- --write-tables -k drgn"
    assert found == table().get(kernel.name), step


def test_tasks_are_crashinfo_s(kernel, prog):
    tasks = {
        (task.pid.value_(), task.comm.string_().decode(), task.value_())
        for task in linux.for_each_task(prog)
    }
    ours = kernel.dump.section_data("ps")["data"]["tasks"]
    assert tasks == {
        (task["pid"], task["comm"], int(task["address"], 16)) for task in ours if task["pid"]
    }


def test_modules_are_those_of_proc(kernel, prog):
    said = [line.split()[0] for line in kernel.said("modules").splitlines()]
    names = [module.name.string_().decode() for module in linux.for_each_module(prog)]
    ours = kernel.dump.section_data("mod")["data"]["modules"]
    assert names == said == [module["name"] for module in ours]


def path(text):
    """A path as /proc has it: spaces in it are \\040."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def test_mounts_are_those_of_proc(kernel, prog):
    said = {path(line.split()[4]) for line in kernel.said("self_mountinfo").splitlines()}
    paths = [linux.mount_dst(mount).decode() for mount in linux.for_each_mount(prog)]
    ours = [mount["path"] for mount in kernel.dump.section_data("mount")["data"]["mounts"]]
    assert set(paths) == said == set(ours)
    assert len(paths) == len(ours)


def test_slab_caches_and_interfaces_are_crashinfo_s(kernel, prog):
    caches = {
        (cache.name.string_().decode(), cache.object_size.value_())
        for cache in linux.for_each_slab_cache(prog)
    }
    ours = kernel.dump.section_data("kmem -s")["data"]["slabs"]["caches"]
    assert caches == {(cache["name"], cache["object_size"]) for cache in ours}
    net = prog["init_net"].address_of_()
    names = [linux.netdev_name(device).decode() for device in linux.for_each_netdev(net)]
    said = [line.split(":")[0].strip() for line in kernel.said("net_dev").splitlines()[2:]]
    assert sorted(names) == sorted(said)


def test_stacks_are_crashinfo_s(kernel, prog):
    data = kernel.dump.section_data("bt -A")["data"]
    compared = 0
    for stack in data["stacks"]:
        if stack["pid"] == 0 or stack["state"] in "ZX":
            continue  # drgn has no PID 0, and a dead task has no stack.
        sure = [int(frame["address"], 16) for frame in stack["frames"] if frame["sure"]]
        trace = [frame.pc for frame in prog.stack_trace(stack["pid"]) if frame.pc >> 63]
        if stack["how"] == "registers":
            # drgn may leave out the caller of the function that the CPU was in.
            sure = [pc for pc in sure if pc in trace]
        assert trace == sure, stack["comm"]
        compared += 1
    assert compared > 10


def test_the_log_is_crashinfo_s(kernel, prog):
    lines = linux.get_dmesg(prog).decode(errors="backslashreplace").splitlines()
    ours = [one["line"] for one in kernel.dump.section_data("log")["data"]["records"]]
    assert lines[:20] == ours[:20]
    assert len(lines) >= len(ours)


def test_types_are_as_c_has_them(kernel, prog):
    task = prog.type("struct task_struct")
    assert task.size == kernel.dump.sizeof("struct task_struct")
    assert task.member("pid").type.type_name() == "pid_t"
    assert task.member("real_parent").type.type is not None
    assert drgn.offsetof(task, "tasks") == kernel.dump.offsetof("struct task_struct", "tasks")
    assert prog.type("struct sock_common *").type.member("skc_family").type.size == 2
    # A bitfield, an enumerator, a function, a type that is only declared.
    assert prog["init_task"].in_execve.bit_field_size_ == 1
    assert prog["TCP_LISTEN"].value_() == 10 and "TCP_LISTEN" in str(prog["TCP_LISTEN"])
    panic = prog.function("panic")
    assert panic.address_ == kernel.dump.address("panic")
    symbol = prog.symbol(panic.address_ + 1)
    assert (symbol.name, symbol.kind) == ("panic", drgn.SymbolKind.FUNC)
    assert symbol.binding == drgn.SymbolBinding.GLOBAL
    with pytest.raises(LookupError):
        prog.symbol(prog.symbol("runqueues").address + 1)  # counted from zero
    with pytest.raises(LookupError):
        prog.type("struct no_such_struct")
    with pytest.raises(KeyError):
        prog["no_such_variable"]


def test_physical_memory_is_that_of_virtual_addresses(kernel, prog):
    for at in (prog["init_task"].address_of_(), linux.find_task(prog, 1)):
        physical = linux.follow_phys(prog["init_mm"].address_of_(), at).value_()
        for length in (1, 0x3000):
            assert prog.read(physical, length, True) == kernel.dump.read(at.value_(), length)
    arguments = kernel.dump.section_data("ps -a 1")["data"]
    assert linux.cmdline(linux.find_task(prog, 1))[0].decode() in str(arguments)


def test_memory_that_is_not_there_is_drgn_s_fault(prog):
    for physical in (False, True):
        with pytest.raises(drgn.FaultError):
            prog.read(0x123 << 48, 8, physical)


def test_drgn_loads_the_plug_in(kernel, prog, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("print(prog['init_task'].comm.string_(), prog.symbol('panic').name)\n")
    command = [sys.executable, "-m", "drgn", "-q", "--no-default-symbols", "-c", kernel.vmcore]
    # `-m` looks for modules in the current folder first: not in the package's sources.
    ran = subprocess.run([*command, script], capture_output=True, text=True, cwd=tmp_path)
    assert ran.stdout.strip() == "b'swapper/0' panic", ran.stderr


def test_drgn_takes_a_core_file_of_notes(fake, tmp_path):
    # The fakes have few lines of VMCOREINFO, and drgn wants these.
    lines = "OSRELEASE=6.1\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)=c1000000\n"
    for name, architecture in [("amd64-lock", "X86_64"), ("i386-slock", "I386")]:
        dump, file = fake(name), tmp_path / name
        file.write_bytes(drgn_plugin.core(dump))
        assert file.read_bytes().endswith(dump.notes) and b"VMCOREINFO" in dump.notes
        made = drgn.Program(vmcoreinfo=lines)
        made.set_core_dump(file)
        assert made.platform.arch == drgn.Architecture[architecture]
        assert drgn.ProgramFlags.IS_LINUX_KERNEL in made.flags


def test_a_typedef_of_itself_ends():
    class Circle:
        name, kind = "circle_t", "typedef"

        @property
        def target(self):
            return self

    with pytest.raises(kdump.Damaged, match="circle_t"):
        drgn_plugin.Types(drgn.Program(drgn.host_platform)).of(Circle())
