"""The `sweep` command."""

import os
import sys
from time import monotonic
from typing import Annotated, Literal

import typer

from kvcalc.cli.options import Usable, app


@app.command()
def sweep(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Model ids, or paths: spec, config.json, folder, .gguf.")],
    context: Annotated[
        str | None,
        typer.Option("-c", "--context", help="Tokens: 4K,128K, 4K..1M (doubling), 4K..1M*4, 1K..16K+1K. Default: as estimate."),
    ] = None,
    batch: Annotated[str, typer.Option("-b", "--batch", help="Sequences: 1,8,64 or 1..64*2.")] = "1",
    kv_format: Annotated[str, typer.Option("--kv-format", help="Formats of kv and index rows: native,bf16,fp8.")] = "native",
    weight_format: Annotated[str, typer.Option("--weight-format", help="Formats of every matrix: native,fp8.")] = "native",
    on: Annotated[
        list[str] | None,
        typer.Option("--on", metavar="DEVICE", help="Devices, each with a count if more; repeat it, or separate them by commas."),
    ] = None,
    phase: Annotated[str, typer.Option("--phase", help="decode, prefill, or both: decode,prefill.")] = "decode",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUES", help="Any field of the spec: attention.local.window=512,1K or =512..8K*2."),
    ] = None,
    math: Annotated[str, typer.Option("--math", help="Arithmetics of the weights' products: native,bf16.")] = "native",
    tp: Annotated[str | None, typer.Option("--tp", help="Tensor parallel: 1,2,4,8.")] = None,
    pp: Annotated[str | None, typer.Option("--pp", help="Pipeline stages: 1,2.")] = None,
    ep: Annotated[str | None, typer.Option("--ep", help="Expert parallel: 1,8.")] = None,
    dp: Annotated[str | None, typer.Option("--dp", help="Attention data parallel: 1,2.")] = None,
    usable: Usable = None,
    limit: Annotated[int | None, typer.Option("--limit", help="Only the first so many rows.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Processes; the rows stay the same, in the same order.")] = 1,
    form: Annotated[Literal["csv", "tsv", "jsonl"], typer.Option("--format", help="How rows are written.")] = "csv",
) -> int:
    """A grid of scenarios as rows of plain numbers in base units, written as they are worked out.

    kvcalc sweep gemma-4-e2b llama-3.1-8b -c 4K..1M*2 -b 1,8,64 --on rtx-4090,8xh100-sxm

    kvcalc sweep laguna-xs.2 --set attention.local.window=512..8K*2 --kv-format bf16,fp8 --format jsonl

    kvcalc sweep deepseek-v3 --on h200-sxm --tp 4,8,16 -b 64 --jobs 4

    Rows come in the order of the columns, the last fastest. A point that cannot be is a row that says why in its column `error`.

    Exit code 1: no point of the grid can be.
    """
    from kvcalc.grid import chunks, header, read_grid, read_settings

    grid = read_grid(
        models,
        settings=read_settings(set_ or ()),
        phases=phase,
        contexts=context,
        batches=batch,
        kv_formats=kv_format,
        weight_formats=weight_format,
        maths=math,
        devices=[name for group in on or () for name in group.split(",")],
        tp=tp,
        pp=pp,
        ep=ep,
        dp=dp,
        usable=usable,
        limit=limit,
    )
    parts = chunks(grid, form, jobs)
    shown = _Counter(len(grid))
    done = errors = 0
    try:
        sys.stdout.write(header(grid, form))
        for part in parts:
            sys.stdout.write(part.text)
            sys.stdout.flush()
            done, errors = done + part.rows, errors + part.errors
            shown.at(done)
    except BrokenPipeError:  # whoever reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        shown.close()
    for note in grid.notes:
        print(f"note: {note}", file=sys.stderr)
    if errors:
        print(f"note: {errors:,} of {done:,} points cannot be; the column `error` says why", file=sys.stderr)
    return 1 if errors == done else 0


class _Counter:
    """How far it is, in one line on stderr: only where that is a terminal that the rows do not go to as well."""

    EVERY = 0.2
    """Seconds between two looks."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.start = self.last = monotonic()
        self.width = 0
        self.on = sys.stderr is not None and sys.stderr.isatty() and not sys.stdout.isatty()

    def at(self, done: int) -> None:
        now = monotonic()
        if not self.on or (now - self.last < self.EVERY and done < self.total):
            return
        self.last = now
        speed = done / max(now - self.start, self.EVERY / self.total)
        minutes, seconds = divmod(round((self.total - done) / speed), 60)
        line = f"{done:,} of {self.total:,} points, {100 * done // self.total} %, {speed:,.0f}/s, {minutes:,}:{seconds:02} left"
        sys.stderr.write("\r" + line.ljust(self.width))
        sys.stderr.flush()
        self.width = len(line)

    def close(self) -> None:
        """Take the line away."""
        if self.width:
            sys.stderr.write("\r" + " " * self.width + "\r")
            sys.stderr.flush()
