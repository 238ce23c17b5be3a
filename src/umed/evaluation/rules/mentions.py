"""Which abnormality a text names: whole words, longest name first, negated mentions left out (`rules.negation`)."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

from umed.evaluation.rules.negation import is_negated

NO_ALIASES: Mapping[str, Sequence[str]] = MappingProxyType({})


@lru_cache(maxsize=4096)
def _pattern(name: str) -> re.Pattern[str]:
    words = r"[\s_-]+".join(re.escape(word) for word in re.split(r"[\s_-]+", name))
    return re.compile(rf"(?<!\w){words}(?!\w)", re.IGNORECASE)


def _spans(text: str, names: Sequence[str]) -> list[tuple[int, int, str]]:
    """Spans of the names, negated or not; a longer name takes its characters away from the shorter ones."""
    taken: list[tuple[int, int, str]] = []
    for name in sorted({n.strip() for n in names if n.strip()}, key=lambda n: (-len(n), n)):
        for hit in _pattern(name).finditer(text):
            if all(hit.end() <= start or end <= hit.start() for start, end, _ in taken):
                taken.append((hit.start(), hit.end(), name))
    return sorted(taken)


def find_mentions(text: str, name: str, aliases: Sequence[str] = ()) -> list[tuple[int, int]]:
    """Character spans, in order, where the text names the abnormality (by its name or an alias) without negating it."""
    return [(start, end) for start, end, _ in _spans(text, [name, *aliases]) if not is_negated(text, start, end)]


def named(text: str, categories: Sequence[str], aliases: Mapping[str, Sequence[str]] = NO_ALIASES) -> set[str]:
    """The categories that the text names; `aliases` maps a category to its other names."""
    owners: dict[str, set[str]] = {}
    for category in categories:
        for name in (category, *aliases.get(category, ())):
            owners.setdefault(name.strip(), set()).add(category)
    spans = [(start, end, name) for start, end, name in _spans(text, list(owners)) if not is_negated(text, start, end)]
    return {category for *_, name in spans for category in owners[name]}
