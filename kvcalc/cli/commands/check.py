"""The `check` command."""

import sys
from typing import Annotated

import typer

from kvcalc.cli.options import Columns, Form, Sort, app
from kvcalc.cli.output import write


@app.command()
def check(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Spec or device files.")],
    columns: Columns = None,
    sort: Sort = None,
    form: Form = None,
) -> int:
    """Validate spec and device files: each error as file:line:col, and every published figure in them against the formulas.

    kvcalc check specs/gemma-4-e2b.yaml

    Exit code 1: a published figure does not come out as the spec says; 2: a file is not valid.
    """
    from kvcalc.catalog import check_file
    from kvcalc.errors import KvcalcError
    from kvcalc.report import receipts

    checked, code = [], 0
    for file in files:
        try:
            checked.append((file, check_file(file)))
        except KvcalcError as error:
            print(f"error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""), file=sys.stderr)
            code = 2
    if checked:
        table, as_said = receipts.checked(checked)
        write(table, form, columns=columns, sort=sort)
        code = code or (0 if as_said else 1)
    return code
