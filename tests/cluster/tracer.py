"""Watches the system calls of running processes with ptrace(2): in which order they read, write, sync and send.

Stops of all watched processes are seen by one thread, one after the other, and a process goes on only when its stop was seen; so
the order in the trace is the order in which things caused each other, also between processes. Linux on x86_64 and aarch64.
"""

import ctypes
import os
import platform
import signal
import struct
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

SEIZE, INTERRUPT, LISTEN, SYSCALL, SYSCALL_INFO = 0x4206, 0x4207, 0x4208, 24, 0x420E  # linux/ptrace.h
SYSGOOD, FORK, VFORK, CLONE = 1, 2, 4, 8
EVENT_STOP = 128
WALL, WNOTHREAD = 0x40000000, 0x20000000  # linux/wait.h; our thread's tracees only, not the children of the test
ENTRY, EXIT = 1, 2
STOPPING = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
INFO = struct.Struct("=B3xIQQ7Q8x")  # struct ptrace_syscall_info: op, arch, ip, sp, then number and arguments, or the result
MOST = 64 * 1024  # bytes of a buffer that are looked at

READ, READV, WRITE, WRITEV, MESSAGE_IN, MESSAGE_OUT, SYNC = range(7)
CALLS = {
    "x86_64": {
        **{0: READ, 45: READ, 17: READ, 19: READV, 47: MESSAGE_IN, 1: WRITE, 18: WRITE, 44: WRITE},
        **{20: WRITEV, 296: WRITEV, 328: WRITEV, 46: MESSAGE_OUT, 74: SYNC, 75: SYNC},
    },
    "aarch64": {
        **{63: READ, 207: READ, 67: READ, 65: READV, 212: MESSAGE_IN, 64: WRITE, 68: WRITE, 206: WRITE},
        **{66: WRITEV, 70: WRITEV, 287: WRITEV, 211: MESSAGE_OUT, 82: SYNC, 83: SYNC},
    },
}
INCOMING = (READ, READV, MESSAGE_IN)


@dataclass(frozen=True, slots=True)
class Seen:
    """What happened: `request` (read from a socket), `answer` (written to one), `write` and `sync` of a file. `begun` is the
    place in the trace where a sync began: what was written before it is covered."""

    what: str
    process: int
    path: str = ""
    begun: int = 0


class NotPermittedError(Exception):
    """The system does not let us watch; the text says why."""


@dataclass(slots=True)
class _Call:
    kind: int
    fd: int
    arguments: tuple[int, ...]
    begun: int


