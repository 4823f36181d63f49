"""crashinfo in Python, beside the kernel's own words."""

import json

import kdump
import pytest
from kdump.tools import crashinfo
from kdump.tools.crashinfo import cli, load, memory, network, syslog
from kdump.tools.crashinfo.result import Result

#: Priority of the kernel's migration threads: 99, the highest of real-time.
HIGHEST = 0


@pytest.fixture(scope="session")
def results(kernel):
    return crashinfo.examine(kernel.dump)


def test_every_check_is_made(kernel, results):
    assert list(results) == list(crashinfo.CHECKS)
    assert [line for result in results.values() for line in result.missing] == []
    asked = [one for one in results["panic"].warnings if "somebody asked" in one.text]
    assert len(asked) == 1 and results["panic"].data["kind"] == "sysrq"


def test_load_and_queues(kernel, results):
    told = [float(word) for word in kernel.said("loadavg").split()[:3]]
    found = results["load"].data
    # The kernel takes it anew every 5 s, each time by a twelfth of the tasks that run.
    assert found["load"] == pytest.approx(told, abs=0.25)
    pids = {row["pid"] for row in found["runners"] if row["is_running"]}
    assert 1 in pids and not any(row["is_real_time"] for row in found["runners"])
    assert len(found["run_queues"]) == found["online_cpus"] == 2


def test_free_blocks(kernel, results):
    told = {}
    for line in kernel.said("buddyinfo").splitlines():
        words = line.replace(",", " ").split()
        told[words[1], words[3]] = [int(word) for word in words[4:]]
    found = {(str(zone["node"]), zone["name"]): zone for zone in results["memory"].data["zones"]}
    assert found.keys() == told.keys()
    for key, blocks in told.items():
        free = sum(count << order for order, count in enumerate(blocks))
        pages = sum(count << order for order, count in enumerate(found[key]["free_blocks"]))
        # The lists of the CPUs take and give blocks until the crash.
        assert abs(pages - free) <= 512, key


def test_interfaces(kernel, results):
    told = {}
    for line in kernel.said("net_dev").splitlines()[2:]:
        name, words = line.split(":")
        told[name.strip()] = [int(word) for word in words.split()]
    found = {one["name"]: one for one in results["network"].data["interfaces"]}
    assert found.keys() == told.keys()
    lived = float(kernel.said("uptime").split()[0]) * 1e9
    for name, words in told.items():
        packets = found[name]["proc_net_dev"]
        # Connections that wait for an answer ask again.
        assert abs(packets[1] - words[1]) <= 80 and abs(packets[9] - words[9]) <= 80, name
        # The kernel's connections and neighbours are the signs of life.
        received = found[name]["last_received_ns"]
        assert received is None or 0 <= received <= lived + 30e9, name
        assert 0 <= found[name]["last_sent_ns"] <= lived + 30e9, name


def test_hung_tasks(kernel, results):
    told = {}
    for text in kernel.said("status").split("\nName:"):
        fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        told[int(fields["Pid"])] = fields["State"][0]
    hung = {task["pid"] for task in results["hung"].data["tasks"]}
    assert hung == {pid for pid, state in told.items() if state == "D"}


class Changed:
    """A dump with other answers of some sections."""

    def __init__(self, dump, **answers):
        self._dump, self._answers = dump, answers

    def __getattr__(self, name):
        return getattr(self._dump, name)

    def section_data(self, line):
        changed = self._answers.get(line.replace(" -", "_").replace(" ", "_"))
        answer = self._dump.section_data(line)
        return changed(answer) if changed else answer


def warned(result, severity):
    return [one.text for one in result.warnings if one.severity == severity]


