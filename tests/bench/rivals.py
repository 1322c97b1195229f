"""Postfix with OpenDKIM, and Haraka: made durable, signing with RSA-2048, relaying to the bench's sink.

Each runs in a throw-away directory on high loopback ports and is ended by pid. Postfix is tuned in its favour: no
connection limits, connections to the sink kept, fifty at a time. A rival that is not installed raises `Missing`,
whose text says how to install it.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from process import STOP_S, BenchError, Child, family, free_port, running, start

DOMAIN = "mail.example.com"
SELECTOR = "bench"
POSTFIX_DAEMONS = Path("/usr/lib/postfix/sbin")
INSTALL_POSTFIX = "not installed: `apt-get install postfix opendkim` (the bench starts them as root)"
INSTALL_HARAKA = "not installed: `npm install --prefix DIR Haraka`, then HARAKA=DIR/node_modules/.bin/haraka in the environment"


class Missing(BenchError):
    """The rival is not installed here; the text says how to install it."""


@dataclass(frozen=True)
class Rival:
    """A running rival: where it listens and which processes are its cost."""

    port: int
    roots: tuple[int, ...]

    def pids(self) -> set[int]:
        return set[int]().union(*(family(root) for root in self.roots))


@dataclass(frozen=True)
class Key:
    """The signing key of DOMAIN, and what its DNS record would say."""

    private: bytes
    public: bytes
    record: bytes


def new_key() -> Key:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    base64 = b"".join(public.splitlines()[1:-1])
    private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return Key(private, public, b"v=DKIM1; k=rsa; p=" + base64)


# -- Postfix with OpenDKIM

MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
command_directory = /usr/sbin
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
myhostname = relay.{domain}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
disable_dns_lookups = yes
relayhost = [127.0.0.1]:{sink}
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_milters = inet:127.0.0.1:{milter}
milter_default_action = tempfail
maillog_file = {directory}/postfix.log
maillog_file_prefixes = {directory}
# in its favour
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtp_connection_cache_destinations = [127.0.0.1]:{sink}
default_destination_concurrency_limit = 50
initial_destination_concurrency = 50
in_flow_delay = 0s
smtputf8_enable = no
"""
MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
OPENDKIM_CONF = """\
Socket inet:{milter}@127.0.0.1
Domain {domain}
Selector {selector}
KeyFile {key}
Mode s
Canonicalization relaxed/relaxed
SignatureAlgorithm rsa-sha256
InternalHosts {directory}/internal
UserID opendkim
RequireSafeKeys no
Background no
Syslog no
"""


@contextmanager
def postfix(directory: Path, sink: int, key: Key) -> Iterator[Rival]:
    """Postfix relaying to `sink` with OpenDKIM as its milter."""
    if not (shutil.which("postfix") and shutil.which("opendkim") and POSTFIX_DAEMONS.exists()):
        raise Missing(INSTALL_POSTFIX)
    if os.geteuid() != 0:
        raise BenchError("Postfix needs root to start; not run")
    port, milter = free_port(), free_port()
    with running(opendkim(directory, milter, key)) as signer:
        signer.wait_port(milter)
        master = start_postfix(directory, port, milter, sink)
        try:
            yield Rival(port, (master, signer.pid))
        finally:
            stop_postfix(directory, master)


def opendkim(directory: Path, milter: int, key: Key) -> Child:
    secret = directory / "opendkim.pem"
    secret.write_bytes(key.private)
    secret.chmod(0o600)
    shutil.chown(secret, "opendkim")
    (directory / "internal").write_text("127.0.0.0/8\n")
    config = directory / "opendkim.conf"
    config.write_text(OPENDKIM_CONF.format(milter=milter, domain=DOMAIN, selector=SELECTOR, key=secret, directory=directory))
    return start("opendkim", ["opendkim", "-f", "-x", config], directory)


