"""YAML as catalogues of devices mean it: the core schema of YAML 1.2, where `on` and `NO` are texts, `012` is twelve.

PyYAML reads YAML 1.1 by default, which makes other values of them. The table is that of chapter 10.3.2 of the YAML
1.2.2 specification. Aliases are refused: no catalogue uses them, and a few lines of them can stand for gigabytes.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from gateway.errors import UsageError

_ROWS = (
    ("null", r"null|Null|NULL|~|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
)


class _Loader(yaml.SafeLoader):  # type: ignore[misc] # PyYAML has no types
    """Makes plain values only: no object, no alias."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - how PyYAML is told

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "aliases are not read", mark)
        return super().compose_node(parent, index)


def _whole(loader: _Loader, node: Any) -> int:
    text = str(loader.construct_scalar(node))
    return int(text, 0) if text.startswith(("0x", "0o")) else int(text)


for _tag, _pattern, _first in _ROWS:
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), ["" if mark == "\0" else mark for mark in _first]
    )
_Loader.add_constructor("tag:yaml.org,2002:int", _whole)


def read_yaml(text: str, file: str) -> Any:
    """The value of a YAML document. UsageError with file and line when it is none."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise UsageError(f"{file}:{line} is no YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{file} is no YAML: {str(error)[:200]}") from None