def test_a_real_time_task_is_told(kernel):
    tasks = kernel.dump.section_data("ps")["data"]["tasks"]
    migration = next(task for task in tasks if task["comm"] == "migration/1")

    def overloaded(answer):
        runner = dict(migration, priority=HIGHEST, since_ns=None)
        answer["data"]["queues"][1]["real_time"].append(runner)
        return answer

    kdump.use(kernel.dump)
    result = load.check(Changed(kernel.dump, runq=overloaded))
    pid = migration["pid"]
    expected = f"a real-time task waits on CPU 1: migration/1 (pid {pid}, FIFO)"
    assert warned(result, "note") == [expected]


@pytest.mark.parametrize(
    ("flags", "is_stopped", "age", "is_told"),
    [
        (["UP", "LOWER_UP"], True, 5, True),
        (["UP", "LOWER_UP"], True, 4, False),
        (["UP", "LOWER_UP"], False, 9, False),
        (["UP"], True, 9, False),
    ],
)
def test_a_queue_that_hangs_is_told(flags, is_stopped, age, is_told):
    queues = [{"is_stopped": is_stopped, "last_sent_ns": age * 10**9}]
    result = Result("x")
    network.watch(result, {"name": "eth0", "flags": flags, "queues": queues}, 5 * 10**9)
    text = f"eth0: queue 0 is stopped and has sent nothing for {age}.00 s; its watchdog's time is "
    assert warned(result, "critical") == ([f"{text}5.00 s"] if is_told else [])


@pytest.mark.parametrize(
    ("blocks", "part"),
    [([0, 0, 0, 0], None), ([0, 0, 0, 1], 0.0), ([4, 2, 0, 1], 0.5), ([0, 2, 1], 1.0)],
)
def test_the_part_in_small_blocks(blocks, part):
    assert memory.small_part(blocks) == part


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["schedule", "unix_wait_for_peer", "unix_dgram_sendmsg"], True),
        (["schedule", "unix_stream_sendmsg.cold"], True),
        (["unix_dgram_sendmsg"], False),
        (["schedule", "do_syslog"], False),
    ],
)
def test_a_task_that_waits_for_room(names, expected):
    assert syslog.waits_for_room([{"name": name} for name in names]) is expected


def test_a_stopped_syslogd_is_found(kernel, results):
    found = results["syslog"]
    [daemon] = found.data["daemons"]
    assert (daemon["comm"], daemon["state"]) == ("syslogd", "T")
    [socket] = found.data["sockets"]
    # Eleven fit (net.unix.max_dgram_qlen); two more programs wait with theirs.
    assert (socket["path"], socket["queued"], socket["limit"]) == ("/dev/log", 11, 10)
    loggers = sorted(one["pid"] for one in found.data["blocked"])
    assert len(loggers) == 2
    assert sorted(one["pid"] for one in socket["waiting"]) == loggers
    told = kernel.said("stacks").split("==> ")
    waiting = [text for text in told if "unix_wait_for_peer" in text]
    assert sorted(int(text.split("/")[0]) for text in waiting) == loggers
    critical = warned(found, "critical")
    assert any("syslogd" in text and "is stopped" in text for text in critical)
    assert any("/dev/log is full: 11 messages" in text for text in critical)


def test_the_program_prints_both_forms(kernel, capsys):
    kdump.use(kernel.dump)
    assert crashinfo.main(["--json", "memory"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert list(answer["checks"]) == ["memory"] and answer["release"] == kernel.dump.release
    assert crashinfo.main([]) == 0
    text = capsys.readouterr().out
    assert text.startswith("critical: ") and "\n\nPanic\n" in text
    with pytest.raises(SystemExit):
        crashinfo.main(["nothing"])


def test_a_check_that_fails_is_told(fake):
    results = crashinfo.examine(fake("amd64-lock"), ["memory"])
    assert results["memory"].missing[0].startswith("memory: this kernel has no ")


def test_warnings_come_heaviest_first():
    result = Result("x")
    for severity in ("note", "critical", "warning", "critical"):
        result.warn(severity, severity, "y")
    found = [one.severity for one in cli.warnings({"x": result})]
    assert found == ["critical", "warning", "note"]
