"""The sheet that reviewers fill in: pages that work without network, and a CSV file with the same records."""

import base64
import csv
import hashlib
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from tqdm import tqdm

from umed.annotate.base import make_random
from umed.annotate.review import STATUS, find_review, hash_text
from umed.annotate.review_files import guard, read_rows
from umed.annotate.sent_picture import clear_scale, clear_side, picture_inside
from umed.chat import REGION
from umed.errors import InputError
from umed.figures import TRUE, synthetic
from umed.pictures import draw_boxes
from umed.records import Record, write_whole

COLUMNS = (
    "id", "source", "category", "query", "diagnosis", "decision", "corrected_diagnosis", "corrected_category",
    "comment", "reviewer", "hash", "sheet",
)  # fmt: skip
TEMPLATE = Path(__file__).with_name("review.html")


def draw_sample(records: Sequence[Record], sample: int | None, seed: int) -> tuple[list[Record], str]:
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
    order = []  # sources take turns by the share that they have had
    for name, own in sorted(queues.items()):
        own.sort(key=lambda r: (make_random(r, seed).random(), r.id))
        order += [(k / len(own), name, record.id) for k, record in enumerate(own)]
    ids = {id_ for _, _, id_ in sorted(order)[:sample]}
    name = f"a random {sample} of {len(written)} diagnoses, spread over sources (seed {seed})"
    return [r for r in written if r.id in ids], name


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
    csv_path = out / "review.csv"
    if csv_path.is_file() and any(row.get("decision", "").strip() for _, row in read_rows(csv_path)):
        raise InputError(f"{csv_path} holds decisions: read it back with task.read=[{csv_path}] or move it away")
    pages = -(-len(records) // chunk)
    paths = [out / (f"review-{n + 1}.html" if n else "review.html") for n in range(pages)]
    for old in set(out.glob("review-*.html")) - set(paths):
        if re.fullmatch(r"review-\d+\.html", old.name):
            old.unlink()  # of a longer sheet
    sheet = {
        "id": hashlib.sha256(json.dumps([[r.id, hash_text(r)] for r in records]).encode()).hexdigest()[:12],
        "name": name,
        "pages": pages,
        "categories": sorted({r.category for r in records}),
    }
    with tqdm(total=len(records), desc="writing cards", unit="card", leave=False, disable=None) as bar:
        for n, path in enumerate(paths):
            own = records[n * chunk : (n + 1) * chunk]
            part = path.with_name(path.name + ".part")
            with part.open("w", encoding="utf-8", newline="\n") as f:
                for text in _page(own, roots, {**sheet, "page": n + 1}, [p.name for p in paths], picture_side):
                    f.write(text)
                    bar.update("<article" in text[:9])
            part.replace(path)
    rows = io.StringIO()
    table = csv.writer(rows)
    table.writerow(COLUMNS)
    for r in records:
        texts = (r.id, r.source, r.category, r.query, r.diagnosis, "", "", "", "", "", hash_text(r), name)
        table.writerow([guard(text) for text in texts])
    write_whole(csv_path, "\ufeff" + rows.getvalue())  # the mark by which a spreadsheet knows UTF-8
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
        "title": escape(f"{synthetic(r.source for r in records)}review of diagnoses"),
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
    region = f'<mark class="region" title="{escape(places)}">region</mark>'
    facts = {"source": record.source, "modality": record.modality, "category": record.category, "query": record.query}
    if review := find_review(record):
        facts["earlier"] = f"{review['status']} by {review['reviewer']}"
    list_ = "".join(f'<dt>{k}</dt><dd class="{k}">{escape(v)}</dd>' for k, v in facts.items())
    button = '<button type="button" data-do="{}" aria-pressed="false">{}</button>'
    buttons = "".join(button.format(word, word.title()) for word in STATUS)
    data = {"id": record.id, "source": record.source, "category": record.category, "diagnosis": record.diagnosis}
    return f"""<article class="card" id="card-{number}" tabindex="-1" data-state="open" aria-labelledby="id-{number}">
<div>{_picture(record, roots, side)}</div>
<div>
<h2 id="id-{number}">{escape(record.id)}</h2>
<dl>{list_}</dl>
<p class="diagnosis">{region.join(map(escape, record.diagnosis.split(REGION)))}</p>
<div class="actions" role="group" aria-label="decision">{buttons}</div>
<label class="field">Comment <input data-field="comment"></label>
</div>
<script type="application/json">{_json({**data, "hash": hash_text(record), "boxes": places})}</script>
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
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88, subsampling=0)  # or the outline's color would run into a small box
    alt = escape(f"{record.modality} picture of {record.id}, boxes drawn: {len(record.boxes)}")
    return (
        f'<img alt="{alt}" width="{image.width}" height="{image.height}" '
        f'src="data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}">'
    )


def _json(value: Any) -> str:
    """JSON that stands in a page: nothing in it can end the script or begin a tag."""
    text = json.dumps(value)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
