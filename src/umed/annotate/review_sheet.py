"""The sheet that reviewers fill in, a page and its CSV twin: written from records, read back as decisions."""

import base64
import csv
import hashlib
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from tqdm import tqdm

from umed.annotate.base import choices_of
from umed.annotate.review import STATUS, Decision, hash_of, review_of
from umed.annotate.sent_picture import clear_scale, clear_side, picture_inside
from umed.chat import REGION
from umed.errors import InputError
from umed.figures import TRUE, mark_synthetic
from umed.pictures import draw_boxes
from umed.records import Record
from umed.run_files import write_whole

COLUMNS = (
    "id", "source", "category", "query", "diagnosis", "decision", "corrected_diagnosis", "corrected_category",
    "comment", "reviewer", "hash", "sheet",
)  # fmt: skip
FORMULA = tuple("=+-@\t\r\n'\uff1d\uff0b\uff0d\uff20")  # a spreadsheet may run a cell that begins so
TEMPLATE = Path(__file__).with_name("review.html")


def drawn_sample(records: Sequence[Record], sample: int | None, seed: int) -> tuple[list[Record], str]:
    """The records with a diagnosis, or a random part in which each source has its share, and the choice in words.

    Which records are drawn depends on the records and the seed, not on their order; a source has at least one if
    `sample` is no less than the number of sources.

    Raises:
        InputError: no record has a diagnosis.
    """
    written = [r for r in records if r.diagnosis]
    if not written:
        raise InputError("no record has a diagnosis to review: write them with task=annotate")
    if sample is None or sample >= len(written):
        return written, f"all {len(written)} diagnoses"
    queues: dict[str, list[Record]] = defaultdict(list)
    for record in written:
        queues[record.source].append(record)
    order = []  # in turn, by what each source has had of its share
    for name, own in sorted(queues.items()):
        own.sort(key=lambda r: (choices_of(r, seed).random(), r.id))
        order += [(k / len(own), name, record.id) for k, record in enumerate(own)]
    ids = {id_ for _, _, id_ in sorted(order)[:sample]}
    told = f"a random {sample} of {len(written)} diagnoses, spread over sources (seed {seed})"
    return [r for r in written if r.id in ids], told


