"""Count the matrix products that the reference implementations run: one decode step and one prompt, at several contexts.

    python tools/record_flops.py [ID=]CONFIG.json ... -o tests/truth/flops.json

Each config is built with transformers on the meta device (full width, all layers, eager attention, routed experts stubbed: they are not
counted) and run under torch's FlopCounterMode, which counts mm, addmm, bmm, baddbmm and convolutions, 2 FLOPs per multiply-add, and
nothing elementwise. A decode step at context t runs one token on a cache of t - 1; a prompt runs t tokens and the head for the last.

    {id: {"implementation": ..., "counted": ..., "decode": {"100": {"layers.*.self_attn.q_proj": flops, ...}}, "prefill": {...}}}

A module's figure leaves out its children's: `layers.*.self_attn` alone is the scores and value mixes. Layer numbers are summed over.
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

CONTEXTS = (1, 2, 100, 1024, 4096)
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


def record(path: Path, contexts: list[int]) -> dict[str, Any]:
    """The recording of one model."""
    import torch
    import transformers

    config = configuration(path)
    model = build(config)
    contexts = [t for t in contexts if t <= config.max_position_embeddings]
    return {
        "implementation": (
            f"transformers {transformers.__version__} {type(model).__name__}, torch {torch.__version__.partition('+')[0]}, meta device, all layers"
        ),
        "counted": COUNTED,
        "decode": {str(t): count(model, config, t - 1, 1) for t in contexts},
        "prefill": {str(t): count(model, config, 0, t) for t in contexts},
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
