"""Splits by group: a patient never crosses them."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Container, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from types import MappingProxyType
from typing import TypeVar

from umed.dicom import PATIENT
from umed.errors import InputError, check_choice
from umed.records import SYNTHETIC, Record

Name = TypeVar("Name", bound=Hashable)
Group = tuple[str, str]  # source and group
Links = Sequence[tuple[Group, Group]]
SPLITS = ("train", "val", "test")
FIELDS = ("source", "category", "modality")  # of `unseen`


def assign_splits(
    records: Sequence[Record],
    fractions: Sequence[float],
    seed: int,
    unseen: Mapping[str, Iterable[str] | str] | None = None,
    links: Links = (),
) -> list[Record]:
    """The same records with `split` set, each source independently of the others.

    Groups stand in the order of a hash of (seed, source, group) and are cut where the shares of records come nearest to
    `fractions`; with enough groups no split is empty unless its fraction is 0. A source all of whose records have a
    split already keeps its own. Raises InputError: `fractions` are not three shares of 1; a source's own splits are not
    complete or cut through a group; `unseen` names a field or value that no record has, or leaves nothing to train on.

    Args:
        unseen: field -> values. Records that match every field are the whole test split; the others of their groups and
            those that were to be tested are left out of this study, and of the result.
        links: pairs of groups that hold the same picture; all get the split of the one whose source comes first.
    """
    try:
        shares = [float(f) for f in fractions]
    except (TypeError, ValueError):
        shares = []
    if len(shares) != len(SPLITS) or min(shares) < 0 or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise InputError(
            f"data.split.fractions={fractions}: three shares (train, val, test) that sum to 1 are expected"
        )
    by_source: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_source[record.source].append(record)
    split_of: dict[Group, str] = {}
    for source, of_source in by_source.items():
        if any(r.split for r in of_source):
            split_of |= _keep_splits(source, of_source)
            continue
        sizes = Counter(r.group for r in of_source)
        groups = sorted(sizes, key=lambda group: hash_group(seed, source, group))
        edges = [0, *_find_cuts([sizes[g] for g in groups], shares), len(groups)]
        for name, start, stop in zip(SPLITS, edges, edges[1:], strict=False):
            split_of |= {(source, group): name for group in groups[start:stop]}
    joined = _join_groups(records, links)
    split_of |= {group: split_of[first] for group, first in joined.items() if group in split_of and first in split_of}
    split = [replace(r, split=split_of[r.source, r.group]) for r in records]
    return apply_unseen(split, unseen or {}, joined)


def find_empty_splits(records: Sequence[Record], fractions: Sequence[float] = (1, 1, 1)) -> dict[str, list[str]]:
    """Source -> the splits of a share above 0 in which it has no record; without the sources that have all."""
    splits_of: dict[str, set[str]] = defaultdict(set)
    for r in records:
        splits_of[r.source].add(r.split)
    wanted = [name for name, share in zip(SPLITS, fractions, strict=True) if float(share) > 0]
    empty = {source: [name for name in wanted if name not in splits] for source, splits in splits_of.items()}
    return {source: names for source, names in empty.items() if names}


def explain_empty_splits(
    records: Sequence[Record], fractions: Sequence[float], presplit: Container[str]
) -> Iterator[str]:
    """A line for each source of which a split is empty, or most pictures have the same PatientID.

    `presplit`: sources that bring their splits.
    """
    empty = find_empty_splits(records, fractions)
    for source in dict.fromkeys(r.source for r in records):
        lost = f"no record is left for {' and '.join(empty[source])}" if source in empty else ""
        group_of = {r.image: r.group for r in records if r.source == source}
        [(largest, size)] = Counter(group_of.values()).most_common(1)
        is_shared = largest.startswith(PATIENT) and 2 * size > len(group_of) > 1
        if source in presplit and lost:
            yield f"{source}: {lost} by its own splits"
        elif source not in presplit and (lost or is_shared):
            what = "pictures share one PatientID" if is_shared else "pictures are in the largest group"
            first = next(image for image, group in group_of.items() if group == largest)
            yield (
                f"{source}: {lost}{' since ' if lost else ''}{size} of {len(group_of)} {what} (first {first}), and no "
                "group is split: name the patients (group_regex, or a column group) or add other pictures"
            )


def hash_group(seed: int, source: str, group: str) -> bytes:
    """The key by which the groups of a source are ordered."""
    return hashlib.sha256(f"{seed}\0{source}\0{group}".encode()).digest()


def _keep_splits(source: str, records: Sequence[Record]) -> dict[Group, str]:
    """The splits that the source gives itself."""
    split_of: dict[Group, str] = {}
    for r in records:
        if r.split not in SPLITS:
            problem = f"split={r.split}" if r.split else "no split"
            raise InputError(
                f"source {source}: {r.id} has {problem}, others have one: give every record train, val or test, or none"
            )
        if split_of.setdefault((source, r.group), r.split) != r.split:
            raise InputError(
                f"source {source}: group {r.group} is in {split_of[source, r.group]} and, with {r.id}, in {r.split}: "
                "give all pictures of a patient one split"
            )
    return split_of


def _find_cuts(sizes: Sequence[int], shares: Sequence[float]) -> list[int]:
    """The number of groups after which each split but the last ends."""
    upto = list(accumulate(sizes, initial=0))
    needed = [f > 0 for f in shares] if len(sizes) >= sum(f > 0 for f in shares) else [False] * len(shares)
    cuts: list[int] = []
    for k, wanted in enumerate(accumulate(shares[:-1])):
        low = (cuts[-1] if cuts else 0) + needed[k]
        high = len(sizes) - sum(needed[k + 1 :]) if shares[k] else low
        cuts.append(min(range(low, high + 1), key=lambda n: abs(upto[n] - wanted * upto[-1])))
    return cuts


def apply_unseen(
    records: Sequence[Record],
    unseen: Mapping[str, Iterable[str] | str],
    joined: Mapping[Group, Group] = MappingProxyType({}),
) -> list[Record]:
    """A study of the unseen, see `assign_splits`; idempotent. `joined`: group -> the group whose split it shares."""
    if not any(unseen.values()):
        return list(records)
    wanted = {field: _check_values(records, field, values) for field, values in unseen.items() if values}
    is_unseen = [all(getattr(r, field) in values for field, values in wanted.items()) for r in records]
    if not any(is_unseen):
        fields = ", ".join(f"{field} in {sorted(values)}" for field, values in wanted.items())
        raise InputError(f"data.split.unseen: no record has {fields} at once: leave a field out")
    groups = [joined.get((r.source, r.group), (r.source, r.group)) for r in records]
    tested = {group for group, unseen_one in zip(groups, is_unseen, strict=True) if unseen_one}
    kept = []
    for r, unseen_one, group in zip(records, is_unseen, groups, strict=True):
        if unseen_one:
            kept.append(replace(r, split="test"))
        elif r.split != "test" and group not in tested:
            kept.append(r)
    if not any(r.split == "train" for r in kept):
        raise InputError("data.split.unseen leaves no record to train on: name fewer values or add a source")
    return kept


def _check_values(records: Sequence[Record], field: str, values: Iterable[str] | str) -> set[str]:
    check_choice("data.split.unseen", field, *FIELDS)
    listed = [values] if isinstance(values, str) or not isinstance(values, Iterable) else values
    known = {getattr(r, field) for r in records}
    # a synthetic stand-in is meant where the data set itself is not there
    named = {v if v in known or SYNTHETIC + v not in known else SYNTHETIC + v for v in map(str, listed)}
    if not named or named - known:
        missing = ", ".join(sorted(named - known)) or "nothing"
        raise InputError(
            f"data.split.unseen.{field} names {missing}, which no record has: choose of {', '.join(sorted(known))}"
        )
    return named


def join_linked(links: Iterable[tuple[Name, Name]]) -> dict[Name, Name]:
    """Every linked name -> the smallest name of its connected component."""
    top: dict[Name, Name] = {}

    def find(name: Name) -> Name:
        while top.setdefault(name, name) != name:
            top[name] = top[top[name]]
            name = top[name]
        return name

    for a, b in links:
        low, high = sorted((find(a), find(b)))  # type: ignore[type-var]
        top[high] = low
    return {name: find(name) for name in list(top)}


def _join_groups(records: Sequence[Record], links: Links) -> dict[Group, Group]:
    """Every linked group -> the first group of its component, in the order of the records' sources."""
    place = {source: k for k, source in enumerate(dict.fromkeys(r.source for r in records))}
    last = len(place)
    name = join_linked(((place.get(a, last), a, g), (place.get(b, last), b, h)) for (a, g), (b, h) in links)
    return {(source, group): first[1:] for (_, source, group), first in name.items()}
