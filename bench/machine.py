"""What else the machine was doing while something was measured, and what it is."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_CORES = os.cpu_count() or 1
_PF_KTHREAD = 0x0020_0000
#: Columns of /proc/stat's first line: user nice system idle iowait irq softirq steal.
_PROCESSES, _INTERRUPTS, _STOLEN = (0, 1, 2), (5, 6), 7


@dataclass(frozen=True)
class Usage:
    """Processor time while something ran, in seconds of one core unless it says otherwise."""

    elapsed: float
    own: float  # ours, with the kernel's work for us
    foreign: float  # share of the whole machine that others had, 0 to 1


class Watch:
    """Tell our processor time from others' between `start` and `stop`.

    Time of processes that are neither in `pids` nor our children nor kernel threads is foreign, and so is what the
    hypervisor took.  Interrupts and kernel threads count as ours: here they do the network's work.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        """`pids` are ours and run all the time."""
        self._pids = [*pids, *_kernel_threads()]

    def start(self) -> None:
        """Begin."""
        self._at, self._total, self._ours = time.monotonic(), _total(), self._own()

    def stop(self) -> Usage:
        """End."""
        elapsed = time.monotonic() - self._at
        total = [after - before for after, before in zip(_total(), self._total, strict=True)]
        ours = self._own() - self._ours
        processes = sum(total[i] for i in _PROCESSES)
        foreign = max(processes - ours, 0.0) + total[_STOLEN]
        interrupts = sum(total[i] for i in _INTERRUPTS)
        return Usage(elapsed, min(ours, processes) + interrupts, foreign / (elapsed * _CORES))

    def _own(self) -> float:
        return sum(os.times()[:4]) + sum(_process(pid) for pid in self._pids)


def _total() -> list[float]:
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    return [int(word) / _TICKS for word in words]


def _stat(pid: int | str) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _process(pid: int) -> float:
    """User and system time of `pid` and its children that have ended."""
    return sum(int(word) for word in _stat(pid)[11:15]) / _TICKS


def seconds_of(pid: int) -> float:
    """Processor seconds of the threads that `pid` has now, to the nanosecond; 0 when it is not there."""
    try:
        entries = [task / "schedstat" for task in Path(f"/proc/{pid}/task").iterdir()]
        return sum(int(entry.read_text().split()[0]) for entry in entries) / 1e9
    except OSError:
        return 0.0


def _kernel_threads() -> list[int]:
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if (stat := _stat(pid)) and int(stat[6]) & _PF_KTHREAD]


def facts() -> dict[str, str | int]:
    """Say on what machine and with which software this ran."""
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    flags = {word for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")
             for word in line.split()}  # fmt: skip
    wanted = ("aes", "vaes", "vpclmulqdq", "avx2", "avx512f", "sha_ni")
    return {
        "processor": model[0].partition(":")[2].strip() if model else platform.processor(),
        "cores": _CORES,
        "has": " ".join(flag for flag in wanted if flag in flags),
        "kernel": platform.release(),
        "congestion_control": Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(),
    }


def commit() -> str:
    """Name the commit that is measured; `+` behind it when files of the engine or the benchmark differ from it."""
    root = Path(__file__).parents[1]

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False).stdout

    changed = git("status", "--porcelain", "--", "engine", "bench", "src/secd/sec").strip()
    return git("rev-parse", "--short=12", "HEAD").strip() + ("+" if changed else "")
