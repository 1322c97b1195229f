"""The shape of the tree: sizes, the direction of imports, no state in modules, nothing of one workplace in the text."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import aurorasend

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "aurorasend"
LINES_OF_A_FILE = 500
LINES_OF_A_FUNCTION = 60

# Each layer may import from those after it, never from those before it, by any way round.
LAYERS = (
    {"cli", "app", "bootstrap", "explain", "operate"},
    {"api", "portal", "console", "smtpd", "tracking"},
    {"submission", "delivery", "sms", "bounce", "statistics"},
    {"event"},
    {"suppression", "webhook"},
    {"queue"},
    {"store"},
)
UNDER = (("message", "delivery"), ("dkim", "delivery"), ("gateways", "sms"), ("endpoint", "api"), ("fields", "api"))
ALONE = ("codes", "config", "address")
MUTABLE_CALLS = {
    "list",
    "dict",
    "set",
    "bytearray",
    "defaultdict",
    "deque",
    "Counter",
    "OrderedDict",
    "Lock",
    "Event",
    "Queue",
    "ContextVar",
}
MUTATORS = {
    "append",
    "add",
    "update",
    "setdefault",
    "pop",
    "popitem",
    "clear",
    "extend",
    "remove",
    "insert",
    "discard",
    "appendleft",
}
TEXT_FOLDERS = ("aurorasend", "tests", "docs", "changelog.d", ".ci")
MAY_NAME_THE_KIT = {".ci/run", "tests/run_conformance.py"}  # its default place is beside the checkout


def sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def noun_of(path: Path) -> str:
    """The module or package right under aurorasend that `path` belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(node: ast.AST) -> Iterator[str]:
    """Full names of what is imported under `node`, but not for type checking only."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports name the whole path"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        else:
            yield from imported(child)


@cache
def import_graph() -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for path in sources(PACKAGE):
        noun = noun_of(path)
        found = {name.split(".")[1] for name in imported(tree_of(path)) if name.startswith("aurorasend.")}
        graph.setdefault(noun, set()).update(found - {noun, "__version__"})
    return graph


def reached(noun: str) -> dict[str, str]:
    """Everything that `noun` imports by any way, each with the module before it on the way."""
    graph, before = import_graph(), {noun: ""}
    waiting = [noun]
    while waiting:
        here = waiting.pop()
        for there in sorted(graph.get(here, ())):
            if there not in before:
                before[there] = here
                waiting.append(there)
    return before


def way(noun: str, to: str) -> str:
    before, steps = reached(noun), [to]
    while before[steps[-1]]:
        steps.append(before[steps[-1]])
    return " -> ".join(reversed(steps))


def test_no_file_is_too_long() -> None:
    files = [path for path in sources(PACKAGE) + sources(ROOT / "tests") if "versions" not in path.parts]
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {str(path): lines for path, lines in lengths.items() if lines > LINES_OF_A_FILE} == {}


def test_no_function_is_too_long() -> None:
    long = {
        f"{path}:{node.lineno} {node.name}": lines
        for path in sources(PACKAGE) + sources(ROOT / "tests")
        if "versions" not in path.parts  # a migration says a schema once, as a list
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > LINES_OF_A_FUNCTION
    }
    assert long == {}


def test_no_layer_reaches_one_above_it() -> None:
    graph = import_graph()
    for number, layer in enumerate(LAYERS):
        above = set().union(*LAYERS[:number])
        for noun in sorted(layer & graph.keys()):
            assert [way(noun, found) for found in reached(noun) if found in above] == []


@pytest.mark.parametrize(("low", "high"), UNDER)
def test_what_stands_under_something_does_not_reach_it(low: str, high: str) -> None:
    assert high not in reached(low), way(low, high)


@pytest.mark.parametrize("noun", ALONE)
def test_the_ground_stands_on_nothing_of_ours(noun: str) -> None:
    assert import_graph()[noun] == set()


def test_nothing_imports_itself_by_a_way_round() -> None:
    graph = import_graph()
    rounds = [way(there, noun) for noun in sorted(graph) for there in sorted(graph[noun]) if noun in reached(there)]
    assert rounds == []


def test_sql_is_spoken_by_the_store_only() -> None:
    speakers = {
        noun_of(path)
        for path in sources(PACKAGE)
        for name in imported(tree_of(path))
        if name.split(".")[0] in ("sqlite3", "sqlalchemy", "alembic")
    }
    assert speakers <= {"store"}


@pytest.mark.parametrize("path", sources(PACKAGE), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_keeps_no_state(path: Path) -> None:
    tree = tree_of(path)
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Global)] == []
    containers = {name: value for name, value in assigned(tree) if is_container(value)}
    assert [name for name, value in containers.items() if is_filled_later(value)] == []
    assert [name for name in mutated(tree) if name in containers] == []


def assigned(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Names given a value by the module itself, `__all__` apart."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        for target in targets:
            if isinstance(target, ast.Name) and target.id != "__all__" and node.value is not None:
                yield target.id, node.value


def is_container(value: ast.expr) -> bool:
    return isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp) or is_filled_later(value)


def is_filled_later(value: ast.expr) -> bool:
    """An empty container can only be meant to be filled; so are those that a call without arguments makes."""
    if isinstance(value, ast.List):
        return not value.elts
    if isinstance(value, ast.Dict):
        return not value.keys
    return isinstance(value, ast.Call) and called(value) in MUTABLE_CALLS and (not value.args or called(value) == "ContextVar")


def called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else call.func.attr if isinstance(call.func, ast.Attribute) else ""


def mutated(tree: ast.Module) -> Iterator[str]:
    """Names that are changed in place somewhere in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del) and isinstance(node.value, ast.Name):
            yield node.value.id
        if isinstance(node, ast.Attribute) and node.attr in MUTATORS and isinstance(node.value, ast.Name):
            yield node.value.id


