"""MedVInT-TD: 32 query tokens before the text, each of which attends to all patches; boxes as thousandths, ours."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from umed.chat import Grid, ImageView
from umed.errors import InputError
from umed.models.backbone import Backbone
from umed.models.backbones.plain_codec import PlainCodec
from umed.models.family import EncodedPicture, FamilyProcessor
from umed.models.medvint import (
    MedVInTForConditionalGeneration,
    MedVInTImageProcessor,
    MedVInTProcessor,
    register,
)
from umed.models.medvint.processing import IMAGE, sequence
from umed.models.medvint.tokenizer import find_empty, say_empty

register()  # the Auto classes read the folders of this family
BEGIN, END = "Question: ", "The Answer is:"


class MedVInTFamilyProcessor(FamilyProcessor):
    """Prompt, image view, codec and collation for a folder of `task=convert`.

    Args:
        prefix_token_id, eos_token_id: instead of the checkpoint's own, see `MedVInTConfig`.
    """

    model_type = "medvint"
    image_processor_class = MedVInTImageProcessor
    default_codec = PlainCodec()
    image_token = marker = IMAGE
    connector = "queries"

    def __init__(
        self, path: str, prefix_token_id: int | None = None, eos_token_id: int | None = None, **shared: Any
    ) -> None:
        super().__init__(path, **shared)
        config = self.config
        if config.connector != self.connector:
            other = {"queries": "model=medvint_td", "mean": "model=medvint_td_mlp"}[config.connector]
            raise InputError(f"model.path={path}: has connector={config.connector}: choose {other}")
        self.prefix_id: int = config.prefix_token_id if prefix_token_id is None else prefix_token_id
        end = config.eos_token_id if eos_token_id is None else eos_token_id
        for name, value in (("prefix_token_id", self.prefix_id), ("eos_token_id", end)):
            if not 0 <= value < config.text_config.vocab_size:
                raise InputError(
                    f"model.processor.{name}={value}: the model has tokens 0 to {config.text_config.vocab_size - 1}"
                )
        self.eos_ids = tuple(dict.fromkeys([end, *self.eos_ids]))
        self.pad_id = config.pad_token_id
        size = {"height": config.image_size, "width": config.image_size}
        if dict(self.image_processor.size) != size:
            raise InputError(
                f"model.path={path}: its image processor makes {dict(self.image_processor.size)}, its config asks for "
                f"{config.image_size} x {config.image_size}: convert the checkpoint again"
            )

    def _load(self, path: str) -> None:
        if (Path(path) / "pytorch_model.bin").is_file() and not (Path(path) / "config.json").is_file():
            raise InputError(
                f"model.path={path}: a checkpoint in its published layout: convert it once, task=convert "
                f"convert.path={path}, and give the folder RUN/converted"
            )
        if empty := find_empty(path):
            raise InputError(f"model.path={path}: {say_empty(empty)}, or convert the checkpoint again")
        super()._load(path)

    def encode_picture(self, image: Image.Image) -> EncodedPicture:
        pixels = self.image_processor(images=[image], return_tensors="pt")["pixel_values"]
        return EncodedPicture(self.view(image), {"pixel_values": pixels}, IMAGE * self.config.image_tokens)

    def view(self, image: Image.Image) -> ImageView:
        """The whole picture as a square of patches, behind the query tokens."""
        side = self.config.image_size
        grid = Grid(self.config.side, self.config.side)
        return ImageView(image.width, image.height, side, side, (grid,), queries=self.config.num_queries)

    def text(self, query: str) -> str:
        """No chat template: the published wording, unless the query has it already (data/protocol=medvint)."""
        worded = query if query.startswith(BEGIN) and query.endswith(END) else f"{BEGIN}{query}{END}"
        return f"{self.marker}{worded}"

    def prompt_ids(self, query: str, picture: str) -> list[int]:
        """Picture and text are tokenized apart, as they were in training: the text begins with its own prefix."""
        text = self.text(query).removeprefix(self.marker)
        image = [self.image_id] * picture.count(IMAGE)
        return sequence(image, self.prefix_id, self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def save(self, folder: str) -> None:
        """With the processor that `AutoProcessor` loads; a whole model's config gets this prefix and end."""
        processor = MedVInTProcessor(self.image_processor, self.tokenizer, self.config.image_tokens, self.prefix_id)
        processor.save_pretrained(folder)
        path = Path(folder) / "config.json"
        if path.is_file():  # written before: without settings, that folder reads what the model was trained with
            ids = {"prefix_token_id": self.prefix_id, "eos_token_id": self.eos_ids[0]}
            settings = json.loads(path.read_text(encoding="utf-8")) | ids
            path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


BACKBONE = Backbone(
    model_class=MedVInTForConditionalGeneration,
    processor_class=MedVInTFamilyProcessor,
    tower=("query_decoder", "vision_tower", "multi_modal_projector"),
)
