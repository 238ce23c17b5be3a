"""A sub-sample of the records, as the paper's 5,817."""

import hashlib
from collections import Counter
from collections.abc import Sequence

from umed.errors import InputError, check_choice
from umed.records import Record


def subsample(records: Sequence[Record], total: int | None, by: str, seed: int) -> list[Record]:
    """`total` records in their order, chosen by a hash of (seed, id); None = all.

    Args:
        by: `natural`: every record has the same chance; `source` or `category`: each of them gives the same number,
            or all it has; what is then missing is shared among the others.

    Raises:
        InputError: there are fewer records; another word.
    """
    check_choice("data.prepare.sample.by", by, "natural", "source", "category")
    if total is None:
        return list(records)
    if type(total) is not int or not 1 <= total <= len(records):
        raise InputError(f"data.prepare.sample.total={total}: there are {len(records)} records to choose from")
    ranked = sorted(records, key=lambda r: hashlib.sha256(f"{seed}\0{r.id}".encode()).digest())
    classes = ["" if by == "natural" else str(getattr(r, by)) for r in ranked]
    room = quotas(Counter(classes), total)
    kept = set()
    for record, name in zip(ranked, classes, strict=True):
        if room[name]:
            room[name] -= 1
            kept.add(record.id)
    return [r for r in records if r.id in kept]


def quotas(sizes: Counter[str], total: int) -> Counter[str]:
    """How many each class gives: equal shares, the smallest classes first, so that what they lack goes to the rest."""
    given: Counter[str] = Counter()
    for place, (name, size) in enumerate(sorted(sizes.items(), key=lambda item: (item[1], item[0]))):
        given[name] = min(size, (total - given.total()) // (len(sizes) - place))
    return given
