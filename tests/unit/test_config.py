"""Settings: each source, each order, and the one sentence about what is wrong."""

import os
import stat
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest

from aurorasend.config import HostPort, Listener, Settings, WrongSetting, load, remember
from aurorasend.config.document import generate_docs, sample_toml
from aurorasend.config.sources import FILE, declared

ROOT = Path(__file__).parents[2]


def read(data: Path, *assignments: str, **environment: str) -> Settings:
    return load(data, environment=environment, assignments=assignments)


def wrong(data: Path, *assignments: str, **environment: str) -> str:
    with pytest.raises(WrongSetting) as caught:
        read(data, *assignments, **environment)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".")
    return sentence


def test_without_any_source_the_defaults_hold(tmp_path: Path) -> None:
    settings = read(tmp_path)
    assert settings.delivery.route.kind == "sandbox"
    assert settings.http.listen == (Listener(HostPort("127.0.0.1", 8025)),)
    assert settings.queue.expiry_trigger == timedelta(hours=24)
    assert settings.limits.body_bytes == 32 * 1024 * 1024
    assert settings.operator_token == tmp_path / "operator.token"
    assert settings.public_url == "http://127.0.0.1:8025"


def test_a_later_source_wins(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('[queue]\nbatch = 1\nlease = "20s"\n[delivery]\nhelo = "file.example"\n')
    environment = {"AURORASEND_QUEUE_BATCH": "2", "AURORASEND_DELIVERY_HELO": "environment.example"}
    assert load(tmp_path, environment={}).queue.batch == 1
    assert load(tmp_path, environment=environment).queue.batch == 2
    assert load(tmp_path, environment=environment, assignments=["queue.batch=3"]).queue.batch == 3
    settings = load(tmp_path, environment=environment, assignments=["queue.batch=3"], flags={"queue.batch": "4"})
    assert (settings.queue.batch, settings.queue.lease) == (4, timedelta(seconds=20))
    assert settings.delivery.helo == "environment.example"


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("delivery.route=pigeon", "sandbox, mx or smtp://"),
        ("delivery.route=smtp://host:0", "delivery.route"),
        ("delivery.route=smtp://host/path", "delivery.route"),
        ("delivery.route=smtp://user@host", "delivery.route"),
        ("queue.lease=15", "duration"),
        ("queue.lease=0s", "more than 0"),
        ("queue.batch=0", "from 1 to 1000"),
        ("queue.batch=9999999999999999999999999", "from 1 to 1000"),
        ("limits.body_bytes=32 apples", "size"),
        ("http.listen=8025", "HOST:PORT"),
        ("http.listen=127.0.0.1:70000", "HOST:PORT"),
        ("http.listen=mars=127.0.0.1:1", "the region mars"),
        ("http.listen=", "must not be empty"),
        ("region.hosts=a.example=mars", "region mars"),
        ("region.default=mars", "region.default names the region mars"),
        ("webhook.allow_private=127.0.0.1/8", "network"),
        ("template.audit=perhaps", "auto or manual"),
        ("api.public_url=ftp://host", "http or https"),
        ("node.roles=api,king", "node.roles"),
        ("log.json=maybe", "true or false"),
        ("store.url=mysql://host/name", "store.url"),
        ("queue.leese=1s", "no setting queue.leese"),
        ("queue", "no equals sign"),
    ],
)
def test_a_wrong_setting_is_named_in_one_sentence(tmp_path: Path, assignment: str, said: str) -> None:
    assert said in wrong(tmp_path, assignment)


def test_a_wrong_setting_says_where_it_stands(tmp_path: Path) -> None:
    assert "--set" in wrong(tmp_path, "queue.batch=x")
    assert "AURORASEND_QUEUE_BATCH" in wrong(tmp_path, AURORASEND_QUEUE_BATCH="x")
    assert "AURORASEND_QUEUE_BACH" in wrong(tmp_path, AURORASEND_QUEUE_BACH="x")
    (tmp_path / FILE).write_text("[queue]\nbatch = 'x'\n")
    assert str(tmp_path / FILE) in wrong(tmp_path)


