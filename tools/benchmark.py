"""How fast kvcalc starts and counts, as ratios to a baseline on the same machine. Prints; nothing is tested by a clock.

python tools/benchmark.py
"""

import itertools
import subprocess
import sys
import time

BASELINE = [sys.executable, "-c", "import typer, rich.table, pydantic, yaml"]
COMMANDS = {
    "kvcalc --help": [sys.executable, "-m", "kvcalc", "--help"],
    "kvcalc estimate": [sys.executable, "-m", "kvcalc", "estimate", "gemma-4-e2b", "-c", "128K", "--on", "rtx-4090"],
}
RUNS = 15


def best(command: list[str]) -> float:
    """The shortest of some runs [s]."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print the ratios."""
    baseline = best(BASELINE)
    print(f"baseline (import typer, rich.table, pydantic, yaml)  {baseline:.3f} s")
    for name, command in COMMANDS.items():
        seconds = best(command)
        print(f"{name:<52} {seconds:.3f} s  {seconds / baseline:.2f} x baseline")
    from kvcalc.catalog import load_model, model_ids
    from kvcalc.ledger import state_bytes, state_terms

    start = time.perf_counter()
    models = [load_model(name) for name in itertools.islice(itertools.cycle(model_ids()), 100)]
    loaded = time.perf_counter()
    for model in models:
        terms = state_terms(model)
        for context in range(1024, 1024 * 1001, 1024):
            state_bytes(terms, context)
    done = time.perf_counter()
    print(f"100 models x 1,000 contexts of state bytes           {done - loaded:.3f} s")
    print(f"loading {len(model_ids())} specs                                      {loaded - start:.3f} s")


if __name__ == "__main__":
    main()
