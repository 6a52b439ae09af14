"""Renaming layers by rules: how one library's names follow from another's."""

import re
from collections.abc import Callable

Rename = Callable[[str], str]
Rule = tuple[str, str | Callable[[re.Match[str]], str]]


def by_rules(*rules: Rule) -> Rename:
    """A renaming by the first pattern that matches the whole name; a name that none matches keeps itself.

    Args:
        *rules: Pattern and what takes its place: a template as `re.Match.expand` knows it, or a function of the match.
    """

    def rename(name: str) -> str:
        for pattern, replacement in rules:
            found = re.fullmatch(pattern, name)
            if found:
                return found.expand(replacement) if isinstance(replacement, str) else replacement(found)
        return name

    return rename
