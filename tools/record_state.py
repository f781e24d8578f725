"""Record what the reference implementations keep between steps: the elements of every cache tensor, at several contexts.

    python tools/record_state.py [ID=]CONFIG.json ... [--measured [ID=]FILE.json ...] -o tests/truth/state.json

Each config is built with transformers on the meta device (full width, all layers, no weights allocated) and run with a real
DynamicCache for a prompt of each context; nothing in the cache path is replaced. Only the routed experts are stubbed: their
control flow depends on data, and they do not touch the cache. The output is merged into FILE, sorted, one model under its id:

    {id: {"implementation": ..., "layers": {type: count}, "contexts": {"297": {"sliding_attention/keys": elements, ...}}}}

Elements are summed over layers of one type. Models with layer types whose long prompts take long (LONG_PROMPTS_ARE_SLOW) run,
from 131,072 tokens on, one layer of each type, multiplied by its count, after the short model has given what the full one gives
at a small context; all others run in full. `--measured` takes a recording of another implementation (a list `kv` of contexts with
`layer_groups`), and of it only what was measured.

Needs torch and transformers (recorded with 2.13.0 and 5.23.0); the package itself needs neither.
"""

import argparse
import copy
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

CONTEXTS = (1, 3, 4, 5, 100, 127, 128, 129, 297, 511, 512, 513, 1024, 4096, 131072, 1048576)
PROBE = 297
"""Context at which one layer of each type must give what all layers give, and a prompt with two decode steps what a prompt
gives."""
ONE_OF_EACH_FROM = 131072
NOT_PART_OF_AN_ID = re.compile(r"^meta-(?=llama)|-(?:it|hf|text|instruct)(?=-|$)")
RELABELLED = {"kimi_k2": "deepseek_v3"}
"""Model types that transformers does not know, and the architecture that their config declares."""
NO_STATE = {"_sliding_window_tensor"}
"""Tensors in a cache that hold a setting."""
LONG_PROMPTS_ARE_SLOW = {"linear_attention", "compressed_sparse_attention"}
PER_LAYER = ("layer_types", "mlp_layer_types", "num_attention_heads_per_layer")


def model_id(name: str) -> str:
    """`google--gemma-4-E2B-it` -> `gemma-4-e2b`."""
    return NOT_PART_OF_AN_ID.sub("", name.rpartition("--")[2].lower())


def named(argument: str) -> tuple[str, Path]:
    """`ID=CONFIG` or `CONFIG`, whose file name gives the id."""
    given, _, path = argument.rpartition("=")
    return given or model_id(Path(path).stem), Path(path)


def configuration(path: Path) -> Any:
    """The text model's configuration, with eager attention."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    raw = json.loads(path.read_text())
    raw.pop("_provenance", None)
    raw.pop("quantization_config", None)
    raw["model_type"] = RELABELLED.get(raw["model_type"], raw["model_type"])
    config = CONFIG_MAPPING[raw["model_type"]].from_dict(raw).get_text_config(decoder=True)
    config._attn_implementation = "eager"
    return config


def build(config: Any) -> Any:
    """The reference model on the meta device, routed experts stubbed."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
    for module in model.modules():
        experts = getattr(module, "gate_up_proj", None)
        if isinstance(experts, torch.nn.Parameter) and experts.ndim == 3:
            module.forward = lambda hidden, *_, **__: torch.zeros_like(hidden)
    return model


def layer_types(config: Any) -> list[str]:
    """The type of each layer, as the cache takes it."""
    from transformers.cache_utils import get_layer_types_and_kwargs

    return list(get_layer_types_and_kwargs(config)[0])


def run(model: Any, config: Any, *steps: int) -> Any:
    """The cache after steps of so many tokens: a prompt, then perhaps single tokens."""
    import torch
    from transformers import DynamicCache

    cache = DynamicCache(config=config)
    with torch.no_grad():
        for tokens in steps:
            new = torch.zeros((1, tokens), dtype=torch.long, device="meta")
            cache = model(input_ids=new, past_key_values=cache, use_cache=True, logits_to_keep=1).past_key_values
    return cache


def tensors(layer: Any) -> Iterator[tuple[str, Any]]:
    """Every tensor that one layer's cache holds, by name."""
    import torch

    for name, value in vars(layer).items():
        parts = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else [("", value)]
        )
        for key, part in parts:
            if isinstance(part, torch.Tensor) and name not in NO_STATE:
                yield f"{name}.{key}" if key != "" else name, part


