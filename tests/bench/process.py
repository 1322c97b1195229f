"""Processes of a bench run: started on loopback, pinned to cores, measured from /proc, ended by pid.

Linux only: affinity, /proc and CLOCK_MONOTONIC shared by all processes are what the bench measures with.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TICKS = os.sysconf("SC_CLK_TCK")
START_S = 30.0  # how long a server may take to listen
STOP_S = 40.0  # how long a server may take to stop before it is killed; the product gives itself 30


class BenchError(Exception):
    """A part of the bench could not run; the sentence says why, the other parts go on."""


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True)
class Child:
    """A process that this bench started as leader of its own session, and whose descendants it answers for."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path
    begun: float  # time.monotonic()

    @property
    def pid(self) -> int:
        return self.popen.pid

    def alive(self) -> bool:
        return self.popen.poll() is None

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def wait_port(self, port: int, limit_s: float = START_S) -> None:
        """Until something listens on `port`; BenchError when the process ends or the time is up."""
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            if listens(port):
                return
            if not self.alive():
                raise BenchError(f"{self.name} ended with {self.popen.returncode} before it listened on {port}:\n{self.tail()}")
            time.sleep(0.01)
        raise BenchError(f"{self.name} does not listen on {port} after {limit_s:.0f} s:\n{self.tail()}")

    def stop(self) -> None:
        """SIGTERM, a bounded wait, SIGKILL; then the rest of its session."""
        if self.alive():
            self.popen.terminate()
            try:
                self.popen.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait(STOP_S)
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def start(name: str, argv: Sequence[str | Path], directory: Path, *, cores: set[int] | None = None) -> Child:
    """Start `argv` in a session of its own; its output goes to `directory/NAME.log`."""
    log = directory / f"{name}.log"
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)])}
    begun = time.monotonic()
    with log.open("wb") as out:
        popen = subprocess.Popen(
            [str(part) for part in argv],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=environment,
            start_new_session=True,
        )
    if cores:
        os.sched_setaffinity(popen.pid, cores)
    return Child(name, popen, log, begun)


@contextmanager
def running(child: Child) -> Iterator[Child]:
    try:
        yield child
    finally:
        child.stop()


def python(script: str, *arguments: object) -> list[str]:
    """The command line of one of the bench's own programs."""
    return [sys.executable, str(HERE / script), *(str(argument) for argument in arguments)]


def report_of(name: str, argv: Sequence[str], limit_s: float) -> dict[str, object]:
    """Run a program of the bench that prints one JSON object as its last line, and give that object."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)])}
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=limit_s, env=environment, check=False)
    except subprocess.TimeoutExpired as late:
        raise BenchError(f"{name} did not end within {limit_s:.0f} s") from late
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        raise BenchError(f"{name} ended with {done.returncode}:\n{(done.stderr or done.stdout)[-2000:]}")
    report: dict[str, object] = json.loads(lines[-1])
    return report


# -- what /proc says


def family(pid: int) -> set[int]:
    """`pid` and all its living descendants."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := stat_fields(int(entry.name))):
            parents[int(entry.name)] = int(fields[1])
    found = {pid} if pid in parents else set()
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def stat_fields(pid: int, thread: int = 0) -> list[str]:
    """/proc/PID/stat, or that of one thread, from the state on (field 3 of proc(5)); empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/task/{thread}/stat" if thread else f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def cpu_s(pids: set[int]) -> float:
    """CPU seconds of these processes so far, their ended and reaped children included."""
    total = 0
    for pid in pids:
        if fields := stat_fields(pid):
            total += sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime
    return total / TICKS


def memory_mb(pids: set[int], field: str = "VmRSS") -> float:
    """Resident memory of these processes, MB; VmHWM for its highest value. Shared pages count in each."""
    kilobytes = 0
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        kilobytes += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith(field + ":"))
    return kilobytes / 1024
