"""A sub-sample of the records, as the paper's 5,817."""

import hashlib
from collections import Counter
from collections.abc import Sequence

from umed.errors import InputError, check_choice
from umed.records import Record


def subsample(records: Sequence[Record], total: int | None, by: str, seed: int) -> list[Record]:
    """Choose `total` records by a hash of (seed, id), in their order; None = all.

    `by`: `natural`: every record has the same chance; `source` or `category`: each gives the same number, or all it
    has, and the others share the rest. Raises InputError: there are fewer records; an unknown `by`.
    """
    check_choice("data.prepare.sample.by", by, "natural", "source", "category")
    if total is None:
        return list(records)
    if type(total) is not int or not 1 <= total <= len(records):
        raise InputError(f"data.prepare.sample.total={total}: there are {len(records)} records to choose from")
    ranked = sorted(records, key=lambda r: hashlib.sha256(f"{seed}\0{r.id}".encode()).digest())
    classes = ["" if by == "natural" else str(getattr(r, by)) for r in ranked]
    quotas = share_quotas(Counter(classes), total)
    kept = set()
    for record, name in zip(ranked, classes, strict=True):
        if quotas[name]:
            quotas[name] -= 1
            kept.add(record.id)
    return [r for r in records if r.id in kept]


def share_quotas(sizes: Counter[str], total: int) -> Counter[str]:
    """Class -> number of records: equal shares; what small classes lack is shared among the larger ones."""
    quotas: Counter[str] = Counter()
    for place, (name, size) in enumerate(sorted(sizes.items(), key=lambda item: (item[1], item[0]))):
        quotas[name] = min(size, (total - quotas.total()) // (len(sizes) - place))
    return quotas
