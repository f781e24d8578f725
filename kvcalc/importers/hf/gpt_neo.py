"""GPT-Neo: GPT-2's block without biases on q, k and v; local layers see the last `window_size` tokens."""

from kvcalc.importers.config import Config, shown
from kvcalc.importers.hf.gpt2 import four_times, multi_head, positions
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import MAX_LAYERS, decoder, depth, pairs

TYPES = ("gpt_neo",)
NAMES = {"global": "full", "local": "local"}


def attention_layers(c: Config, count: int) -> list[str]:
    """`attention_types` spelt out: [[["global", "local"], 12]] is global, local, global, ... A config may have that list, too."""
    said = c.words("attention_layers", known=NAMES, length=count)
    groups = c.items("attention_types")
    if groups is None and said is None:
        c.caveat("Not in the config, and taken from the class: global and local attention by turns.")
        groups = [[["global", "local"], 12]]
    spelt: list[str] = []
    for group in groups or []:
        if not (isinstance(group, list) and len(group) == 2 and isinstance(group[0], list)):
            raise c.refuse("attention_types", f"{shown(group)} is no list of names and how often they follow on each other")
        if any(not isinstance(name, str) or name not in NAMES for name in group[0]):
            raise c.refuse("attention_types", f"{shown(group[0])} is not known", f"known: {', '.join(NAMES)}")
        spelt += group[0] * c.whole("attention_types", group[1], high=MAX_LAYERS)
    if groups is not None and len(spelt) != count:
        raise c.refuse("attention_types", f"makes {len(spelt):,} layers, {count:,} are there")
    if groups is not None and said is not None and said != spelt:
        raise c.refuse("attention_layers", "says other layers than attention_types")
    return [NAMES[word] for word in said or spelt]


def read(c: Config) -> Layout:
    names = attention_layers(c, depth(c))
    c.ignore("window_size")
    attention = {"full": multi_head(c, o_bias=True)}
    if "local" in names:
        attention["local"] = multi_head(c, o_bias=True, window=c.count("window_size", default=256))
    block = four_times(c, "intermediate_size", mlp_bias=True)
    layers = pairs(names, "mlp")
    return decoder(c, attention, {"mlp": block}, layers=layers, tied=True, norm_bias=True, tables=positions(c))
