"""Where the time goes: a sampled profile of the running server (py-spy), or its threads' CPU when py-spy is not there."""

import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from process import TICKS, family, stat_fields

PROFILE_S = 5
RATE = 100  # samples per second
TOP = 10
FRAME = re.compile(r"^(.*) \((.*)\)$")
LINE_NUMBER = re.compile(r":\d+\)")
# Threads that wait for work: py-spy does not always see that they sleep.
IDLE = re.compile(r"(_worker|wait|select|_gather) \(\S*/(futures/thread|threading|selectors|store/sqlite)\.py\)$|/pycares/\S*\)$")
FRAMEWORK = ("__main__.", "cli.", "app.")  # everything is below these
INSTALL = "no py-spy: `pip install py-spy` adds the functions that the time goes to"


def where_time_goes(what: str, pid: int, directory: Path) -> list[str]:
    """Lines for the report. The server must be under load meanwhile."""
    time.sleep(1.0)  # past the start of the load
    pids = family(pid)
    used = threads_for(pids, PROFILE_S / 2)
    stacks = sampled(pid, directory)
    lines = [f"{what}: CPU of its busiest threads " + ", ".join(f"{share:.0%}" for share in used[:8] if share > 0.005)]
    if not stacks:
        return [*lines, f"  {INSTALL}"]
    own, below = Counter[str](), Counter[str]()
    for stack, samples in stacks.items():
        names = our_names(stack)
        own[names[-1]] += samples
        below.update({name: samples for name in names if not name.startswith(FRAMEWORK)})
    total = sum(stacks.values())
    pairs = zip(below.most_common(TOP), own.most_common(TOP), strict=False)
    lines.append(f"  {'with what it calls':<62}  by itself or in a library")
    return lines + [f"  {cell(left, total):<62}  {cell(right, total)}" for left, right in pairs]


def cell(place: tuple[str, int], total: int) -> str:
    return f"{place[1] / total:5.1%} {place[0]}"


def threads_for(pids: set[int], seconds: float) -> list[float]:
    """The share of a core that each thread used over that time, the busiest first."""
    before, begin = thread_cpu(pids), time.monotonic()
    time.sleep(seconds)
    wall, after = time.monotonic() - begin, thread_cpu(pids)
    return sorted(((after[thread] - before.get(thread, 0.0)) / wall for thread in after), reverse=True)


def thread_cpu(pids: set[int]) -> dict[tuple[int, int], float]:
    """CPU seconds so far of each thread."""
    found: dict[tuple[int, int], float] = {}
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*"):
            if fields := stat_fields(pid, int(task.name)):
                found[pid, int(task.name)] = (int(fields[11]) + int(fields[12])) / TICKS
    return found


def sampled(pid: int, directory: Path) -> dict[str, int]:
    """Folded stacks of all its processes and how often each was seen running; empty without py-spy."""
    beside = Path(sys.executable).with_name("py-spy")
    program = str(beside) if beside.exists() else shutil.which("py-spy")
    if program is None:
        return {}
    out = directory / "stacks.txt"
    argv = [program, "record", "--pid", pid, "--subprocesses", "--duration", PROFILE_S, "--rate", RATE]
    argv += ["--format", "raw", "--full-filenames", "--output", out]
    subprocess.run([str(part) for part in argv], capture_output=True, timeout=PROFILE_S + 60, check=False)
    if not out.exists():
        return {}
    lines = (line.rpartition(" ") for line in out.read_text().splitlines())
    found = Counter[str]()
    for stack, _, samples in lines:
        found[LINE_NUMBER.sub(")", stack)] += int(samples)
    return {stack: samples for stack, samples in found.items() if not IDLE.search(stack)}


def our_names(stack: str) -> list[str]:
    """Functions of ours, outermost first, and last of all where the sample was: one of them, or a library they called."""
    frames = [match.groups() for match in map(FRAME.match, stack.split(";")) if match]
    names = [our_name(*frame) for frame in frames if is_ours(frame[1])]
    if not frames or is_ours(frames[-1][1]):
        return names or ["elsewhere"]
    return [*names, " > ".join([*names[-1:], library(frames[-1][1])])]


def is_ours(file: str) -> bool:
    return "aurorasend/" in file and "site-packages" not in file


def our_name(function: str, file: str) -> str:
    return f"{file.rpartition('aurorasend/')[2].removesuffix('.py').replace('/', '.')}.{function}"


def library(file: str) -> str:
    return Path(file.split("site-packages/")[-1]).parts[0] if "site-packages" in file else Path(file).stem