def elements(cache: Any, types: list[str], times: Counter[str]) -> dict[str, int]:
    """Elements by layer type and tensor, each layer counted `times` its type."""
    found: Counter[str] = Counter()
    for kind, layer in zip(types, cache.layers, strict=True):
        for name, tensor in tensors(layer):
            found[f"{kind}/{name}"] += times[kind] * tensor.numel()
    return {key: found[key] for key in sorted(found) if found[key]}


def one_of_each(config: Any, types: list[str]) -> Any:
    """The same model with one layer of each type, in order of appearance."""
    short = copy.deepcopy(config)
    keep = [types.index(kind) for kind in dict.fromkeys(types)]
    short.num_hidden_layers = len(keep)
    for field in PER_LAYER:
        if isinstance(values := getattr(short, field, None), list):
            setattr(short, field, [values[index] for index in keep])
    return short


def record(path: Path, contexts: list[int]) -> dict[str, Any]:
    """The recording of one model."""
    import torch
    import transformers

    config = configuration(path)
    types = layer_types(config)
    counts = Counter(types)
    slow = bool(LONG_PROMPTS_ARE_SLOW & set(types))
    contexts = [t for t in sorted({PROBE, *contexts}) if t <= config.max_position_embeddings]
    model = build(config)
    name = type(model).__name__
    full = [t for t in contexts if not (slow and t >= ONE_OF_EACH_FROM)]
    found = {t: elements(run(model, config, t), types, Counter(set(types))) for t in full}
    if elements(run(model, config, PROBE - 2, 1, 1), types, Counter(set(types))) != found[PROBE]:
        raise SystemExit(f"{path.name}: a prompt and two decode steps do not leave what a prompt of as many tokens leaves")
    if rest := [t for t in contexts if t not in full]:
        config = one_of_each(config, types)
        model, types = build(config), list(dict.fromkeys(types))
        if elements(run(model, config, PROBE), types, counts) != found[PROBE]:
            raise SystemExit(f"{path.name}: one layer of each type does not give what all layers give")
        found |= {t: elements(run(model, config, t), types, counts) for t in rest}
    layers = (
        f"all layers; at {', '.join(f'{t:,}' for t in rest)} one layer of each type, times its count" if rest else "all layers"
    )
    versions = f"transformers {transformers.__version__} {name}, torch {torch.__version__.partition('+')[0]}"
    return {
        "implementation": f"{versions}, meta device; {layers}",
        "layers": dict(sorted(counts.items())),
        "contexts": {str(t): found[t] for t in contexts},
    }


def measured(path: Path) -> dict[str, Any]:
    """The measured part of a recording of another implementation."""
    recording = json.loads(path.read_text())
    runs = [run for run in recording["kv"] if not run["method"].startswith("closed form")]
    layers: Counter[str] = Counter()
    contexts: dict[str, dict[str, int]] = {}
    for one in runs:
        found: Counter[str] = Counter()
        for group in one["layer_groups"]:
            layers[group["type"]] += len(group["layers"]) if one is runs[0] else 0
            for name, tensor in group["tensors"].items():
                found[f"{group['type']}/{name}"] += len(group["layers"]) * prod(tensor["shape"])
        contexts[str(one["context"])] = {key: found[key] for key in sorted(found) if found[key]}
    return {
        "implementation": re.sub(r", N=\d+\+\d+", "", runs[0]["method"]),
        "layers": dict(sorted(layers.items())),
        "contexts": contexts,
    }


def write(file: Path, models: dict[str, Any]) -> None:
    """One line per context, so that a change can be read in a diff."""
    text = json.dumps(dict(sorted(models.items())), indent=1)
    text = re.sub(r"\{[^{}]*\}", lambda match: re.sub(r"\s*\n\s*", " ", match[0]).replace("{ ", "{").replace(" }", "}"), text)
    file.write_text(text + "\n")


def main() -> None:
    """Record and merge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="*", type=named, metavar="[ID=]CONFIG.json")
    parser.add_argument("--measured", nargs="*", type=named, default=[], metavar="[ID=]FILE.json")
    parser.add_argument("--context", type=int, nargs="+", default=list(CONTEXTS))
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    models = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    for name, path in arguments.configs:
        started = time.perf_counter()
        models[name] = record(path, arguments.context)
        write(arguments.output, models)
        print(f"{name}: {len(models[name]['contexts'])} contexts, {time.perf_counter() - started:.0f} s", file=sys.stderr)
    for name, path in arguments.measured:
        models[name] = measured(path)
    write(arguments.output, models)


if __name__ == "__main__":
    main()
