"""Runs the conformance kit against a fresh server (`make conformance`; .ci/run).

The kit is the folder CONFORMANCE_KIT. tests/conformance_passed.txt lists the cases that must pass: one of
them that fails ends this with status 1; others may fail until what they need is built. `--accept` adds what
newly passes to the list. Everything listens on free ports, in a temporary data directory, for each store engine.
"""

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from tests.postgres import running

ROOT = Path(__file__).parents[1]
PASSED = Path(__file__).with_name("conformance_passed.txt")
START_S = 60
STOP_S = 45
KIT_S = 45 * 60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-k", default="", metavar="SUBSTR", help="only cases whose id contains this")
    parser.add_argument("--accept", action="store_true", help="add what newly passes to the list")
    parser.add_argument("--slow", action="store_true", help="also the cases that wait for a retry")
    parser.add_argument("--jobs", default="8")
    parser.add_argument("--engines", default="sqlite,postgres")
    args = parser.parse_args()
    kit = Path(os.environ.get("CONFORMANCE_KIT") or ROOT / "../shared/conformance").resolve()
    if not (kit / "run.py").is_file():
        print(f"There is no conformance kit in {kit}; CONFORMANCE_KIT names its folder.")
        return 2
    options = ["-k", args.k, "--jobs", args.jobs, *([] if args.slow else ["--skip-slow"])]
    return max([run_on(engine, kit, options, args) for engine in args.engines.split(",")])


def run_on(engine: str, kit: Path, options: list[str], args: argparse.Namespace) -> int:
    print(f"-- the conformance kit on {engine}", flush=True)
    with tempfile.TemporaryDirectory(prefix="aurorasend-conformance-") as folder, contextlib.ExitStack() as stack:
        url = "sqlite" if engine == "sqlite" else stack.enter_context(running()).create("conformance")
        stack.enter_context(environment("AURORASEND_STORE_URL", url))
        results = run_kit(kit, Path(folder), options)
    return judge(results, args.k, args.accept)


@contextlib.contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """For the server and for `bootstrap`, which must find the same store."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def run_kit(kit: Path, folder: Path, options: list[str]) -> dict[str, str]:
    """Result of each case by its id: "passed", "failed" or "skipped"."""
    http, http_us, http_hk, sink_smtp, sink_http = free_ports(5)
    junit, target = folder / "junit.xml", folder / "target.json"
    with server(folder, [f"sg=127.0.0.1:{http}", f"us=127.0.0.1:{http_us}", f"hk=127.0.0.1:{http_hk}"], sink_smtp):
        wait_ready(f"http://127.0.0.1:{http}/healthz")
        target.write_text(bootstrap(folder / "data", sink_smtp, sink_http))
        with (folder / "kit.log").open("w+") as log:
            kit_command = [sys.executable, str(kit / "run.py"), "--target", str(target), "--junit", str(junit), *options]
            status = subprocess.run(kit_command, stdout=log, stderr=subprocess.STDOUT, timeout=KIT_S, check=False).returncode
            log.seek(0)
            # The kit's last line counts failures that are no news, and would be read as this run's.
            print("".join(line for line in log if not line[:1].isdigit()), end="")
    if status not in (0, 1):
        raise SystemExit(f"The kit ended with status {status}.")
    return {case.get("name", ""): outcome(case) for case in ET.parse(junit).getroot().iter("testcase")}


def bootstrap(data: Path, sink_smtp: int, sink_http: int) -> str:
    """The kit's target, as JSON."""
    command = [sys.executable, "-m", "aurorasend", "bootstrap", "--data", str(data), "--json"]
    command += ["--sink-smtp", str(sink_smtp), "--sink-http", str(sink_http)]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    json.loads(text)
    return text


def outcome(case: ET.Element) -> str:
    return "failed" if case.find("failure") is not None else "skipped" if case.find("skipped") is not None else "passed"


def judge(results: dict[str, str], selected: str, accept: bool) -> int:
    must = {line for line in PASSED.read_text().splitlines() if line and selected in line} if PASSED.exists() else set()
    passed = {name for name, result in results.items() if result == "passed"}
    new, lost = sorted(passed - must), sorted(must - passed)
    for name in new:
        print(f"newly passes: {name}")
    for name in lost:
        print(f"NO LONGER PASSES: {name} ({results.get(name, 'no such case')})")
    waiting = sum(result == "failed" for name, result in results.items() if name not in must)
    skipped = sum(result == "skipped" for result in results.values())
    print(f"Conformance: {len(must & passed)} of {len(must)} listed cases pass, {len(new)} newly.", end=" ")
    print(f"{waiting} wait for later work, {skipped} are left out.")
    if accept and new:
        before = PASSED.read_text().splitlines() if PASSED.exists() else []
        PASSED.write_text("\n".join(sorted({*filter(None, before), *new})) + "\n")
    return 1 if lost else 0


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def server(folder: Path, listeners: list[str], sink_smtp: int) -> Iterator[None]:
    """A server for the time of the block; its log is printed when something goes wrong in it."""
    command = [sys.executable, "-m", "aurorasend", "serve", "--data", str(folder / "data")]
    command += [part for listener in listeners for part in ("--http", listener)]
    command += ["--set", f"delivery.route=smtp://127.0.0.1:{sink_smtp}", "--set", "webhook.allow_private=127.0.0.0/8"]
    log = folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        try:
            yield
        except BaseException:
            print("".join(log.read_text(errors="replace").splitlines(keepends=True)[-60:]))
            raise
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_ready(url: str) -> None:
    """Until the server answers at all: what it answers is the kit's business."""
    end = time.monotonic() + START_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            if time.monotonic() > end:
                raise SystemExit(f"The server did not answer at {url} within {START_S} s.") from None
            time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
