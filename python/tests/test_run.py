"""kdump-python: programs with a dump open."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def run(fake, tmp_path):
    """Runs kdump-python in a folder with script.py; DUMP stands for a fake dump."""
    (tmp_path / "helper.py").write_text("word = 'helped'\n")
    (tmp_path / "script.py").write_text(
        "import sys\nfrom kdump.API import *\nimport helper\n"
        "print(readSymbol('svar').major, dump.release, sys.argv, helper.word)\n"
    )
    (tmp_path / "broken.py").write_text("found = 7\ndef f():\n    readNothing\nf()\n")
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(3)\n")
    dump = fake("amd64-lock").path

    def run(*words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        program = Path(sys.executable).with_name("kdump-python")
        words = tuple(dump if word == "DUMP" else word for word in words)
        return subprocess.run(
            [program, *words], cwd=tmp_path, input=typed, capture_output=True, text=True
        )

    return run


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["script.py", "DUMP"], "8 6.1.0-fake ['script.py'] helped"),
        (["script.py", "DUMP", "-v", "x"], "8 6.1.0-fake ['script.py', '-v', 'x'] helped"),
        (
            ["-c", "import sys; print(dump.symbol('count'), sys.argv)", "DUMP", "-a"],
            "-5 ['-c', '-a']",
        ),
        (["-m", "script", "DUMP", "a"], "/script.py', 'a'] helped"),
    ],
)
def test_a_program_has_its_dump_and_its_arguments(run, words, expected):
    ended = run(*words)
    assert ended.returncode == 0, ended.stderr
    assert expected in ended.stdout


def test_the_end_of_a_program_is_that_of_python(run):
    assert run("leaves.py", "DUMP").returncode == 3
    ended = run("broken.py", "DUMP")
    assert ended.returncode == 1
    _, trace = ended.stderr.split("Traceback (most recent call last):\n")
    lines = trace.splitlines()
    assert lines[0].endswith('broken.py", line 4, in <module>')
    assert lines[-1] == "NameError: name 'readNothing' is not defined"


@pytest.mark.parametrize(
    ("words", "typed", "expected"),
    [
        (["DUMP"], "readSymbol('svar').major + 34\n", "42"),
        (["-i", "broken.py", "DUMP"], "found * 3\n", "21"),
        (["-i", "-c", "found = 5", "DUMP"], "found * 3\n", "15"),
    ],
)
def test_the_prompt_has_the_names_of_the_program(run, words, typed, expected):
    ended = run(*words, typed=typed)
    assert ended.returncode == 0
    assert expected in ended.stdout.split()


def test_mistakes_are_named(run):
    ended = run("script.py", "no-such-dump")
    assert ended.returncode == 2
    assert ended.stderr.startswith("kdump-python: no-such-dump: No such file")
    assert run().returncode == 2
    assert "a dump is needed" in run("-c", "1").stderr
