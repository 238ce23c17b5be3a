"""A share of the training records, nested: what .1 keeps, .25 keeps too."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import accumulate

from umed.data.splits import hash_group
from umed.errors import InputError
from umed.records import Record


def keep_train_share(records: Sequence[Record], fraction: float, seed: int) -> list[Record]:
    """The records with a share of the train split, in whole groups; each source independently of the others.

    Of a source's groups in the order of their hash, the first are kept whose number of records comes nearest to the
    share, at least one. Raises InputError: a fraction that is no share.
    """
    if not isinstance(fraction, int | float) or not 0 < fraction <= 1:
        raise InputError(f"data.fraction={fraction}: a share above 0 and at most 1 is expected")
    sizes: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        if record.split == "train":
            sizes[record.source][record.group] += 1
    kept: set[tuple[str, str]] = set()
    for source, groups in sizes.items():
        ranked = sorted(groups, key=lambda group: hash_group(seed, source, group))
        upto = list(accumulate(groups[group] for group in ranked))
        count = min(range(len(ranked)), key=lambda n: abs(upto[n] - fraction * upto[-1])) + 1
        kept |= {(source, group) for group in ranked[:count]}
    return [r for r in records if r.split != "train" or (r.source, r.group) in kept]
