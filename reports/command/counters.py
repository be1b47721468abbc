"""`flopledger counters`: who is here."""

from __future__ import annotations

from flopledger.reports.command.options import Form, app
from flopledger.reports.pages.blocks import Column
from flopledger.reports.pages.terminal import Format, show_json, show_table


@app.command()
def counters(form: Form = Format.table) -> None:
    """Who is here: every counter, the version installed, and its unit."""
    from flopledger.counters import registry

    adapters = {name: registry.get(name) for name in registry.names()}
    versions = {name: registry.version_of(adapter.distribution) for name, adapter in adapters.items()}
    if form is Format.json:
        show_json([
            {"counter": name, "distribution": adapter.distribution, "version": versions[name], "unit": adapter.unit,
             "about": adapter.about}
            for name, adapter in adapters.items()
        ])  # fmt: skip
        return
    rows = [
        [name, versions[name] or f"not installed ({registry.remedy(adapter)})", adapter.unit, adapter.about]
        for name, adapter in adapters.items()
    ]
    show_table([Column("counter"), Column("version"), Column("unit"), Column("what it counts")], rows, form)
