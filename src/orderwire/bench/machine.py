"""What the machine is, and what its processes cost, out of /proc."""

import os
import platform
from pathlib import Path

import msgspec

_TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")
_UTIME, _CSTIME = 11, 15  # fields of /proc/PID/stat after the name, counted from 0


class Machine(msgspec.Struct, frozen=True):
    """Where a figure was measured."""

    cores: int
    cpu: str
    kernel: str
    python: str
    filesystem: str  # that the node's data lies on


def describe(data: Path) -> Machine:
    """This machine, with the file system that `data` lies on."""
    models = [line for line in _read("/proc/cpuinfo").splitlines() if line.startswith("model name")]
    cpu = models[0].partition(":")[2].strip() if models else platform.machine()
    return Machine(len(os.sched_getaffinity(0)), cpu, platform.release(), platform.python_version(), _filesystem(data))


def cpu_us(root: int) -> int:
    """CPU time so far of a process and its descendants, ended ones included, in microseconds (to 10 ms)."""
    total = 0
    for pid in _tree(root):
        fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        total += sum(map(int, fields[_UTIME:_CSTIME])) * _TICK_US
    return total


def memory_peak_bytes(root: int) -> int:
    """The sum of the peak resident memory of a process and its living descendants."""
    total = 0
    for pid in _tree(root):
        peaks = [line for line in _read(f"/proc/{pid}/status").splitlines() if line.startswith("VmHWM:")]
        total += sum(int(line.split()[1]) * 1024 for line in peaks)
    return total


def busy_us() -> int:
    """CPU time so far of the whole machine, all cores, what its host took away included, in microseconds."""
    user, nice, system, _idle, _wait, irq, softirq, stolen = map(int, _read("/proc/stat").split()[1:9])
    return (user + nice + system + irq + softirq + stolen) * _TICK_US


def _tree(root: int) -> list[int]:
    found = [root]
    for pid in found:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            found.extend(map(int, _read(str(children)).split()))
    return found


def _filesystem(data: Path) -> str:
    """The type of the mount with the longest path above `data`."""
    mounts = [line.split()[1:3] for line in _read("/proc/mounts").splitlines()]
    above = [(len(point), kind) for point, kind in mounts if data.resolve().is_relative_to(point)]
    return max(above, default=(0, "unknown"))[1]


def _read(path: str) -> str:
    """The file's text; empty where the process has ended meanwhile."""
    try:
        return Path(path).read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
