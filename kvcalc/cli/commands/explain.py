"""The `explain` command."""

from typing import Annotated

import typer

from kvcalc.cli.options import Context, Form, KvFormat, app
from kvcalc.cli.output import Format, write


@app.command()
def explain(
    name: Annotated[str, typer.Argument(metavar="MODEL|KIND|DEVICE|FORMAT|conventions|whatif", help="What to explain.")],
    context: Context = None,
    kv_format: KvFormat = "native",
    latex: Annotated[bool, typer.Option("--latex", help="Formulas and tables for an article.")] = False,
    form: Form = None,
) -> None:
    """Receipts: the closed form in t, the numbers put in, every row and tensor, the published figures, the sources.

    kvcalc explain gemma-4-e2b -c 128K

    kvcalc explain mla

    kvcalc explain conventions
    """
    from kvcalc.report import receipts
    from kvcalc.units import parse_tokens

    tokens = None if context is None else parse_tokens(context)
    chosen: Format | None = "latex" if latex else form
    write(receipts.explain(name, tokens, kv_format, latex=chosen == "latex"), chosen, in_a_pipe="text")
