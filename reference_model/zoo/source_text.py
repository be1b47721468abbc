"""What a library registers, read off its source: importing it takes seconds, for a hint about a typing error."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path


def found_in(package: str, folder: str, pattern: re.Pattern[str]) -> list[tuple[str, ...]]:
    """Every match of `pattern` (its groups) in the Python files of `package`/`folder`; [] if it is not installed."""
    found = importlib.util.find_spec(package)
    places = (found.submodule_search_locations if found else None) or []
    texts = (path.read_text("utf-8", "replace") for each in places for path in sorted(Path(each, folder).rglob("*.py")))
    return [match.groups() for text in texts for match in pattern.finditer(text)]
