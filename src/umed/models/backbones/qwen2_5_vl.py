"""Qwen2.5-VL: absolute pixels of the processor-resized image, one token per 28 x 28 px, multimodal rotary positions."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer, GenerationConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from umed.boxes import Box
from umed.chat import ImageView, Prompt, say_region, tidy, without_region
from umed.errors import InputError
from umed.models.backbones.json_codec import JsonCodec
from umed.records import Record

MODEL_CLASS = Qwen2_5_VLForConditionalGeneration
VISION_START, IMAGE, VISION_END, VIDEO = "<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>"


class Qwen25VLProcessor:
    """Prompt, image view, codec and collation for a Qwen2.5-VL folder or hub id.

    Args:
        path: folder or hub id that holds tokenizer and image processor.
        min_pixels, max_pixels: area budget of the resized image, None = the checkpoint's own.
        max_prompt_tokens: a longer prompt is refused, never truncated.
        step: coordinates are written as multiples of it.
    """

    model_type = "qwen2_5_vl"

    def __init__(
        self,
        path: str,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        max_prompt_tokens: int = 4096,
        step: int = 1,
    ) -> None:
        self.path = path
        self.max_prompt_tokens = max_prompt_tokens
        try:
            config = AutoConfig.from_pretrained(path)
            self.tokenizer: Any = AutoTokenizer.from_pretrained(path, padding_side="left")
            self.image_processor = Qwen2VLImageProcessorPil.from_pretrained(path)
        except (OSError, ValueError) as error:
            first = str(error).strip().splitlines()[0]
            raise InputError(
                f"model.path={path}: no {self.model_type} checkpoint can be read there ({first})"
            ) from None
        if config.model_type != self.model_type:
            raise InputError(
                f"model.path={path}: a {config.model_type} checkpoint, but model.backbone reads {self.model_type}"
            )
        if self.tokenizer.chat_template is None:
            raise InputError(f"model.path={path}: its tokenizer has no chat template: add chat_template.jinja")
        size = dict(self.image_processor.size)
        size["shortest_edge"] = min_pixels or size["shortest_edge"]
        size["longest_edge"] = max_pixels or size["longest_edge"]
        self.image_processor.size = size
        self.codec = JsonCodec(step=step)
        self.pad_id: int = self.tokenizer.pad_token_id
        self.image_id: int = self.tokenizer.get_vocab()[IMAGE]
        self.eos_ids = _eos_ids(path, self.tokenizer.eos_token_id)
        self.suppressed_ids = tuple(
            i
            for t in (IMAGE, VIDEO, VISION_START, VISION_END)
            if (i := self.tokenizer.convert_tokens_to_ids(t)) is not None and i != self.tokenizer.unk_token_id
        )

    def prompt(self, image: Image.Image, record: Record, others: tuple[str, ...] = ()) -> Prompt:
        """Encode one image and the record's query; the gold answer too, where the record has a diagnosis.

        Args:
            image: RGB, the stored size.
            others: the other categories of the record's source, for judges.
        """
        try:
            features = self.image_processor(images=[image], return_tensors="pt")
        except ValueError as error:  # the family's limit on the aspect ratio
            raise InputError(
                f"{record.id}: {record.image} has {image.width} x {image.height} pixels, which the model cannot take "
                f"({error}): crop or remove it"
            ) from None
        _, grid_h, grid_w = features["image_grid_thw"][0].tolist()
        patch, merge = self.image_processor.patch_size, self.image_processor.merge_size
        view = ImageView(image.width, image.height, grid_w * patch, grid_h * patch, grid_h // merge, grid_w // merge)
        content = [{"type": "image"}, {"type": "text", "text": record.query}]
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        text = text.replace(IMAGE, IMAGE * (view.rows * view.columns), 1)
        ids = torch.tensor(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        if len(ids) > self.max_prompt_tokens:
            raise InputError(
                f"{record.id}: the prompt has {len(ids)} tokens, over model.processor.max_prompt_tokens="
                f"{self.max_prompt_tokens}: lower model.processor.max_pixels"
            )
        inputs = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "mm_token_type_ids": (ids == self.image_id).long(),
            "pixel_values": features["pixel_values"],
            "image_grid_thw": features["image_grid_thw"],
        }
        answer = torch.zeros(0, dtype=torch.long)
        if record.diagnosis:
            said = say_region(record.diagnosis, self.write_boxes(record.boxes, record.category, view))
            answer = torch.tensor(self.tokenizer(said, add_special_tokens=False)["input_ids"] + [self.eos_ids[0]])
        return Prompt(record, view, inputs, answer, without_region(record.diagnosis), others)

    def collate(self, prompts: Sequence[Prompt]) -> dict[str, Tensor]:
        """Left-padded ids, mask and token types (Q, P); pixel rows of all images stacked in the same order."""
        width = max(len(p.inputs["input_ids"]) for p in prompts)
        fill = {"input_ids": self.pad_id, "attention_mask": 0, "mm_token_type_ids": 0}
        batch = {
            name: torch.stack([_left_pad(p.inputs[name], width, value) for p in prompts])
            for name, value in fill.items()
        }
        for name in ("pixel_values", "image_grid_thw"):
            batch[name] = torch.cat([p.inputs[name] for p in prompts])
        return batch

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text of each token; joined they are `decode(ids)`."""
        pieces = [self.decode([i]) for i in ids]
        whole = self.decode(ids)
        if "".join(pieces) == whole:
            return pieces
        # a character may span tokens: it belongs to the token that completes it
        ends = [len(self.decode(ids[:k]).rstrip("\ufffd")) for k in range(len(ids))]
        return [whole[a:b] for a, b in zip(ends, [*ends[1:], len(whole)], strict=True)]

    def frame(self, view: ImageView) -> tuple[int, int]:
        """Width and height of the frame that boxes are written in: the resized image."""
        return view.seen_width, view.seen_height

    def write_boxes(self, boxes: Sequence[Box], label: str, view: ImageView) -> str:
        return self.codec.write(boxes, label, *self.frame(view))

    def read_boxes(self, text: str, view: ImageView) -> list[Box] | None:
        return self.codec.read(text, *self.frame(view))

    def box_spans(self, text: str) -> list[tuple[int, int]]:
        return self.codec.spans(text)

    def plain(self, text: str) -> str:
        """An answer without its boxes."""
        return tidy(self.codec.strip(text))

    def save(self, folder: str) -> None:
        """Tokenizer and image processor with the pixel budget in force, readable by plain transformers."""
        self.tokenizer.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)


def positions(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Multimodal rotary positions of a collated batch, (3, Q, P)."""
    keys = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
    return model.get_rope_index(**{k: batch[k] for k in keys})[0]


def _left_pad(ids: Tensor, width: int, value: int) -> Tensor:
    return torch.nn.functional.pad(ids, (width - len(ids), 0), value=value)


def _eos_ids(path: str, tokenizer_eos: int) -> tuple[int, ...]:
    """Every id that ends an answer; the tokenizer's own first, since that is the one taught."""
    try:
        said = GenerationConfig.from_pretrained(path).eos_token_id
    except OSError:  # a checkpoint without generation_config.json
        said = None
    return tuple(dict.fromkeys([tokenizer_eos, *([said] if isinstance(said, int) else said or [])]))