def start_postfix(directory: Path, port: int, milter: int, sink: int) -> int:
    """The pid of its master, once that is there."""
    config = directory / "postfix"
    for part in (config, directory / "queue", directory / "data"):
        part.mkdir()
    shutil.chown(directory / "data", "postfix")
    names = {"directory": directory, "daemons": POSTFIX_DAEMONS, "domain": DOMAIN, "sink": sink, "milter": milter}
    (config / "main.cf").write_text(MAIN_CF.format(**names))
    (config / "master.cf").write_text(MASTER_CF.format(port=port))
    done = subprocess.run(["postfix", "-c", str(config), "start"], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise BenchError(f"Postfix did not start:\n{done.stderr[-2000:]}")
    until = time.monotonic() + STOP_S
    while not (pid := master_pid(directory)):
        if time.monotonic() > until:
            raise BenchError("Postfix started but has no master.pid")
        time.sleep(0.05)
    return pid


def master_pid(directory: Path) -> int:
    try:
        return int((directory / "queue" / "pid" / "master.pid").read_text())
    except (OSError, ValueError):
        return 0


def stop_postfix(directory: Path, master: int) -> None:
    subprocess.run(["postfix", "-c", str(directory / "postfix"), "stop"], capture_output=True, timeout=60, check=False)
    until = time.monotonic() + STOP_S
    while family(master) and time.monotonic() < until:
        time.sleep(0.05)


# -- Haraka

HARAKA_PLUGIN = """\
'use strict'
exports.register = function () {
  this.register_hook('connect', 'relay')
  this.register_hook('rcpt', 'accept')
  this.register_hook('get_mx', 'sink')
}
exports.relay = (next, connection) => { connection.relaying = true; next() }
exports.accept = (next) => next(OK)
exports.sink = (next) => next(OK, { priority: 0, exchange: '127.0.0.1', port: %d })
"""
HARAKA_FILES = {
    "plugins": "bench_sink\ndkim\n",
    "smtp.ini": "listen=127.0.0.1:{port}\nnodes={nodes}\n",
    "me": "relay.{domain}\n",
    "log.ini": "[main]\nlevel=error\n",
    "outbound.ini": "enable_tls=false\nlocal_mx_ok=true\nalways_split=true\n",
    "dkim.ini": (
        "[sign]\nenabled=true\nselector={selector}\ndomain={domain}\n"
        "headers=From, Reply-To, Subject, Date, Message-ID, To, MIME-Version, Content-Type, Content-Transfer-Encoding\n"
        "[canon]\nbody=relaxed\n[verify]\nenabled=false\n"
    ),
}


def haraka_binary() -> str:
    """From the environment or the PATH."""
    candidates = (os.environ.get("HARAKA"), shutil.which("haraka"))
    for candidate in candidates:
        if candidate and Path(candidate).exists():
            return candidate
    raise Missing(INSTALL_HARAKA)


@contextmanager
def haraka(directory: Path, sink: int, key: Key) -> Iterator[Rival]:
    """Haraka with its outbound queue, one worker per core, and its DKIM plugin."""
    binary = haraka_binary()
    port = free_port()
    shutil.copytree(Path(binary).resolve().parent.parent / "config", directory / "config")
    write_haraka(directory, port, sink, key)
    with running(start("haraka", [binary, "-c", directory], directory)) as child:
        child.wait_port(port)
        yield Rival(port, (child.pid,))


def write_haraka(directory: Path, port: int, sink: int, key: Key) -> None:
    config, plugins = directory / "config", directory / "plugins"
    domain = config / "dkim" / DOMAIN
    for part in (domain, plugins, directory / "queue"):
        part.mkdir(parents=True)
    names = {"port": port, "nodes": os.cpu_count(), "domain": DOMAIN, "selector": SELECTOR}
    for name, text in HARAKA_FILES.items():
        (config / name).write_text(text.format(**names))
    (plugins / "bench_sink.js").write_text(HARAKA_PLUGIN % sink)
    (domain / "private").write_bytes(key.private)
    (domain / "public").write_bytes(key.public)
    (domain / "selector").write_text(SELECTOR + "\n")
