"""The application and the options that several commands share."""

from typing import Annotated, Literal

import typer

from kvcalc.cli.output import Format

app = typer.Typer(
    name="kvcalc",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="How much hardware does this language model actually eat?\n\nkvcalc estimate gemma-4-e2b -c 128K --on rtx-4090",
)

MODEL = "A model id; or a path to a spec, a config.json, its folder, a .gguf or .safetensors file; or hf:org/name"
Model = Annotated[str, typer.Argument(metavar="MODEL", help=f"{MODEL}.")]
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
Tp = Annotated[int | None, typer.Option("--tp", help="Tensor parallel: devices that share each layer.")]
Pp = Annotated[int | None, typer.Option("--pp", help="Pipeline stages: runs of layers.")]
Ep = Annotated[int | None, typer.Option("--ep", help="Expert parallel: devices over which whole experts are dealt out.")]
Dp = Annotated[int | None, typer.Option("--dp", help="Attention data parallel: replicas, each with its part of the batch.")]
Cached = Annotated[str, typer.Option("--cached", help="Prefill: tokens of the prompt whose state is there already.")]
Chunk = Annotated[str | None, typer.Option("--chunk", help="Prefill in chunks of so many tokens, each reading the weights anew.")]
Usable = Annotated[
    str | None, typer.Option("--usable", help="Memory of one device that may be used, where unknown or less than all: 8GiB.")
]
Pue = Annotated[float | None, typer.Option("--pue", help="Power of the building over power of the servers.")]
HostOverhead = Annotated[
    float | None, typer.Option("--host-overhead", help="Power at the server's plug over the power of its devices.")
]
Power = Annotated[str | None, typer.Option("--power", help="Power of one device at work: 550W. Default: its TDP.")]
Price = Annotated[str | None, typer.Option("--price", help="Price of one device: 2.10USD/h. Default: the dated price list.")]
AssumptionsFile = Annotated[
    str | None, typer.Option("--assumptions", metavar="FILE", help="A YAML file whose values replace those that are assumed.")
]
Math = Annotated[
    str,
    typer.Option("--math", help="Arithmetic of the weights' products, where it is not the format's own: bf16 for weight-only."),
]
Columns = Annotated[
    str | None, typer.Option("--columns", metavar="A,B,C", help="Only these columns, by head or key. An unknown one: the list.")
]
Sort = Annotated[
    str | None, typer.Option("--sort", metavar="COLUMN", help="By this column, by head or key; -COLUMN: the largest first.")
]
RelativeTo = Annotated[
    str | None,
    typer.Option("--relative-to", metavar="MODEL", help="Each measure over that of this model at the same context: 1.00 is the same."),
]
Form = Annotated[Format | None, typer.Option("--format", help="Default: text on a terminal, tsv in a pipe.")]

DEFAULT_CONTEXT = 131072


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False) -> None:
    if version:
        from kvcalc import __version__

        print(f"kvcalc {__version__}")
        raise typer.Exit
