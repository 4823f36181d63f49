"""Dumps for the tests: fakes, which `cargo xtask python` writes, and those of the QEMU tests."""

import os
from dataclasses import dataclass
from pathlib import Path

import kdump
import pytest

KERNELS = ["amd64-5.10", "amd64-6.1", "amd64-6.12"]
KERNELS_OF_FULL = ["amd64-7.2", "i386-6.1"]
"""Kernels whose dumps only `cargo xtask test --full` keeps."""
DEBUG_FILES = {"i386-6.1": "KDUMP_TEST_DEBUG_I386"}
"""Variables with the vmlinux of kernels without BTF."""


def folder(variable: str) -> Path:
    """The folder that `cargo xtask python` names in this variable."""
    if variable not in os.environ:
        pytest.exit(f"{variable} is not set: run these tests by `cargo xtask python`")
    return Path(os.environ[variable])


@dataclass(frozen=True)
class Kernel:
    """A Debian kernel that died under QEMU, and its last words."""

    name: str
    path: Path
    dump: kdump.Dump

    @property
    def vmcore(self) -> Path:
        return self.path / "vmcore"

    @property
    def vmlinux(self) -> str | None:
        return debug_file(self.name)

    def said(self, name: str) -> str:
        """A file of its words right before the crash: `net_dev` is /proc/net/dev; see said.sh."""
        return (self.path / "said" / name).read_text(errors="replace")


def debug_file(kernel: str) -> str | None:
    variable = DEBUG_FILES.get(kernel)
    return variable and str(folder(variable))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also the dumps of `test --full`")
    parser.addoption("--no-dumps", action="store_true", help="leave out the tests on real dumps")
    parser.addoption("--write-tables", action="store_true", help="write the tables of the docs")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--no-dumps"):
        left = [item for item in items if "kernel" in item.fixturenames]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kernel" in metafunc.fixturenames:
        full = metafunc.config.getoption("--full")
        names = KERNELS + KERNELS_OF_FULL if full else KERNELS
        metafunc.parametrize("kernel", names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def kernel(request: pytest.FixtureRequest):
    """Each of the kernels that died under QEMU, its dump open and current."""
    path = folder("KDUMP_TEST_DUMPS") / request.param
    if not (path / "vmcore").exists():
        pytest.fail(f"there is no dump of {request.param}: `cargo xtask test QEMU` keeps it")
    vmlinux = debug_file(request.param)
    yield Kernel(request.param, path, kdump.Dump(path / "vmcore", vmlinux))


@pytest.fixture
def fake():
    """Opens a fake kernel by its name: amd64-lock, amd64-slock, i386-slock."""
    return lambda name: kdump.Dump(folder("KDUMP_TEST_FAKES") / name)