def write_sheet(
    records: Sequence[Record], roots: Mapping[str, Path], out: Path, name: str, *, chunk: int, picture_side: int
) -> list[Path]:
    """Write `review.html` (then `review-2.html`, ...) of `chunk` cards each, and `review.csv`, card by card.

    Args:
        name: which records these are, in words.
        picture_side: longest side of the pictures in pixels; more where a small box could not be seen.

    Raises:
        InputError: the folder's `review.csv` holds decisions already.
    """
    out.mkdir(parents=True, exist_ok=True)
    twin = out / "review.csv"
    if twin.is_file() and any(row.get("decision", "").strip() for _, row in _rows(twin)):
        raise InputError(f"{twin} holds decisions: read it back with task.read=[{twin}] or move it away")
    pages = -(-len(records) // chunk)
    paths = [out / (f"review-{n + 1}.html" if n else "review.html") for n in range(pages)]
    for old in set(out.glob("review-*.html")) - set(paths):
        if re.fullmatch(r"review-\d+\.html", old.name):
            old.unlink()  # of a longer sheet
    sheet = {
        "id": hashlib.sha256(json.dumps([[r.id, hash_of(r)] for r in records]).encode()).hexdigest()[:12],
        "name": name,
        "pages": pages,
        "categories": sorted({r.category for r in records}),
    }
    with tqdm(total=len(records), desc="writing cards", unit="card", leave=False, disable=None) as bar:
        for n, path in enumerate(paths):
            own = records[n * chunk : (n + 1) * chunk]
            half = path.with_name(path.name + ".part")
            with half.open("w", encoding="utf-8", newline="\n") as f:
                for text in _page(own, roots, {**sheet, "page": n + 1}, [p.name for p in paths], picture_side):
                    f.write(text)
                    bar.update("<article" in text[:9])
            half.replace(path)
    rows = io.StringIO()
    table = csv.writer(rows)
    table.writerow(COLUMNS)
    for r in records:
        texts = (r.id, r.source, r.category, r.query, r.diagnosis, "", "", "", "", "", hash_of(r), name)
        table.writerow([_guarded(text) for text in texts])
    write_whole(twin, "\ufeff" + rows.getvalue())  # the mark by which a spreadsheet knows UTF-8
    return paths


def _page(
    records: Sequence[Record], roots: Mapping[str, Path], sheet: Mapping[str, Any], names: Sequence[str], side: int
) -> Iterator[str]:
    """The texts of one file, in order."""
    head, tail = TEMPLATE.read_text(encoding="utf-8").split("<!-- cards -->\n")
    script = re.findall(r"<script>(.*?)</script>", tail, re.DOTALL)[0]
    here = names[sheet["page"] - 1]
    links = [f'<a href="{n}"{" aria-current=page" if n == here else ""}>page {k}</a>' for k, n in enumerate(names, 1)]
    fill = {
        "script_hash": "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "title": escape(f"{mark_synthetic(r.source for r in records)}review of diagnoses"),
        "subtitle": escape(f"{sheet['name']}; page {sheet['page']} of {sheet['pages']}"),
        "pages": f'<nav aria-label="pages">{"".join(links)}</nav>' if len(names) > 1 else "",
        "sheet": _json(sheet),
    }
    yield re.sub(r"\{\{(\w+)\}\}", lambda m: fill[m[1]], head)
    for number, record in enumerate(records, 1):
        yield _card(record, roots, number, side)
    yield re.sub(r"\{\{(\w+)\}\}", lambda m: fill[m[1]], tail)


def _card(record: Record, roots: Mapping[str, Path], number: int, side: int) -> str:
    corners = [", ".join(f"{v:.0f}" for v in b.to_xyxy(record.width, record.height)) for b in record.boxes]
    places = "; ".join(f"({c})" for c in corners) + f" px of {record.width} x {record.height}" if corners else ""
    chip = f'<mark class="region" title="{escape(places)}">region</mark>'
    facts = {"source": record.source, "modality": record.modality, "category": record.category, "query": record.query}
    if review := review_of(record):
        facts["earlier"] = f"{review['status']} by {review['reviewer']}"
    list_ = "".join(f'<dt>{k}</dt><dd class="{k}">{escape(v)}</dd>' for k, v in facts.items())
    button = '<button type="button" data-do="{}" aria-pressed="false">{}</button>'
    buttons = "".join(button.format(word, word.title()) for word in STATUS)
    data = {name: getattr(record, name) for name in ("id", "source", "category", "diagnosis")}
    return f"""<article class="card" id="card-{number}" tabindex="-1" data-state="open" aria-labelledby="id-{number}">
<div>{_picture(record, roots, side)}</div>
<div>
<h2 id="id-{number}">{escape(record.id)}</h2>
<dl>{list_}</dl>
<p class="diagnosis">{chip.join(map(escape, record.diagnosis.split(REGION)))}</p>
<div class="actions" role="group" aria-label="decision">{buttons}</div>
<label class="field">Comment <input data-field="comment"></label>
</div>
<script type="application/json">{_json({**data, "hash": hash_of(record), "boxes": places})}</script>
</article>
"""


def _picture(record: Record, roots: Mapping[str, Path], side: int) -> str:
    """The picture with its boxes inside the page, or the reason why there is none."""
    try:
        image = picture_inside(record, roots)
    except InputError as error:
        return f'<p class="nopicture">No picture: {escape(str(error))}</p>'
    room = max(side, clear_side(image.size, record.boxes))
    image.thumbnail((room, room))
    scale = clear_scale(image.size, record.boxes)
    room = max(side, max(image.size) * scale)
    image = draw_boxes(image, record.boxes, TRUE, scale=scale)  # enlarges small ones
    image.thumbnail((room, room))
    held = io.BytesIO()
    image.save(held, "JPEG", quality=88, subsampling=0)  # else the outline's color runs into a small box
    told = escape(f"{record.modality} picture of {record.id}, boxes drawn: {len(record.boxes)}")
    return (
        f'<img alt="{told}" width="{image.width}" height="{image.height}" '
        f'src="data:image/jpeg;base64,{base64.b64encode(held.getvalue()).decode()}">'
    )


def _json(value: Any) -> str:
    """JSON that stands in a page: nothing in it can end the script or begin a tag."""
    text = json.dumps(value)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _guarded(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text


def _bare(text: str) -> str:
    return text[1:] if text.startswith("'") and text[1:].startswith(FORMULA) else text


def read_sheet(path: Path) -> tuple[list[Decision], list[str]]:
    """The decisions of a file that the page saved (.json) or of a filled-in `review.csv`, and the sheets' names.

    A CSV holds no time, so its decisions have that of the file's last change. It may be UTF-8, UTF-16 or Latin-1, with
    commas, semicolons or tabs.

    Raises:
        InputError: no such file, neither JSON nor CSV, nothing decided, a decision that is none (`Decision.read`), or
            one reviewer who decides differently about one id.
    """
    if not path.is_file():
        raise InputError(f"no file {path}: give what the page saved or the filled-in review.csv in task.read")
    readers = {".json": _saved, ".csv": _filled_in}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: neither .json nor .csv: give what the page saved, or save the table as CSV")
    time = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat()
    sheets: Counter[str] = Counter()
    found: dict[tuple[str, str], Decision] = {}
    for where, fields in readers[path.suffix.lower()](path):
        sheets[str(fields.get("sheet") or "")] += 1
        decision = Decision.read({**fields, "time": fields.get("time") or time}, where)
        other = found.setdefault((decision.id, decision.reviewer), decision)
        if other.outcome != decision.outcome or other.hash != decision.hash:
            raise InputError(
                f"{where}: {decision.reviewer} decides twice about {decision.id} ({other.decision}, then "
                f"{decision.decision}): leave one"
            )
    if not found:
        raise InputError(f"{path}: nothing is decided: write {', '.join(STATUS)} for at least one diagnosis")
    return list(found.values()), [name for name in sheets if name]


def _saved(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The entries of a saved JSON file."""
    try:
        saved = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({getattr(error, 'msg', error)}): give what the page saved") from None
    entries = saved.get("decisions") if isinstance(saved, dict) else None
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise InputError(f"{path}: no list of decisions in it: give what the page saved")
    for number, entry in enumerate(entries, 1):
        yield f"{path}, decision {number}", {**entry, **{k: saved.get(k) for k in ("reviewer", "sheet")}}


def _filled_in(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The decided rows of a CSV file."""
    for number, row in _rows(path):
        if word := row.get("decision", "").strip():
            edit = {"diagnosis": row.get("corrected_diagnosis"), "category": row.get("corrected_category")}
            yield f"{path}:{number}", {**row, **edit, "decision": word.lower()}


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows by their line."""
    text = _text(path)
    first = text.split("\n", 1)[0]
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    try:
        missing = {"id", "decision", "reviewer", "hash"} - set(table.fieldnames or ())
        if missing:
            raise InputError(f"{path}: no column {', '.join(sorted(missing))}: give a filled-in review.csv")
        for row in table:
            yield table.line_num, {k: _bare(v) for k, v in row.items() if isinstance(k, str) and isinstance(v, str)}
    except csv.Error as error:
        raise InputError(f"{path}:{table.line_num}: not CSV ({error}): save the table as CSV") from None


def _text(path: Path) -> str:
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")  # Latin-1 as spreadsheets write it