@dataclass
class Tracer:
    """Looks for `request` and `answer` in what goes through sockets, and for writes and syncs of files whose path holds one
    of `files`. The trace may be read while it grows."""

    request: bytes
    answer: bytes
    files: tuple[str, ...]
    trace: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        self._libc.ptrace.restype = ctypes.c_long
        self._calls = CALLS.get(platform.machine(), {})
        self._under_way: dict[int, _Call] = {}
        self._process_of: dict[int, int] = {}
        self._started = threading.Event()
        self._refusal = "" if self._calls else f"system calls of {platform.machine()} are not known here"

    def watch(self, pids: Iterable[int]) -> None:
        """Watch these processes, their threads and what they start, until they have ended. Raises NotPermittedError."""
        if not self._refusal:
            self._thread = threading.Thread(target=self._run, args=(list(pids),), daemon=True)
            self._thread.start()
            self._started.wait(30)
        if self._refusal:
            raise NotPermittedError(self._refusal)

    def join(self) -> None:
        """All that was watched has been ended by the caller."""
        self._thread.join(30)

    # -- the watching thread

    def _run(self, pids: list[int]) -> None:
        try:
            for pid in pids:
                with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                    self._seize_all(pid)
        except OSError as error:
            self._refusal = f"ptrace is not permitted: {error.strerror}"
        finally:
            self._started.set()
        while not self._refusal:
            try:
                tid, status = os.waitpid(-1, WALL | WNOTHREAD)
            except ChildProcessError:
                return
            if os.WIFSTOPPED(status):
                with suppress(ProcessLookupError):  # killed meanwhile
                    self._stopped(tid, os.WSTOPSIG(status), status >> 16)

    def _seize_all(self, pid: int) -> None:
        seized: set[int] = set()
        while new := {int(name) for name in os.listdir(f"/proc/{pid}/task")} - seized:
            for tid in new:
                self._ptrace(SEIZE, tid, 0, SYSGOOD | FORK | VFORK | CLONE)
                self._ptrace(INTERRUPT, tid, 0, 0)
            seized |= new

    def _ptrace(self, request: int, tid: int, address: int, data: int) -> int:
        result: int = self._libc.ptrace(request, tid, address, data)
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result

    def _stopped(self, tid: int, number: int, event: int) -> None:
        deliver = 0
        if number == signal.SIGTRAP | 0x80:
            self._system_call(tid)
        elif event == EVENT_STOP and number in STOPPING:
            self._ptrace(LISTEN, tid, 0, 0)
            return
        elif not event:
            deliver = number
        self._ptrace(SYSCALL, tid, 0, deliver)

    def _system_call(self, tid: int) -> None:
        buffer = ctypes.create_string_buffer(INFO.size)
        self._ptrace(SYSCALL_INFO, tid, INFO.size, ctypes.addressof(buffer))
        op, _, _, _, number, *arguments = INFO.unpack(buffer.raw)
        if op == ENTRY and number in self._calls:
            call = _Call(self._calls[number], arguments[0], tuple(arguments), len(self.trace))
            self._under_way[tid] = call
            if call.kind in (WRITE, WRITEV, MESSAGE_OUT):
                self._sending(tid, call)
        elif op == EXIT and (done := self._under_way.pop(tid, None)) is not None:
            result = number - (1 << 64) if number >> 63 else number
            if result >= 0:
                self._done(tid, done, result)

    def _sending(self, tid: int, call: _Call) -> None:
        """Seen as it begins: afterwards the peer may have read it already."""
        if self._path(tid, call.fd).startswith("socket:") and self.answer in self._memory(tid, call, MOST):
            self._note("answer", tid)

    def _done(self, tid: int, call: _Call, result: int) -> None:
        path = self._path(tid, call.fd)
        if call.kind in INCOMING:
            if path.startswith("socket:") and self.request in self._memory(tid, call, result):
                self._note("request", tid)
        elif any(part in path for part in self.files):
            self._note("sync" if call.kind == SYNC else "write", tid, path, call.begun)

    def _note(self, what: str, tid: int, path: str = "", begun: int = 0) -> None:
        if tid not in self._process_of:
            status = Path(f"/proc/{tid}/status").read_text()
            self._process_of[tid] = int(status.split("\nTgid:", 1)[1].split(None, 1)[0])
        self.trace.append(Seen(what, self._process_of[tid], path, begun))

    def _path(self, tid: int, fd: int) -> str:
        try:
            return os.readlink(f"/proc/{tid}/fd/{fd}")
        except OSError:
            return ""

    def _memory(self, tid: int, call: _Call, size: int) -> bytes:
        """The buffer of a call, or the first of its vector's."""
        try:
            memory = os.open(f"/proc/{tid}/mem", os.O_RDONLY)
        except OSError:
            return b""
        try:
            pieces = [(call.arguments[1], call.arguments[2])]
            vector = call.arguments[1:3]
            if call.kind in (MESSAGE_IN, MESSAGE_OUT):  # struct msghdr: name, its length, vector, number of pieces
                vector = struct.unpack("=QQ", os.pread(memory, 16, call.arguments[1] + 16))
            if call.kind not in (READ, WRITE):
                raw = os.pread(memory, 16 * min(vector[1], 16), vector[0])
                pieces = list(struct.iter_unpack("=QQ", raw))
            found = b"".join(os.pread(memory, min(length, MOST), address) for address, length in pieces if length)
            return found[:size] if call.kind in INCOMING else found
        except OSError:
            return b""
        finally:
            os.close(memory)


def unsynced(trace: list[Seen]) -> list[str]:
    """What is wrong with the trace of requests that were sent one after the other: for each answer of success the process that
    committed first must have written to the log after the request came, and a sync that began after its last write must have
    ended before the answer left. (Later commits, like the hint to other nodes, are none of the answer's business.)"""
    problems: list[str] = []
    received = -1
    for place, seen in enumerate(trace):
        if seen.what == "request":
            received = place
        if seen.what != "answer":
            continue
        span = trace[received + 1 : place]
        writes = [(n, one) for n, one in enumerate(span, received + 1) if one.what == "write"]
        if not writes:
            problems.append(f"answer at {place}: nothing was written to the log since the request at {received}")
            continue
        first = writes[0][1]
        last = max(n for n, one in writes if one.process == first.process)
        if not any(one.what == "sync" and one.begun > last and one.path == trace[last].path for one in span):
            problems.append(f"answer at {place}: {trace[last].path} was written at {last} and not synced since")
    return problems
