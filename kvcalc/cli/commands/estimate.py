"""The `estimate` command."""

import sys
from typing import Annotated, Literal

import typer

from kvcalc.cli.options import (
    DEFAULT_CONTEXT,
    Batch,
    Cached,
    Chunk,
    Columns,
    Context,
    Dp,
    Ep,
    Form,
    Include,
    KvFormat,
    Math,
    Model,
    Phase,
    Pp,
    Sort,
    Tp,
    Usable,
    WeightFormat,
    app,
)
from kvcalc.cli.output import write, write_json


@app.command()
def estimate(
    model: Model,
    context: Context = None,
    batch: Batch = "1",
    on: Annotated[
        str | None, typer.Option("--on", metavar="DEVICE", help="A device id or path, with a count if more: 8xh100-sxm.")
    ] = None,
    phase: Phase = "decode",
    kv_format: KvFormat = "native",
    weight_format: WeightFormat = "native",
    by: Annotated[
        Literal["piece", "kind", "row", "group", "format"], typer.Option("--by", help="What a line of the table is.")
    ] = "piece",
    include: Include = None,
    tp: Tp = None,
    pp: Pp = None,
    ep: Ep = None,
    dp: Dp = None,
    cached: Cached = "0",
    chunk: Chunk = None,
    math: Math = "native",
    allocator: Annotated[
        str,
        typer.Option(
            "--allocator",
            help="Who sets the state aside: ideal, llama-cpp, vllm, sglang ..., with settings: vllm:moment=start. "
            "See `kvcalc list allocators`.",
        ),
    ] = "ideal",
    usable: Usable = None,
    columns: Columns = None,
    sort: Sort = None,
    form: Form = None,
) -> int:
    """The ledger of one model: parameters, memory, traffic and FLOPs, piece by piece; with a device, fit, time, energy and money.

    kvcalc estimate gemma-4-e2b -c 128K --on rtx-4090

    kvcalc estimate deepseek-v4-flash -c 1M -b 8 --kv-format bf16 --format json

    kvcalc estimate gpt-oss-20b -c 128K --allocator vllm:moment=start

    kvcalc estimate deepseek-v3 -c 128K -b 64 --on 16xh200-sxm --tp 4 --dp 4 --ep 16

    Exit code 1: it does not fit the device.
    """
    from kvcalc.allocator import IDEAL, applied, asked
    from kvcalc.catalog import load_model
    from kvcalc.cli.rig import asked_rig
    from kvcalc.importers import is_source
    from kvcalc.ledger import ledger, what_is_known
    from kvcalc.report import tables
    from kvcalc.roofline import answer
    from kvcalc.scenario import Scenario
    from kvcalc.units import parse_batch, parse_cached, parse_tokens

    devices = asked_rig(on, tp, pp, ep, dp, usable)
    spec = load_model(model)
    scenario = Scenario(
        phase,
        min(DEFAULT_CONTEXT, spec.max_context) if context is None else parse_tokens(context),
        parse_batch(batch),
        kv_format,
        weight_format,
        tuple(dict.fromkeys(include or ())),
        cached=parse_cached(cached),
        chunk=None if chunk is None else parse_tokens(chunk, "chunk"),
        allocator=allocator,
        math=math,
    )
    book = what_is_known(spec, scenario) if devices is None else ledger(spec, scenario)
    if allocator != IDEAL:
        book = applied(book, asked(allocator).reserve(spec, scenario))
    verdict = None if devices is None else answer(book, *devices)
    if form in ("json", "jsonl"):
        for note in (*book.notes, *(spec.caveats if is_source(model) else ())):
            print(f"note: {note}", file=sys.stderr)
        write_json(tables.estimate_json(book, verdict), form)
    else:
        write(tables.estimate(book, verdict, by, asked=model), form, columns=columns, sort=sort)
    return 1 if verdict is not None and verdict.fits is False else 0
