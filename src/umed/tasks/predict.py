"""`task=predict`: pictures in -> answer, boxes and an annotated picture out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, ListConfig
from PIL import Image

from umed.boxes import Box
from umed.errors import InputError
from umed.pictures import PREDICTED, Window, check_window, draw_boxes, open_picture
from umed.records import Record
from umed.run_files import write_jsonl
from umed.thoughts import without_thoughts

if TYPE_CHECKING:
    from umed.engine.device import Placement
    from umed.models.policy import Policy

OTHERWISE = "percentile"  # the window of a picture that has none


def predict(cfg: DictConfig) -> None:
    """Ask `task.query` about every picture of `images`; PNGs and `answers.jsonl` go to `<run>/predict/`.

    Raises:
        InputError: no picture given, one that cannot be read, or no such window, before the model is loaded.
    """
    paths = list(cfg.images) if isinstance(cfg.images, ListConfig) else [cfg.images]
    if not paths or None in paths:
        raise InputError("images is empty: give pictures, images=[a.png,b.png]")
    window = check_window("task.window", cfg.task.window)
    pictures = {path: open_for_display(path, window) for path in map(Path, map(str, paths))}
    policy, placement = load_model(cfg)
    out = Path(cfg.paths.run_dir) / "predict"
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, (path, picture) in enumerate(pictures.items()):
        with placement.autocast():
            output, answer, boxes = answer_query(policy, picture, path, cfg.task.query, cfg.method.max_new_tokens)
        same_name = sum(p.stem == path.stem for p in list(pictures)[:number])
        target = out / (f"{path.stem}_{same_name + 1}.png" if same_name else f"{path.stem}.png")
        draw_boxes(picture, boxes or (), PREDICTED).save(target)
        pixels = None if boxes is None else [[round(v, 2) for v in b.to_xyxy(*picture.size)] for b in boxes]
        line = {"image": str(path), "width": picture.width, "height": picture.height, "question": cfg.task.query}
        lines.append({**line, "output": output, "answer": answer, "boxes": pixels, "annotated": target.name})
        shown = "none: the reply ends inside a thought; raise method.max_new_tokens" if answer is None else answer
        print(f"{path}\n  answer: {shown}\n  boxes:  {pixels or 'none could be read'}\n  -> {target}")
    write_jsonl(out / "answers.jsonl", lines)


def open_for_display(path: Path, window: Window | str | None) -> Image.Image:
    """The picture, RGB; prints the window that a rule gives, `percentile` where there is none."""
    picture = open_picture(path, window, OTHERWISE)
    if (chosen := picture.info.get("window")) and chosen != window:
        low, high, _ = chosen
        print(
            f"{path}: gray values from {low:g} (black) to {high:g} (white) are shown, by task.window="
            f"{window or OTHERWISE}; task.window=[LOW,HIGH] sets others"
        )
    return picture


def load_model(cfg: DictConfig) -> tuple[Policy, Placement]:
    """The policy to ask; what takes seconds to import is imported here, after the pictures were checked."""
    from umed.engine.device import build_to_answer
    from umed.tasks import quiet

    quiet()
    return build_to_answer(cfg, cfg.init_from)


def answer_query(
    policy: Policy, picture: Image.Image, path: Path, query: str, max_new_tokens: int
) -> tuple[str, str | None, list[Box] | None]:
    """The greedy reply to one picture: as the model wrote it, its answer as plain language, and its boxes.

    The answer is None where the reply ends inside a thought.
    """
    processor = policy.processor
    record = Record(str(path), "predict", str(path), *picture.size, (), "", "", str(path), query=query)
    prompt = processor.prompt(picture, record)
    answers = policy.sample([prompt], 1, max_new_tokens, greedy=True)
    output = processor.decode(answers.ids_BT[0][answers.mask_BT[0]].tolist())
    answer = None if without_thoughts(output) is None else processor.plain(output)
    return output, answer, processor.read_boxes(output, prompt.view)