@pytest.mark.parametrize("text", ["[queue", "batch = 1\n", "[queue]\nbach = 1\n", "[[queue]]\nbatch = 1\n", "\ud800"])
def test_a_broken_file_stops_the_start(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_bytes(text.encode("utf-8", "surrogatepass"))
    assert str(tmp_path / FILE) in wrong(tmp_path)


def test_variables_that_are_not_settings_are_left_alone(tmp_path: Path) -> None:
    kubernetes = ("AURORASEND_SERVICE_HOST", "AURORASEND_PORT", "AURORASEND_PORT_80_TCP_ADDR")
    environment = dict.fromkeys((*kubernetes, "AURORASEND_DATA", "PATH"), "tcp://10.0.0.1:80")
    assert load(tmp_path, environment=environment) == read(tmp_path)


def test_a_route_shows_its_login_to_nobody(tmp_path: Path) -> None:
    settings = read(tmp_path, "delivery.route=smtp://us%40er:pa%3Ass@relay.example:587")
    route = settings.delivery.route
    assert (route.host, route.port, route.user, route.password) == ("relay.example", 587, "us@er", "pa:ss")
    assert "pa:ss" not in repr(settings) and "us@er" not in repr(settings)
    assert str(route) == "smtp://relay.example:587"
    assert "hunter2" not in wrong(tmp_path, "delivery.route=smtp://user:hunter2@host:99999")
    assert "hunter2" not in wrong(tmp_path, "smtp://user:hunter2@host")


def test_a_route_may_be_an_ipv6_address(tmp_path: Path) -> None:
    route = read(tmp_path, "delivery.route=smtp://[::1]:2525").delivery.route
    assert (route.host, route.port, str(route)) == ("::1", 2525, "smtp://[::1]:2525")


def test_a_store_shows_its_password_to_nobody(tmp_path: Path) -> None:
    settings = read(tmp_path, "store.url=postgres://user:hunter2@db.example:5432/mail")
    assert settings.store.url.url == "postgresql://user:hunter2@db.example:5432/mail"
    assert str(settings.store.url) == "postgresql://db.example:5432/mail"
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in wrong(tmp_path, "store.url=mysql://user:hunter2@db.example/mail")


def test_lists_and_tables_read_the_same_in_every_source(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(
        '[http]\nlisten = ["sg=127.0.0.1:1", "us=[::1]:2"]\n[region.hosts]\n"API.example" = "us"\n'
        '[webhook]\nallow_private = ["10.0.0.0/8"]\n'
    )
    from_file = load(tmp_path, environment={})
    (tmp_path / FILE).unlink()
    listeners, hosts, networks = (
        "http.listen=sg=127.0.0.1:1,us=[::1]:2",
        "region.hosts=api.example=us",
        "webhook.allow_private=10.0.0.0/8",
    )
    from_set = read(tmp_path, listeners, hosts, networks)
    assert from_file == from_set
    assert from_set.http.listen[1] == Listener(HostPort("::1", 2), "us")
    assert dict(from_set.region.hosts) == {"api.example": "us"}


def test_what_a_flag_said_is_there_at_the_next_start(tmp_path: Path) -> None:
    remember(tmp_path, {"http.listen": "sg=127.0.0.1:1,us=127.0.0.1:2", "smtp.listen": "127.0.0.1:3"})
    settings = read(tmp_path)
    assert [listener.region for listener in settings.http.listen] == ["sg", "us"]
    assert settings.smtp.listen == HostPort("127.0.0.1", 3)
    assert stat.S_IMODE(os.stat(tmp_path / FILE).st_mode) == 0o600


def test_remembering_keeps_what_the_operator_wrote(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('# mine\n[http]\nbody_timeout = "9s" # short\nlisten = ["127.0.0.1:1"]\n\n[queue]\nbatch = 2\n')
    remember(tmp_path, {"http.listen": "127.0.0.1:7", "smtp.listen": "127.0.0.1:3"})
    text = (tmp_path / FILE).read_text()
    assert text.startswith('# mine\n[http]\nbody_timeout = "9s" # short\nlisten = ["127.0.0.1:7"]\n')
    settings = read(tmp_path)
    assert (settings.http.listen[0].address.port, settings.queue.batch) == (7, 2)


def test_remembering_refuses_a_file_that_it_would_break(tmp_path: Path) -> None:
    text = '[http]\nlisten = [\n  "127.0.0.1:1",\n]\n'
    (tmp_path / FILE).write_text(text)
    with pytest.raises(WrongSetting, match=r"http\.listen"):
        remember(tmp_path, {"http.listen": "127.0.0.1:7"})
    assert (tmp_path / FILE).read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_the_sample_says_what_the_defaults_say(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(sample_toml().replace("\n# ", "\n"))
    assert len(tomllib.loads((tmp_path / FILE).read_text())["limits"]) > 5
    assert read(tmp_path) == load(tmp_path / "elsewhere", environment={}).__class__(tmp_path)


def test_the_page_of_settings_is_the_generated_one() -> None:
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == generate_docs(), "run: make docs"


def test_every_setting_is_explained() -> None:
    for key, found in declared().items():
        assert found.doc.endswith((".", ")")), key
        found.kind.read(found.default)
