"""`aurorasend serve` on an empty directory: what it prints works as it is, and so do the samples of the quickstart when
their URL and credentials are changed."""

import json
import os
import re
import resource
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.postgres import free_port

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Started:
    base: str
    curl: str
    account: dict[str, Any]
    pid: int

    def json(self, path: str, posted: bytes | None = None, content_type: str = "") -> dict[str, Any]:
        headers = {"Content-Type": content_type} if content_type else {}
        with urllib.request.urlopen(urllib.request.Request(self.base + path, posted, headers), timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def caught(self, recipient: str, count: int = 1) -> list[dict[str, Any]]:
        """What the sandbox has for this recipient, as soon as there are `count`."""
        path = f"/sandbox.json?to={urllib.parse.quote(recipient)}"
        until = time.monotonic() + 5
        while (found := self.json(path))["total"] < count and time.monotonic() < until:
            time.sleep(0.02)
        messages: list[dict[str, Any]] = found["messages"]
        assert len(messages) == count
        return messages

    def in_bash(self, command: str) -> dict[str, Any]:
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=20, check=True)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    data, address = tmp_path_factory.mktemp("serve") / "data", f"127.0.0.1:{free_port()}"
    shell = ["sh", "-c", 'ulimit -Sn 512 && exec "$@"', "sh"]  # few open files, as most systems have it
    command = [*shell, sys.executable, "-m", "aurorasend", "serve", "--data", str(data), "--http", address]
    environment = {name: text for name, text in os.environ.items() if not name.startswith("AURORASEND_")}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            printed = ""
            while "OpenAPI:" not in printed:
                line = process.stdout.readline()
                assert line, f"it ended after {printed!r}"
                printed += line
            curl = printed[printed.index("curl") :].partition("\n\n")[0]
            shown = json.loads((data / "bootstrap.json").read_text())["main"]["shown"]
            yield Started(f"http://{address}", curl, shown, process.pid)
        finally:
            process.terminate()
            assert process.wait(40) == 0


def test_it_may_have_more_files_open_than_what_is_usual(started: Started) -> None:
    soft, _ = resource.prlimit(started.pid, resource.RLIMIT_NOFILE)
    assert soft == min(20_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def test_the_printed_curl_works_as_it_is(started: Started) -> None:
    answer = started.in_bash(started.curl)
    assert (answer["result"], answer["statusCode"], answer["message"]) == (True, 200, "request was successful")
    recipient = re.search(r"to=([^'\"\s]+)", started.curl)
    assert recipient is not None
    (mail,) = started.caught(recipient[1])
    shown = started.json(f"/sandbox/{mail['id']}.json")
    assert (mail["subject"], mail["kind"]) == ("Test Email", "mail")
    assert "<h1>Hello from AuroraSendCloud!</h1>" in shown["html"]


def quickstart_mail(started: Started, to: str) -> dict[str, str]:
    return {
        "api_user": started.account["trigger"]["apiUser"],
        "api_key": started.account["trigger"]["apiKey"],
        "from": f"hello@{started.account['domain']}",
        "fromName": "Your Name",
        "to": to,
        "subject": "Test Email",
        "html": "<h1>Hello from AuroraSendCloud!</h1>",
    }


def test_the_quickstarts_python_sample_posts_a_form(started: Started) -> None:
    posted = urllib.parse.urlencode(quickstart_mail(started, "python@example.org")).encode()
    answer = started.json("/mail/send", posted, "application/x-www-form-urlencoded")
    assert (answer["statusCode"], answer["message"]) == (200, "request was successful")
    started.caught("python@example.org")


def test_the_quickstarts_javascript_sample_posts_json(started: Started) -> None:
    posted = json.dumps(quickstart_mail(started, "axios@example.org")).encode()
    answer = started.json("/mail/send", posted, "application/json")
    assert (answer["statusCode"], answer["message"]) == (200, "request was successful")
    started.caught("axios@example.org")


def test_the_quickstarts_sms_curl(started: Started) -> None:
    """Its plus sign is not encoded, so that it arrives as a blank."""
    command = rf"""curl -X POST "{started.base}/smsapi/send" \
      -d "smsUser={started.account["sms"]["smsUser"]}" \
      -d "smsKey={started.account["sms"]["smsKey"]}" \
      -d "templateId=123456" \
      -d "phone=+1234567890" \
      -d "vars={{\"code\":\"123456\"}}" """
    answer = started.in_bash(command)
    assert (answer["statusCode"], answer["info"]["successCount"]) == (200, 1)
    (sms,) = started.caught("1234567890")
    assert sms["kind"] == "sms"
    assert started.json(f"/sandbox/{sms['id']}.json")["text"] == "Your code is 123456"


def test_the_quickstarts_python_sms_sample(started: Started) -> None:
    fields = {
        "smsUser": started.account["sms"]["smsUser"],
        "smsKey": started.account["sms"]["smsKey"],
        "templateId": "123456",
        "phone": "+1234567890",
        "vars": '{"code":"123456"}',
    }
    answer = started.json("/smsapi/send", urllib.parse.urlencode(fields).encode(), "application/x-www-form-urlencoded")
    assert answer["statusCode"] == 200


def test_a_wrong_key(started: Started) -> None:
    posted = urllib.parse.urlencode({**quickstart_mail(started, "x@example.org"), "api_key": "wrong"}).encode()
    answer = started.json("/mail/send", posted, "application/x-www-form-urlencoded")
    assert answer == {"result": False, "statusCode": 40005, "message": "authentication failed", "info": {}}
