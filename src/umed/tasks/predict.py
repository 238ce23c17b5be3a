"""`task=predict`: pictures in -> answer, boxes and an annotated picture out."""

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from PIL import Image

from umed.boxes import Box
from umed.errors import InputError
from umed.figures import PREDICTED
from umed.models.load import build_policy
from umed.models.policy import Policy
from umed.pictures import draw_boxes, open_picture
from umed.records import Record
from umed.run_files import write_jsonl


def predict(cfg: DictConfig) -> None:
    """Ask `task.query` about every picture of `images`; PNGs and `answers.jsonl` go to `<run>/predict/`.

    Raises:
        InputError: no picture given, or one that cannot be read: told before the model is loaded.
    """
    given = [cfg.images] if isinstance(cfg.images, str) else list(cfg.images or ())
    if not given:
        raise InputError("images is empty: give pictures, images=[a.png,b.png]")
    pictures = {path: open_picture(path) for path in map(Path, given)}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    policy = build_policy(cfg, cfg.init_from, 0.0, device)
    out = Path(cfg.paths.run_dir) / "predict"
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, (path, picture) in enumerate(pictures.items()):
        line, boxes = answered(policy, picture, path, cfg.task.query, cfg.method.max_new_tokens)
        earlier = sum(p.stem == path.stem for p in list(pictures)[:number])
        target = out / (f"{path.stem}_{earlier + 1}.png" if earlier else f"{path.stem}.png")
        draw_boxes(picture, boxes, PREDICTED).save(target)
        lines.append({**line, "annotated": target.name})
        print(f"{path}\n  answer: {line['answer']}\n  boxes:  {line['boxes'] or 'none could be read'}\n  -> {target}")
    write_jsonl(out / "answers.jsonl", lines)


def answered(
    policy: Policy, picture: Image.Image, path: Path, query: str, max_new_tokens: int
) -> tuple[dict[str, Any], list[Box]]:
    """The greedy answer to one picture: its line of `answers.jsonl`, boxes in pixels of the stored picture."""
    processor = policy.processor
    record = Record(str(path), "predict", str(path), *picture.size, (), "", "", str(path), query=query)
    prompt = processor.prompt(picture, record)
    said = policy.sample([prompt], 1, max_new_tokens, greedy=True)
    output = processor.decode(said.ids_BT[0][said.mask_BT[0]].tolist())
    boxes = processor.read_boxes(output, prompt.view)
    pixels = None if boxes is None else [[round(v, 2) for v in b.to_xyxy(*picture.size)] for b in boxes]
    line = {"image": str(path), "width": picture.width, "height": picture.height, "question": query, "output": output}
    return {**line, "answer": processor.plain(output), "boxes": pixels}, boxes or []
