"""docs/flow.md and its tests: every sentence has a test of its number, and every test a sentence."""

import re
from pathlib import Path

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
