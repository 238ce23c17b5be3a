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

NEAR = 0.01  # pixels in which a box may differ: records.jsonl rounds


def write_manifest(path: Path, records: Sequence[Record], made: Mapping[str, Any]) -> None:
    """Ids, boxes, splits and hashes of the records; `made` says how they were chosen (seeds, fractions, totals)."""
    lines = ",\n".join(json.dumps(_entry(r), ensure_ascii=False) for r in records)
    write_whole(path, f'{{"version": 1,\n"made": {json.dumps(dict(made))},\n"records": [\n{lines}\n]}}\n')


def _entry(record: Record) -> dict[str, Any]:
    line = record.to_json()
    kept = ("id", "width", "height", "boxes", "category", "modality", "group", "split")
    return {"sha256": record.provenance.get("sha256"), **{name: line[name] for name in kept}}


def select_by_manifest(records: Sequence[Record], path: Path, differences: Path) -> list[Record]:
    """The records that a manifest names, in its order and with its splits and groups.

    Args:
        differences: file for a line per record that is not the same here.

    Raises:
        InputError: no manifest; a record is missing here, or its file, boxes or category differ.
    """
    here = {r.id: r for r in records}
    rebuilt, wrong = [], []
    for entry in _entries(path):
        record = here.get(entry["id"])
        said = _difference(record, entry)
        if said:
            wrong.append({"id": entry["id"], "difference": said})
        elif record:
            rebuilt.append(replace(record, split=entry["split"], group=entry["group"]))
    if wrong:
        write_jsonl(differences, wrong)
        kinds = ", ".join(f"{n} {kind}" for kind, n in Counter(w["difference"] for w in wrong).most_common())
        raise InputError(
            f"{path}: {len(wrong)} of {len(wrong) + len(rebuilt)} records are not the same here ({kinds}; first "
            f"{wrong[0]['id']}): all are in {differences}; bring the files of the same release"
        )
    return rebuilt


def read_recipe(path: Path) -> dict[str, Any]:
    """How the records of a manifest were chosen."""
    made = json.loads(path.read_text(encoding="utf-8")).get("made")
    return made if isinstance(made, dict) else {}


def _difference(record: Record | None, entry: Mapping[str, Any]) -> str:
    if record is None:
        return "missing"
    own = _entry(record)
    if own["sha256"] != entry["sha256"]:
        return "another file"
    if [own[k] for k in ("category", "width", "height")] != [entry[k] for k in ("category", "width", "height")]:
        return "another category or size"
    boxes = [v for box in own["boxes"] for v in box], [v for box in entry["boxes"] for v in box]
    same = len(boxes[0]) == len(boxes[1]) and all(abs(a - b) <= NEAR for a, b in zip(*boxes, strict=True))
    return "" if same else "other boxes"


def _entries(path: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        entries = found["records"]
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
