"""The commands. Each imports what it needs when it runs, so that `--help` is quick."""

import sys
from typing import Annotated, Literal

import typer

from kvcalc.cli.output import Format, write, write_json

app = typer.Typer(
    name="kvcalc",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="How much hardware does this language model actually eat?\n\nkvcalc estimate gemma-4-e2b -c 128K --on rtx-4090",
)

Model = Annotated[str, typer.Argument(metavar="MODEL", help="A model id, or a path to a spec YAML.")]
Context = Annotated[
    str | None, typer.Option("-c", "--context", help="Tokens: 131072, 128K, 1M. Default: 128K, or the model's maximum if less.")
]
Batch = Annotated[str, typer.Option("-b", "--batch", help="Sequences in the batch.")]
KvFormat = Annotated[
    str, typer.Option("--kv-format", help="Format of kv and index rows; native: as released. See `kvcalc list formats`.")
]
WeightFormat = Annotated[str, typer.Option("--weight-format", help="Format of every matrix; native: as released.")]
Phase = Annotated[
    Literal["decode", "prefill"], typer.Option("--phase", help="decode: one token per sequence; prefill: a whole prompt.")
]
Include = Annotated[
    list[str] | None, typer.Option("--include", help="Count what a draft or tower holds: draft, vision_tower, audio_tower.")
]
Form = Annotated[Format | None, typer.Option("--format", help="Default: text on a terminal, tsv in a pipe.")]

DEFAULT_CONTEXT = 131072


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False) -> None:
    if version:
        from kvcalc import __version__

        print(f"kvcalc {__version__}")
        raise typer.Exit


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
    form: Form = None,
) -> int:
    """The ledger of one model: parameters, memory, traffic and FLOPs, piece by piece; with a device, fit, time, energy and money.

    kvcalc estimate gemma-4-e2b -c 128K --on rtx-4090

    kvcalc estimate deepseek-v4-flash -c 1M -b 8 --kv-format bf16 --format json

    Exit code 1: it does not fit the device.
    """
    from kvcalc.catalog import load_devices, load_model
    from kvcalc.ledger import ledger
    from kvcalc.report import tables
    from kvcalc.roofline import answer
    from kvcalc.scenario import Scenario
    from kvcalc.units import parse_batch, parse_tokens

    device = None if on is None else load_devices(on)
    spec = load_model(model)
    tokens = min(DEFAULT_CONTEXT, spec.max_context) if context is None else parse_tokens(context)
    book = ledger(
        spec, Scenario(phase, tokens, parse_batch(batch), kv_format, weight_format, tuple(dict.fromkeys(include or ())))
    )
    verdict = None if device is None else answer(book, device[1], device[0])
    if form in ("json", "jsonl"):
        for note in book.notes:
            print(f"note: {note}", file=sys.stderr)
        write_json(tables.estimate_json(book, verdict), form)
    else:
        write(tables.estimate(book, verdict, by, asked=model), form)
    return 1 if verdict is not None and verdict.fits is False else 0


@app.command()
def compare(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Model ids or paths.")],
    context: Annotated[str, typer.Option("-c", "--context", help="One context or several: 4K,32K,128K,1M.")] = "128K",
    batch: Batch = "1",
    on: Annotated[
        list[str] | None, typer.Option("--on", metavar="DEVICE", help="Devices; repeat it, or separate them by commas.")
    ] = None,
    phase: Phase = "decode",
    kv_format: KvFormat = "native",
    weight_format: WeightFormat = "native",
    form: Form = None,
) -> None:
    """Models side by side, context by context, with the state relative to the smallest.

    kvcalc compare gemma-4-e2b llama-3.1-8b zaya1-8b -c 4K,128K --on rtx-4090

    kvcalc compare deepseek-v3.2 deepseek-v4-pro deepseek-v4.1-flash -c 1M --kv-format bf16 --format md
    """
    from kvcalc.catalog import load_devices, load_model
    from kvcalc.report import tables
    from kvcalc.scenario import Scenario
    from kvcalc.units import parse_batch, parse_tokens

    devices = [load_devices(name.strip()) for group in on or () for name in group.split(",")]
    contexts = list(dict.fromkeys(parse_tokens(text) for text in context.split(",")))
    scenarios = [Scenario(phase, tokens, parse_batch(batch), kv_format, weight_format) for tokens in contexts]
    write(tables.compare([load_model(name) for name in models], scenarios, devices), form)


@app.command()
def explain(
    name: Annotated[str, typer.Argument(metavar="MODEL|KIND|DEVICE|FORMAT|conventions", help="What to explain.")],
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


@app.command("list")
def list_(
    what: Annotated[
        Literal["models", "hardware", "attention", "feedforward", "router", "residual", "embedding", "formats"],
        typer.Argument(
            metavar="WHAT",
            help="models, hardware, formats; attention and the other kinds: feedforward, router, residual, embedding.",
        ),
    ],
    form: Form = None,
) -> None:
    """What the catalogue holds.

    kvcalc list models

    kvcalc list attention
    """
    from kvcalc.catalog import device_ids, load_device, load_model, model_ids
    from kvcalc.report import receipts, tables

    if what == "models":
        write(tables.models([load_model(name) for name in model_ids()]), form)
    elif what == "hardware":
        write(tables.devices([load_device(name) for name in device_ids()]), form)
    elif what == "formats":
        write(receipts.formats(), form)
    else:
        write(receipts.kinds(what), form)


@app.command()
def check(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Spec or device files.")],
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
        write(table, form)
        code = code or (0 if as_said else 1)
    return code


@app.command()
def schema(what: Annotated[Literal["model", "hardware"], typer.Argument(metavar="model|hardware", help="Which files.")]) -> None:
    """The JSON Schema of spec or device files, for editors.

    kvcalc schema model
    """
    from kvcalc import hardware, spec

    write_json(spec.json_schema() if what == "model" else hardware.json_schema(), "json")
