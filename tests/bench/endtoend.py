"""Measured from the first request to the last message at the sink, for ourselves and for the rivals alike."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gauge import Gauge, Reading
from process import BenchError, cpu_s, free_port, python, running, start

STALL_S = 20.0  # no message for so long: it is over
POLL_S = 0.02


@dataclass(frozen=True)
class Sink:
    port: int
    gauge: Gauge
    sample: Path


@dataclass(frozen=True)
class Delivered:
    """One measured round."""

    messages: int
    distinct: int
    signed: int
    seconds: float  # from the first request to the last message
    cpu_us: float  # of the measured system, per message

    @property
    def per_cpu_s(self) -> float:
        return 1e6 / self.cpu_us

    @property
    def rate(self) -> float:
        return self.messages / self.seconds


@contextmanager
def sink(directory: Path) -> Iterator[Sink]:
    port, gauge, sample = free_port(), directory / "gauge", directory / "sample.eml"
    readable = Gauge(gauge)
    with running(start("sink", python("sink.py", port, gauge, sample), directory)) as child:
        child.wait_port(port)
        yield Sink(port, readable, sample)


def wait_for(gauge: Gauge, messages: int, limit_s: float) -> Reading:
    """Until the sink has `messages`, or has had no new one for STALL_S, or the time is up."""
    begin = changed = time.monotonic()
    reading = gauge.read()
    while reading.messages < messages:
        time.sleep(POLL_S)
        now, before, reading = time.monotonic(), reading, gauge.read()
        if reading.messages != before.messages:
            changed = now
        if now - begin > limit_s or now - changed > STALL_S:
            break
    return reading


def smtp_source(port: int, sender: str, message: Path, count: int, round_name: int) -> subprocess.Popen[bytes]:
    """Postfix's own load generator: kept connections, `count` messages, each to a recipient of its own."""
    recipient = f"-{round_name}@example.net"  # -N puts a number in front
    argv = ["smtp-source", "-d", "-N", "-s", 64, "-m", count, "-F", message, "-f", sender, "-t", recipient, f"127.0.0.1:{port}"]
    quiet = subprocess.DEVNULL
    return subprocess.Popen([str(part) for part in argv], stdin=quiet, stdout=quiet, stderr=subprocess.PIPE)


def relay_round(
    port: int, pids: Callable[[], set[int]], to: Sink, message: Path, sender: str, *, count: int, limit_s: float
) -> Delivered:
    """`count` messages through the relay on `port`; the sink must see every one of them."""
    before, cpu = to.gauge.read(), cpu_s(pids())
    begin = time.monotonic()
    load = smtp_source(port, sender, message, count, before.messages)
    try:
        after = wait_for(to.gauge, before.messages + count, limit_s)
    finally:
        load.terminate()
        _, said = load.communicate(timeout=10)
    if after.messages - before.messages < count:
        missing = count - (after.messages - before.messages)
        raise BenchError(f"{missing} of {count} messages did not arrive within {limit_s:.0f} s\n{said.decode()[-300:]}")
    return delivered(before, after, begin, cpu_s(pids()) - cpu)


def delivered(before: Reading, after: Reading, begin: float, cpu: float) -> Delivered:
    messages = after.messages - before.messages
    return Delivered(
        messages,
        after.distinct - before.distinct,
        after.signed - before.signed,
        after.last - begin,
        cpu / messages * 1e6,
    )
