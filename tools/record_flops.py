"""Count the matrix products that the reference implementations run: one decode step and one prompt, at several contexts.

    python tools/record_flops.py [ID=]CONFIG.json ... -o tests/truth/flops.json

Each config is built with transformers on the meta device (full width, all layers, eager attention, routed experts stubbed: they
are not counted) and run under torch's FlopCounterMode, which counts mm, addmm, bmm, baddbmm and convolutions, 2 FLOPs per
multiply-add, and nothing elementwise. A decode step at context t runs one token on a cache of t - 1; a prompt runs t tokens and
the head for the last.

    {id: {"implementation": ..., "counted": ..., "routed_experts": ...,
          "decode": {"100": {"layers.*.self_attn.q_proj": flops, ...}}, "prefill": {...}}}

A module's figure leaves out its children's: `layers.*.self_attn` alone is the scores and value mixes. Layer numbers are summed
over. The routed experts are counted apart: the experts module of one layer with as many experts as a token uses, full width, real
tensors on the CPU, one token; `routed_experts` holds its FLOPs and how many such modules the model has.
"""

import argparse
import json
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from record_state import build, configuration, named, write

CONTEXTS = (1, 100, 1024, 4096)
COUNTED = "torch FlopCounterMode, eager attention, routed experts stubbed (zeros of the same shape) and so not counted"


def own_flops(by_module: dict[str, Any]) -> dict[str, int]:
    """FLOPs of each module without its children's, summed over layers, by module path."""
    totals = {name: sum(ops.values()) for name, ops in by_module.items() if name != "Global"}
    own = dict(totals)
    for name, flops in totals.items():
        parent = name.rpartition(".")[0]
        while parent and parent not in own:
            parent = parent.rpartition(".")[0]
        if parent:
            own[parent] -= flops
    found: Counter[str] = Counter()
    for name, flops in own.items():
        path = re.sub(r"^[^.]+\.?(model\.)?", "", name)
        found[re.sub(r"(?<=\.)\d+(?=\.|$)", "*", path) or "model"] += flops
    return {name: found[name] for name in sorted(found) if found[name]}


def count(model: Any, config: Any, before: int, tokens: int) -> dict[str, int]:
    """FLOPs of a step of `tokens` on a cache of `before`."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import DynamicCache

    cache = DynamicCache(config=config)

    def step(n: int) -> None:
        ids = torch.zeros((1, n), dtype=torch.long, device="meta")
        model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)

    with torch.no_grad():
        if before:
            step(before)
        with FlopCounterMode(display=False) as counter:
            step(tokens)
    found = own_flops(counter.get_flop_counts())
    if sum(found.values()) != counter.get_total_flops():
        raise SystemExit("the modules do not add up to the total")
    return found


def routed_experts(model: Any, config: Any) -> dict[str, int] | None:
    """FLOPs of one experts module for one token, run for real, and the number of such modules."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    modules = [
        m for m in model.modules() if isinstance(p := getattr(m, "gate_up_proj", None), torch.nn.Parameter) and p.ndim == 3
    ]
    if not modules:
        return None
    one = modules[0]
    if any([p.shape for p in m.parameters()] != [p.shape for p in one.parameters()] for m in modules):
        raise SystemExit("the experts of the layers differ")
    chosen = getattr(config, "num_experts_per_tok", None) or config.top_k_experts
    for name, parameter in one.named_parameters():
        setattr(one, name, torch.nn.Parameter(torch.zeros((chosen, *parameter.shape[1:]), dtype=parameter.dtype)))
    one.num_experts = chosen
    one.config._experts_implementation = "eager"
    token = torch.zeros((1, config.hidden_size), dtype=torch.bfloat16)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        type(one).forward(one, token, torch.arange(chosen)[None], torch.ones((1, chosen), dtype=torch.bfloat16))
    return {"modules": len(modules), "flops_per_token_and_module": counter.get_total_flops()}


def record(path: Path, contexts: list[int]) -> dict[str, Any]:
    """The recording of one model."""
    import torch
    import transformers

    config = configuration(path)
    model = build(config)
    contexts = [t for t in contexts if t <= config.max_position_embeddings]
    decode = {str(t): count(model, config, t - 1, 1) for t in contexts}
    prefill = {str(t): count(model, config, 0, t) for t in contexts}
    experts = routed_experts(model, config)  # last: it takes the model apart
    versions = f"transformers {transformers.__version__} {type(model).__name__}, torch {torch.__version__.partition('+')[0]}"
    return {
        "implementation": f"{versions}, meta device, all layers",
        "counted": COUNTED,
        "routed_experts": experts,
        "decode": decode,
        "prefill": prefill,
    }


def main() -> None:
    """Record and merge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="+", type=named, metavar="[ID=]CONFIG.json")
    parser.add_argument("--context", type=int, nargs="+", default=list(CONTEXTS))
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    models = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    for name, path in arguments.configs:
        started = time.perf_counter()
        models[name] = record(path, arguments.context)
        write(arguments.output, models)
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
