"""Digests of code, ours and that of other counters: what counts, not the sentences and rules beside it.

What is digested is the syntax tree without positions, comments and docstrings, so nothing that only readers
see makes a difference.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flopledger import reference_model
from flopledger.reference_model import subject

_INSTALLED = ("site-packages", "dist-packages")
_STATING = {"rule", "Step", "Convention"}  # calls that state what a counter charges, and count nothing
# Files that state conventions, or that belong to the ledger or to us and have no part in a counter's number.
_STATES = re.compile(r"(convention|condition|formula|registry|ledger|tracing|\w*rules\w*|\w*history\w*)")


def reference() -> str:
    """The code that makes ledgers."""
    folder = Path(str(reference_model.__file__)).parent
    return _digest(_stamped(path) for path in sorted(folder.rglob("*.py")) if path.stem != "probes")


def source(module: str) -> str:
    """The code that counts in a counter's module, and in the modules of its own that it leans on."""
    return digest(files(module)[0])


def digest(counting: Iterable[Path]) -> str:
    """The code in these files."""
    return _digest(_stamped(path) for path in sorted(counting) if path.is_file())


def files(module: str) -> tuple[set[Path], set[Path]]:
    """The files of a counter's module: those that count, and those beside them that only state what it charges."""
    counting: set[Path] = set()
    stating: set[Path] = set()
    open_ = [path] if (path := _file(module)) else []
    while open_:
        path = open_.pop()
        if path in counting:
            continue
        counting.add(path)
        for found in _followed(path, *_stamp(path)):
            if found.parent.name == "quantities" or _STATES.fullmatch(_named(found)):
                stating.add(found)
            else:
                open_.append(found)
    return counting, stating


def _file(module: str) -> Path | None:
    loaded = sys.modules.get(module)
    try:
        origin = getattr(loaded, "__file__", None) if loaded else getattr(find_spec(module), "origin", None)
    except (ImportError, ValueError):
        return None
    return Path(origin).resolve() if origin and origin.endswith(".py") and Path(origin).is_file() else None


def _named(path: Path) -> str:
    return path.parent.name if path.stem == "__init__" else path.stem


def _stamped(path: Path) -> str:
    return _counting(path, *_stamp(path))


def _stamp(path: Path) -> tuple[int, int]:
    """What tells one state of a file from another within a process: editors and notebooks live long."""
    about = path.stat()
    return about.st_mtime_ns, about.st_size


@lru_cache(maxsize=256)
def _counting(path: Path, *_: int) -> str:
    try:
        return _digest([path.name, ast.dump(_Bare().visit(_tree(path)))])
    except RecursionError:  # a table of a thousand sums that a program wrote
        return _digest([path.name, path.read_bytes().hex()])


@lru_cache(maxsize=256)
def _followed(path: Path, *_: int) -> tuple[Path, ...]:
    """The files that a file imports of flopledger, of its own folder, and of the package that it is part of."""
    names = {name for node in ast.walk(_tree(path)) for name in _imported(node, path)}
    roots = [path.parent, root := subject.root(path)]
    if root.name in _INSTALLED:  # its neighbours are everybody's packages
        own = path.relative_to(root).parts[0].removesuffix(".py")
        roots = [root]
        names = {name for name in names if isinstance(name, Path) or name.partition(".")[0] in (own, "flopledger")}
    return tuple(sorted({found for name in names for found in _placed(name, roots)} - {path}))


def _tree(path: Path) -> ast.Module:
    """The syntax tree of a file; of one that Python cannot read, its text as a constant."""
    text = path.read_bytes()
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return ast.Module([ast.Return(ast.Constant(text))], [])


def _imported(node: ast.AST, path: Path) -> Iterator[str | Path]:
    """What an import statement names: modules as dotted names, relative ones as paths without their ending."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level:
        yield from (str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names))
    elif isinstance(node, ast.ImportFrom):
        base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
        yield from (base, *(base / alias.name for alias in node.names))


def _placed(name: str | Path, roots: list[Path]) -> Iterator[Path]:
    """The files of a module, where it is one of flopledger's rooms or lies in one of these folders."""
    if isinstance(name, Path):
        places = [name]
    elif name.startswith("flopledger."):
        _, room, *rest = name.split(".")
        front = _file(f"flopledger.{room}")
        places = [front.parent.joinpath(*rest)] if front else []
    else:
        places = [root.joinpath(*name.split(".")) for root in roots]
    for place in places:
        for file in (place.with_name(f"{place.name}.py"), place / "__init__.py"):
            if file.is_file():
                yield file.resolve()


class _Bare(ast.NodeTransformer):
    """A module without docstrings, without its convention, and without what only states rules."""

    def __init__(self) -> None:
        self.rules: set[str] = set()  # names at the top of the module that hold nothing but rules

    def visit(self, node: ast.AST) -> Any:
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [kept for kept in body if not self._beside(kept)]  # type: ignore[attr-defined]
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        return ast.Constant(None) if _called(node) in _STATING else self.generic_visit(node)

    def _beside(self, node: ast.stmt) -> bool:
        """Whether a statement has no part in counting; remembers the names of what holds only rules."""
        if isinstance(node, ast.Expr):
            return isinstance(node.value, ast.Constant)
        if isinstance(node, ast.FunctionDef):
            return node.name == "convention"
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
            return False
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = {target.id for target in targets if isinstance(target, ast.Name)}
        sentence = names == {"about"} and isinstance(node.value, ast.Constant)
        if not sentence and not self._only_rules(node.value):
            return False
        self.rules |= names
        return bool(names)

    def _only_rules(self, node: ast.AST) -> bool:
        match node:
            case ast.Call():
                return _called(node) in _STATING
            case ast.Name():
                return node.id in self.rules
            case ast.Tuple() | ast.List() | ast.Set():
                return bool(node.elts) and all(map(self._only_rules, node.elts))
            case ast.Dict():
                return bool(node.values) and all(map(self._only_rules, node.values))
            case ast.BinOp():
                return self._only_rules(node.left) and self._only_rules(node.right)
            case ast.Starred():
                return self._only_rules(node.value)
        return False


def _called(node: ast.Call) -> str:
    return str(getattr(node.func, "id", getattr(node.func, "attr", "")))


def _digest(parts: Any) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.encode() + b"\0")
    return whole.hexdigest()[:20]
