"""`flopledger published`: what others have published about models, and which convention each number is."""

from __future__ import annotations

from typing import Annotated

import typer

from flopledger.reports.command.options import Form, Jobs, NoCache, Quiet, Timeout, app, fail, progress
from flopledger.reports.pages.terminal import Format, show, show_json


@app.command()
def published(
    model: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help="A model by its spec, or part of its name.  [default: all, in minutes]"),
    ] = None,
    form: Form = Format.table,
    timeout: Timeout = 300.0,
    jobs: Jobs = None,
    no_cache: NoCache = False,
    quiet: Quiet = False,
) -> None:
    """Published numbers: what was claimed, the ledger's own, and the convention that explains it, or what is missing.

    torchvision's are read from the installed package, the others are part of flopledger. docs/published.md has all.
    """
    from flopledger.reports.identify import published as numbers
    from flopledger.reports.identify import published_words as words
    from flopledger.reports.identify.search import Scales

    every = numbers.together([*numbers.collected(), *numbers.torchvisions(not no_cache)])
    groups = numbers.chosen(every, model)
    if not groups:
        fail(f"nothing is published here about {model!r}; docs/published.md lists what is")
    with progress(None, quiet) as (_, advance):
        found = list(numbers.explained(groups, Scales(timeout, jobs, not no_cache, advance)))
    if form is Format.json:
        show_json(words.plain(found))
    else:
        show(words.blocks(found), form)
