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
_FLOW_UP_TO, _WIDTH = 90, 80
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
            if deep or level == 0 or len(_flow(value)) > _FLOW_UP_TO:
                yield head
                yield from _mapping(value, level + 1)
            else:
                yield f"{head} {_flow(value)}"
        elif isinstance(value, list) and key in ("layers", "caveats") and level <= 1:
            yield head
            head = f"{_INDENT * (level + 1)}- "
            for item in value:
                yield from _item(_flow(item), head) if key == "caveats" else [head + _flow(item)]
        else:
            yield _commented(f"{head} {_flow(value)}", value)


def _item(text: str, head: str) -> list[str]:
    """A sentence in lines; YAML joins them with spaces again."""
    return wrap(text, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_long_words=False, break_on_hyphens=False)


def _commented(line: str, value: Any) -> str:
    first = value[0] if isinstance(value, list) and value else value
    if not isinstance(first, Known):
        return line
    origin = first.origin if first is value else first.origin.partition("[")[0]
    return f"{line:<{_COMMENT_AT}}# {' '.join(origin.split())}"


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
    return text if _PLAIN.fullmatch(text) and text.lower() not in _WORDS and text == text.strip() else json.dumps(text)
