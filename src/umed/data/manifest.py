"""The manifest: which records a data set holds, with the hashes of their files and never a picture."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from umed.errors import InputError
from umed.records import Record
from umed.run_files import write_jsonl, write_whole

NEAR = 0.01  # pixels by which a corner may differ: records.jsonl rounds


def write_manifest(path: Path, records: Sequence[Record], recipe: Mapping[str, Any]) -> None:
    """Write ids, boxes, splits and hashes of the records, and the `recipe` (seeds, totals) that chose them."""
    lines = ",\n".join(json.dumps(_make_entry(r), ensure_ascii=False) for r in records)
    write_whole(path, f'{{"version": 1,\n"made": {json.dumps(dict(recipe))},\n"records": [\n{lines}\n]}}\n')


def _make_entry(record: Record) -> dict[str, Any]:
    line = record.to_json()
    kept = ("id", "width", "height", "boxes", "category", "modality", "group", "split")
    return {"sha256": record.provenance.get("sha256"), **{name: line[name] for name in kept}}


def select_by_manifest(records: Sequence[Record], path: Path, differences: Path) -> list[Record]:
    """The manifest's records, order, splits and groups. Raises InputError: any differs, listed in `differences`."""
    by_id = {r.id: r for r in records}
    selected, different = [], []
    for entry in _read_entries(path):
        record = by_id.get(entry["id"])
        difference = _find_difference(record, entry)
        if difference:
            different.append({"id": entry["id"], "difference": difference})
        elif record:
            selected.append(replace(record, split=entry["split"], group=entry["group"]))
    if different:
        write_jsonl(differences, different)
        kinds = ", ".join(f"{n} {kind}" for kind, n in Counter(d["difference"] for d in different).most_common())
        raise InputError(
            f"{path}: {len(different)} of {len(different) + len(selected)} records are not the same here ({kinds}; "
            f"first {different[0]['id']}): all are in {differences}; bring the files of the same release"
        )
    return selected


def read_recipe(path: Path) -> dict[str, Any]:
    """How the records of a manifest were chosen."""
    recipe = json.loads(path.read_text(encoding="utf-8")).get("made")
    return recipe if isinstance(recipe, dict) else {}


def _find_difference(record: Record | None, entry: Mapping[str, Any]) -> str:
    if record is None:
        return "missing"
    here = _make_entry(record)
    if here["sha256"] != entry["sha256"]:
        return "another file"
    if any(here[k] != entry[k] for k in ("category", "width", "height")):
        return "another category or size"
    corners, wanted = ([v for box in boxes for v in box] for boxes in (here["boxes"], entry["boxes"]))
    same = len(corners) == len(wanted) and all(abs(a - b) <= NEAR for a, b in zip(corners, wanted, strict=True))
    return "" if same else "other boxes"


def _read_entries(path: Path) -> list[dict[str, Any]]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["records"]
        for entry in entries:
            Record.from_json({**entry, "source": "-", "image": "-"})
            if entry["split"] not in ("train", "val", "test") or not isinstance(entry["sha256"], str):
                raise ValueError(f"{entry['id']} has no split or no sha256")
    except OSError as error:
        raise InputError(f"data.prepare.manifest: {path} cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise InputError(f"{path}: not a manifest ({error}): give a manifest.json that task=prepare wrote") from None
    if not entries or len({e["id"] for e in entries}) < len(entries):
        raise InputError(f"{path}: not a manifest (no record, or an id that occurs twice)")
    return list(entries)
