"""docs/flow.md and its tests: every sentence has a test of its number, and every test a sentence."""

import re
from pathlib import Path

import pytest

from aurorasend import account, allowance, content, delivery, dispatch, letters, list_send, pool, queue, smtp_client, submission
from aurorasend.clock import HOUR, MINUTE, SECOND

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "flow.md"


def test_every_sentence_has_a_test_and_every_test_a_sentence() -> None:
    numbered = [int(number) for number in re.findall(r"\*\*F(\d+)\*\*", PAGE.read_text())]
    files = [*HERE.glob("test_*.py"), *(HERE.parent / "contract").glob("test_*.py")]
    tested = {int(number) for path in files for number in re.findall(r"def test_f(\d+)_", path.read_text())}
    assert numbered == list(range(1, len(numbered) + 1))
    assert set(numbered) == tested


def test_it_is_one_page() -> None:
    assert len(PAGE.read_text().splitlines()) <= 80


def test_every_sentence_is_numbered() -> None:
    """Each bullet is the name of a stage or has a number, and each ends as a sentence does."""
    bullets = re.split(r"\n *- ", "\n" + PAGE.read_text())[1:]
    for bullet in bullets:
        text = " ".join(bullet.split())
        assert re.match(r"\*\*F\d+\*\* .*\.$", text) or re.fullmatch(r"\*\*[A-Z][^*]+\*\* \((`[a-z_.]+`(, )?)+\)", text), text


def test_the_modules_that_it_names_exist() -> None:
    for names in re.findall(r"\*\* \((`.*`)\)", PAGE.read_text()):
        for name in re.findall(r"`([a-z_.]+)`", names):
            module = HERE.parents[1] / "aurorasend" / name.replace(".", "/")
            assert module.with_suffix(".py").exists() or (module / "__init__.py").exists(), name


@pytest.mark.parametrize(
    ("sentence", "words", "found", "said"),
    [
        (5, "for a second", account.KEPT_US, SECOND),
        (6, "lapses in 5 s", allowance.PORTION_US, 5 * SECOND),
        (11, "10 ms of a busy process", submission.COMPANY_S, 0.01),
        (11, "128 at most", submission.BATCH, 128),
        (13, "over 256 KiB", content.CHUNK, 256 * 1024),
        (21, "20 ms later", dispatch.COMPANY_S, 0.02),
        (21, "looks every second", dispatch.POLL_S, 1),
        (24, "claims wait 10 s", dispatch.DOUBT_S, 10),
        (24, "in an hour", queue.HORIZON, HOUR),
        (25, "at most a minute", delivery.STALE_US, MINUTE),
        (26, "waits an hour", dispatch.FAULTY_US, HOUR),
        (26, "a hundred tries", dispatch.FAULTY_TRIES, 100),
        (26, "over 256 KiB", letters.LARGE_BYTES, 256 * 1024),
        (26, "eight at a time", delivery.LARGE_AT_ONCE, 8),
        (26, "four to one domain", delivery.LARGE_TO_DOMAIN, 4),
        (26, "after two seconds", delivery.LARGE_WAIT_S, 2),
        (25, "a minute for a connection", pool.Limits().wait_s, 60),
        (32, "over 5 s", smtp_client.PATIENCE_S, 5),
        (33, "for 20 minutes", smtp_client.Timeouts().total_s, 20 * 60),
        (50, "ten faults", list_send.MOST_FAULTS, 10),
    ],
)
def test_a_number_of_the_page_is_that_of_the_code(sentence: int, words: str, found: float, said: float) -> None:
    """Of those that other tests make smaller, so that they need not wait, or do not reach."""
    bullets = re.split(r"\n *- ", PAGE.read_text())
    text = next(" ".join(bullet.split()) for bullet in bullets if bullet.startswith(f"**F{sentence}**"))
    assert words in text
    assert found == said