@pytest.mark.parametrize(
    "text",
    ["A = []", "A = {}", "A: set[int] = set()", "A = deque()", "A = [1]\ndef f():\n    A.append(2)", "A = {1: 2}\nA[3] = 4"],
)
def test_the_check_for_state_sees_it(text: str) -> None:
    tree = ast.parse(text)
    containers = {name: value for name, value in assigned(tree) if is_container(value)}
    assert any(is_filled_later(value) for value in containers.values()) or set(mutated(tree)) & containers.keys()


def project_files() -> list[Path]:
    folders = [path for folder in TEXT_FOLDERS for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts]
    return [path for path in [*ROOT.iterdir(), *folders] if path.is_file()]


def test_the_text_names_nothing_of_one_workplace() -> None:
    workplace, kit = "/" + "work/", "shared" + "/"
    for path in project_files():
        text, name = path.read_text(encoding="utf-8", errors="replace"), path.relative_to(ROOT).as_posix()
        assert workplace not in text, name
        assert kit not in text.replace(f"../{kit}conformance", "" if name in MAY_NAME_THE_KIT else kit), name


def test_the_lock_pins_versions_and_names_no_place() -> None:
    lines = (ROOT / "requirements-dev.lock").read_text().splitlines()
    wrong = [line for line in lines if not re.fullmatch(r"#.*|[A-Za-z0-9_.-]+==[A-Za-z0-9_.+!-]+", line)]
    assert wrong == [] and "://" not in "".join(lines)


def test_no_docstring_names_a_caller_that_is_not_there() -> None:
    absent = set[str]().union(*LAYERS) - {noun_of(path) for path in sources(PACKAGE)}
    for path in sources(PACKAGE):
        said = ast.get_docstring(tree_of(path)) or ""
        callers = re.findall(r"(?:Called|Built|Used) by\b.*?\.(?=\s|\Z)", said, re.DOTALL)
        assert not absent & set(re.findall(r"\w+", " ".join(callers))), path


def test_the_map_is_the_tree() -> None:
    """The package's docstring names every module, and only modules."""
    words = {
        name.strip()
        for line in (aurorasend.__doc__ or "").splitlines()
        if line.startswith("    ")  # names fill the first 24 columns
        for name in line[4:28].split(",")
    }
    modules = {noun_of(path) for path in sources(PACKAGE)} - {"__init__", "__main__"}
    assert words == modules
