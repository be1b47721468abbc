"""Who may import whom: the rooms one after the other, libraries and engine apart, and no circle."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
ROOMS = ("reference_model", "counters", "reports")


def modules() -> dict[str, Path]:
    """Every module of the three rooms, by its name."""
    found = {}
    for room in ROOMS:
        for path in (TOP / room).rglob("*.py"):
            parts = path.relative_to(TOP).with_suffix("").parts
            found[".".join(("flopledger", *parts)).removesuffix(".__init__")] = path
    return found


def for_types_only(tree: ast.Module) -> set[ast.AST]:
    """What stands under `if TYPE_CHECKING:` and never runs."""
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    return {node for block in blocks for statement in block.body for node in ast.walk(statement)}


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of ours that a file imports, anywhere in it."""
    tree = ast.parse(path.read_text())
    typed = for_types_only(tree)
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in typed:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {n if (n := f"{node.module}.{alias.name}") in known else node.module for alias in node.names}
    return {name for name in found if name in known}


KNOWN = modules()


def test_the_rooms_are_found() -> None:
    """The tests below say nothing of what they do not see."""
    assert len(KNOWN) > 60
    assert "flopledger.reports.command.main" in KNOWN
    assert "flopledger.counters.libraries.thop.rules" in imports(
        KNOWN["flopledger.counters.libraries.thop.count"], KNOWN
    )


@pytest.mark.parametrize(
    ("room", "never"),
    [
        ("reference_model", ("counters", "reports")),
        ("counters", ("reports",)),
        ("counters.libraries", ("counters.engine",)),
        ("counters.engine", ("counters.libraries",)),
        ("reports.documents", ("reports.pages", "reports.command")),
        ("reports.pages", ("reports.command",)),
    ],
)
def test_nobody_imports_from_above(room: str, never: tuple[str, ...]) -> None:
    """A library that leans on the engine could not be read, or replaced, without it; not even inside a function."""
    inside = [name for name in KNOWN if name.startswith(f"flopledger.{room}")]
    assert inside
    for name in inside:
        for other in imports(KNOWN[name], KNOWN):
            assert not other.startswith(tuple(f"flopledger.{above}" for above in never)), f"{name} imports {other}"


def test_no_import_circle() -> None:
    """Modules that need each other are one module in two files; imports inside functions count, too."""
    graph = {name: imports(path, KNOWN) - {name} for name, path in KNOWN.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))
