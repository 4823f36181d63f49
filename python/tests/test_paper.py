"""The examples of section 2 of the paper: A. Sidorenko, "Programmatic Kernel Dump Analysis On
Linux", 2009. The fake kernels have its structs and variables."""

import kdump
import pytest
from kdump.API import (
    Addr,
    Deref,
    MemoryFault,
    NullPointer,
    SmartString,
    StructResult,
    exec_crash_command,
    getSizeOf,
    member_exists,
    member_offset,
    readList,
    readSU,
    readSUListFromHead,
    readSymbol,
    struct_exists,
    structSetAttr,
    structSetProcAttr,
    sym2addr,
    symbol_exists,
    tPtr,
)

KERNELS = ["amd64-lock", "amd64-slock", "i386-slock"]


@pytest.fixture(params=KERNELS)
def dump(request, fake):
    with fake(request.param) as dump:
        kdump.use(dump)
        yield dump


def test_2_1_structs_are_objects(dump):
    s = readSU("struct blk_major_name", sym2addr("svar"))
    assert s.major == 8
    assert f"{s.major:3d} {s.name:<11}" == "  8 abc        "
    assert s.name[5] == 5
    assert str(s.name) == "abc" and type(str(s.name)) is str
    assert s.name == "abc" and isinstance(s.name, SmartString)


def test_2_1_signs_make_arrays(dump):
    found = readSymbol("bytes")
    assert found.plain == "wxyz"
    assert (found.negative, found.positive) == ([-1, 0, 1, -128], [255, 0, 1, 128])
    assert (found.numbers, found.three, readSymbol("count")) == ([-2, 0x102], 5, -5)


def test_2_2_a_dot_follows_pointers(dump):
    sptr, pptr = readSymbol("sptr"), readSymbol("pptr")
    assert Deref(sptr).major == sptr.major == 8
    assert type(sptr) is type(Deref(sptr)) is type(readSymbol("svar"))
    assert sptr.next.major == -9 and not sptr.next.next
    assert Deref(pptr).major == 8 and not isinstance(pptr, StructResult)
    assert readSymbol("chain").f1.f2.f3.f4.f5 == 55


def test_2_2_pointers_to_nowhere_are_named(dump):
    nothing, nowhere = readSymbol("nothing"), readSymbol("nowhere")
    assert not nothing and int(nothing) == 0
    with pytest.raises(NullPointer):
        nothing.major  # noqa: B018 - it is read
    with pytest.raises(MemoryFault, match="dead0000") as fault:
        nowhere.next  # noqa: B018
    assert fault.value.address == 0xDEAD0000
    with pytest.raises(AttributeError, match="blk_major_name.*minor"):
        readSymbol("svar").minor  # noqa: B018


def test_2_3_addresses(dump):
    init_task = readSymbol("init_task")
    word = dump.word_size
    assert Addr(init_task) == sym2addr("init_task")
    assert Addr(init_task.tasks) == sym2addr("init_task") + word
    assert member_offset("struct task_struct", "tasks") == word
    assert Addr(init_task.comm) == sym2addr("init_task") + 3 * word


def test_2_4_1_structs_are_read(dump):
    s = readSU("struct blk_major_name", sym2addr("second"))
    assert (Addr(s), s.name) == (sym2addr("second"), "second")
    assert s == readSymbol("svar").next and hash(s) == hash(readSymbol("svar").next)


def test_2_4_2_pointers_are_integers(dump):
    pptr = readSymbol("pptr")
    assert isinstance(pptr, tPtr) and isinstance(pptr, int)
    i = int(pptr)
    assert i == sym2addr("sptr") and pptr + 1 == i + 1 and type(i) is int


def test_2_4_3_strings_have_bytes_and_addresses(dump):
    s = readSymbol("testvar")
    assert str(s) == "abc"
    assert s[4:6] == "de"
    assert Addr(s) == sym2addr("testvar")
    assert int(s) == dump.word(sym2addr("testvar"))
    assert dump.read(int(s), 7) == b"abc\0def"


def test_2_4_4_one_name_for_two_spellings(dump):
    """The same program on kernels with `lock` and with `raw_lock.slock`."""
    chains = ["raw_lock.slock", "lock"]
    assert structSetAttr("spinlock_t", "Slock", chains) is True
    assert readSymbol("lck").Slock == 7
    assert structSetAttr("spinlock_t", "Nothing", ["raw_lock.nothing", "key"]) is False
    assert not hasattr(readSymbol("lck"), "Nothing")


def test_2_4_4_functions_are_attributes(dump):
    def getSrc6(tw):  # noqa: N802 - the paper's name
        return tw.tw_v6_rcv_saddr.u6_addr8

    assert structSetProcAttr("struct tcp_timewait_sock", "Src6", getSrc6)
    assert readSymbol("tw").Src6 == [0x20, 1, 0x0D, 0xB8] + [0] * 11 + [7]


def test_decisions_by_what_the_kernel_has(dump):
    assert struct_exists("struct blk_major_name") and not struct_exists("struct nothing")
    assert symbol_exists("svar") and not symbol_exists("no_symbol")
    assert member_exists("struct s1", "f1") and not member_exists("struct s1", "f2")
    assert getSizeOf("struct blk_major_name") == dump.word_size + 24


def test_lists(dump):
    head = readSymbol("init_task").tasks
    tasks = readSUListFromHead(Addr(head), "tasks", "struct task_struct")
    assert [str(task.comm) for task in tasks] == ["init", "kthreadd"]
    tasks = readSUListFromHead(head, "tasks", "struct task_struct", maxel=2, inchead=True)
    assert [str(task.comm) for task in tasks] == ["swapper/0", "init"]
    assert readList(sym2addr("svar"), 0) == [sym2addr("svar"), sym2addr("second")]


def test_sections_are_commands(dump):
    assert "OSRELEASE=6.1.0-fake" in exec_crash_command("vmcoreinfo")
