"""kvcalc: how much hardware does this language model actually eat?"""

__version__ = "0.1.0"
