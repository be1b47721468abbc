"""`flopledger counters`: who is here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flopledger.reports.command.options import Form, app, note
from flopledger.reports.pages.blocks import Column
from flopledger.reports.pages.terminal import Format, show_json, show_table

if TYPE_CHECKING:
    from flopledger.counters.engine.adapters import About


@app.command()
def counters(form: Form = Format.table) -> None:
    """Who is here: every counter, the version installed, and its unit."""
    from flopledger.counters import registry
    from flopledger.counters.engine.adapters import about

    adapters = {name: about(name) for name in registry.names()}
    versions = {name: registry.version_of(adapter.distribution) for name, adapter in adapters.items()}
    for name, reason in registry.left_out().items():
        note(f"{name} is left out: {reason}")
    if form is Format.json:
        show_json([
            {"counter": name, "distribution": adapter.distribution, "version": versions[name], "unit": adapter.unit,
             "about": adapter.about, "trouble": adapter.trouble or None}
            for name, adapter in adapters.items()
        ])  # fmt: skip
        return
    rows = [
        [name, versions[name] or _absent(adapter), adapter.unit, adapter.trouble or adapter.about]
        for name, adapter in adapters.items()
    ]
    show_table([Column("counter"), Column("version"), Column("unit"), Column("what it counts")], rows, form)


def _absent(adapter: About) -> str:
    from flopledger.counters import registry

    if adapter.trouble:
        return "cannot be used"
    return f"not installed ({registry.remedy(adapter)})" if adapter.distribution else ""
