"""Parts of the records: a sub-sample, as the paper's 5,817, or a share of the training records."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from umed.data.splits import hash_group
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


def keep_train_share(records: Sequence[Record], fraction: float, seed: int) -> list[Record]:
    """The records with a nested share of the train split, in whole groups; each source independently of the others.

    Controls stay: their number is chosen for the records that do.

    Of a source's groups in the order of their hash, the first are kept whose number of records comes nearest to the
    share, at least one. Raises InputError: a fraction that is no share.
    """
    if not isinstance(fraction, int | float) or not 0 < fraction <= 1:
        raise InputError(f"data.fraction={fraction}: a share above 0 and at most 1 is expected")
    sizes: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        if record.split == "train" and record.boxes:
            sizes[record.source][record.group] += 1
    kept: set[tuple[str, str]] = set()
    for source, groups in sizes.items():
        ranked = sorted(groups, key=lambda group: hash_group(seed, source, group))
        upto = list(accumulate(groups[group] for group in ranked))
        count = min(range(len(ranked)), key=lambda n: abs(upto[n] - fraction * upto[-1])) + 1
        kept |= {(source, group) for group in ranked[:count]}
    return [r for r in records if r.split != "train" or not r.boxes or (r.source, r.group) in kept]


def choose_queries(records: Sequence[Record], fraction: float, seed: int, queries: str) -> list[Record]:
    """The records of a stage: `annotated` are those of `keep_train_share`; `boxes_only` the train records that it
    leaves out, without their diagnosis, as pictures whose boxes and categories are known and that nobody has described.

    Raises:
        InputError: the share leaves none out.
    """
    kept = keep_train_share(records, fraction, seed)
    if queries == "annotated":
        return kept
    annotated = {r.id for r in kept if r.split == "train" and r.boxes}
    others = [r if r.split != "train" or not r.boxes else replace(r, diagnosis="") for r in records]
    chosen = [r for r in others if r.id not in annotated]
    if not any(r.split == "train" and r.boxes for r in chosen):
        raise InputError(
            f"method.queries={queries}: data.fraction={fraction} leaves no train record out; set it below 1"
        )
    return chosen
