"""A spec as text: readable YAML, with the config field behind each number in a comment."""

import json
import re
from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any

from kvcalc.importers.config import Known

_PLAIN = re.compile(r"([1-9][0-9]* )?[A-Za-z/][A-Za-z0-9_./ ()+-]*")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "none"}
_COMMENT_AT = 40
_WIDTH = 80
_GLUE = "\0"
_INDENT = "  "


def spec_text(data: Mapping[str, Any]) -> str:
    """The YAML of a spec's fields. Loads to the same data."""
    return "\n".join(_mapping(data, 0)) + "\n"


def _mapping(data: Mapping[str, Any], level: int) -> Iterator[str]:
    for key, value in data.items():
        head = f"{_INDENT * level}{key}:"
        if isinstance(value, Mapping):
            if not value:
                continue
            deep = any(isinstance(item, Mapping | list | Known) for item in value.values())
            if deep or level == 0 or len(head) + 1 + len(_flow(value)) > _WIDTH:
                yield head
                yield from _mapping(value, level + 1)
            else:
                yield f"{head} {_flow(value)}"
        elif isinstance(value, list) and key in ("layers", "weights", "caveats") and level <= 1:
            yield head
            head = f"{_INDENT * (level + 1)}- "
            for item in value:
                yield from _item(_flow(item), head, isinstance(item, str))
        else:
            yield from _commented(head, value)


def _item(text: str, head: str, sentence: bool) -> list[str]:
    """A sentence in lines, or what stands in brackets, broken after commas; YAML joins the lines with spaces again, with one each."""
    if "  " in text:
        return [head + text]
    text = text if sentence else text.replace(" ", _GLUE).replace(f",{_GLUE}", ", ")
    return [line.replace(_GLUE, " ") for line in _wrapped(text, head, " " * (len(head) + (not sentence)))]


def _wrapped(text: str, first: str, further: str) -> list[str]:
    return wrap(text, _WIDTH, initial_indent=first, subsequent_indent=further, break_long_words=False, break_on_hyphens=False)


def _commented(head: str, value: Any) -> Iterator[str]:
    """A field and where it comes from beside it, in lines where it is long."""
    first, line = value[0] if isinstance(value, list) and value else value, f"{head} {_flow(value)}"
    if not isinstance(first, Known):
        yield line
        return
    origin = " ".join((first.origin if first is value else first.origin.partition("[")[0]).split())
    place = max(len(line) + 2, min(_COMMENT_AT, _WIDTH - len(f"# {origin}")))
    yield from _wrapped(origin, f"{line:<{place}}# ", " " * place + "# ")


def _flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS and text == text.strip():
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())
