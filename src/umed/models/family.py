"""What every model family shares: how a prompt is made, padded and read back, and what its file has to say."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jinja2 import TemplateError
from PIL import Image
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer, GenerationConfig
from transformers.processing_utils import ProcessorMixin

from umed.boxes import Box, BoxError
from umed.chat import ImageView, Prompt, say_region, tidy, without_region
from umed.errors import InputError
from umed.records import Record

# one entry a prompt token
ROWS = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids", "cross_attention_mask")


class BoxCodec(Protocol):
    """Writes boxes in a family's text convention and reads them back; boxes are fractions of the family's frame."""

    def write(self, boxes: Sequence[Box], label: str, width: int, height: int) -> str: ...
    def read(self, text: str, width: int, height: int) -> list[Box] | None: ...
    def spans(self, text: str) -> list[tuple[int, int]]: ...
    def strip(self, text: str) -> str: ...
    def quantum(self, width: int, height: int) -> tuple[float, float]: ...


@dataclass(frozen=True)
class Look:
    """What a processor makes of one picture.

    Args:
        view: size and token grids.
        inputs: the model's picture tensors, the first dimension to be joined over prompts.
        tokens: the text that takes the place of the picture in the prompt.
    """

    view: ImageView
    inputs: dict[str, Tensor]
    tokens: str


class FamilyProcessor(ABC):
    """Prompt, image view, codec and collation of one model family; holds no weights.

    Args:
        path: folder or hub id that holds config, tokenizer and image processor.
        max_prompt_tokens: a longer prompt is refused, never truncated; so is one over the model's own context.
        codec: how boxes are written, None = the family's own convention (a fine-tune may have another).

    Raises:
        InputError: no checkpoint of the family there.
    """

    model_type: str
    image_token: str  # what one image token is called in the vocabulary
    marker: str  # what the chat template writes for a picture
    suppressed: tuple[str, ...] = ()  # further tokens that an answer never holds
    tiled: tuple[str, ...] = ()  # picture tensors (1, tiles, ...), of which prompts have different numbers
    ends: tuple[str, ...] = ()  # what ends an answer in the family's chat, where it is not the tokenizer's own end

    def __init__(self, path: str, max_prompt_tokens: int = 4096, codec: BoxCodec | None = None) -> None:
        self.path = path
        try:
            self.config: Any = AutoConfig.from_pretrained(path)
            if self.config.model_type != self.model_type:
                raise InputError(
                    f"model.path={path}: a {self.config.model_type} checkpoint, but model.backbone reads "
                    f"{self.model_type}: choose the model=... of its family, if it is there (python run.py --help)"
                )
            self.tokenizer: Any = AutoTokenizer.from_pretrained(path, padding_side="left")
            self.image_processor = self.load_image_processor(path)
        except (OSError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            first = str(error).strip().splitlines()[0]
            raise InputError(
                f"model.path={path}: no {self.model_type} checkpoint can be read there ({first})"
            ) from None
        vocabulary = self.tokenizer.get_vocab()
        expected = getattr(self.config, "image_token_id", getattr(self.config, "image_token_index", None))
        if (own := vocabulary.get(self.image_token)) != expected:
            raise InputError(
                f"model.path={path}: its tokenizer has {self.image_token} as number {own}, its config as {expected}: "
                "not the processor of this model; copy the checkpoint's tokenizer and processor files there"
            )
        context = getattr(self.config.get_text_config(), "max_position_embeddings", None) or max_prompt_tokens
        self.max_prompt_tokens = min(max_prompt_tokens, context)
        self.codec = codec or self.default_codec()
        self.image_id: int = vocabulary[self.image_token]
        ends = [vocabulary[t] for t in self.ends if t in vocabulary]
        self.eos_ids = tuple(dict.fromkeys([*ends, *_eos_ids(path, self.tokenizer.eos_token_id)]))
        pad = self.tokenizer.pad_token_id  # Llama's own tokenizers have none
        self.pad_id: int = self.eos_ids[0] if pad is None else pad
        # older checkpoints keep the template for pictures apart, and an earlier one for text alone in the tokenizer
        saved = ProcessorMixin.get_processor_dict(path)[0]
        self.tokenizer.chat_template = saved.get("chat_template") or self.tokenizer.chat_template
        names = (self.image_token, *self.suppressed)
        self.suppressed_ids = tuple(dict.fromkeys(vocabulary[t] for t in names if t in vocabulary))

    @abstractmethod
    def load_image_processor(self, path: str) -> Any:
        """The family's image processor on PIL pictures (no torchvision)."""

    @abstractmethod
    def default_codec(self) -> BoxCodec: ...

    @abstractmethod
    def look(self, image: Image.Image) -> Look:
        """What the model sees of a picture; a ValueError says why it cannot."""

    def text(self, query: str) -> str:
        """The prompt's text with the marker in the place of the picture, by the checkpoint's chat template."""
        if self.tokenizer.chat_template is None:
            raise InputError(f"model.path={self.path}: its tokenizer has no chat template: add chat_template.jinja")
        content = [{"type": "image"}, {"type": "text", "text": query}]
        try:
            text = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": content}],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,  # where a template knows it: Qwen3.5's larger ones would begin in a thought
            )
        except (TypeError, TemplateError) as error:
            text, why = "", f" ({str(error).splitlines()[0]})"
        else:
            why = ""
        if self.marker not in text:
            raise InputError(
                f"model.path={self.path}: its chat template has no place for a picture{why}: use the template of the "
                "checkpoint's processor, chat_template.jinja"
            )
        return text

    def token_types(self, ids: Tensor, look: Look) -> dict[str, Tensor]:
        """What the family's model wants to know of each prompt token, besides the ids; (P, ...) each."""
        return {}

    def units(self, view: ImageView) -> tuple[int, int]:
        """Width and height of the frame in pixels of the image that the model saw."""
        return view.seen_width, view.seen_height

    def prompt(self, image: Image.Image, record: Record, others: tuple[str, ...] = ()) -> Prompt:
        """Encode one image and the record's query; the gold answer too, where the record has a diagnosis.

        Args:
            image: RGB, the stored size.
            others: the other categories of the record's source, for judges.
        """
        try:
            look = self.look(image)
        except ValueError as error:
            raise InputError(
                f"{record.id}: {record.image} has {image.width} x {image.height} pixels, which the model cannot take "
                f"({error}): crop or remove it"
            ) from None
        text = self.text(record.query).replace(self.marker, look.tokens, 1)
        begin = self.tokenizer.bos_token  # where the template leaves it to the tokenizer, as LLaVA's does
        ids = torch.tensor(
            self.tokenizer(text, add_special_tokens=begin is not None and begin not in text)["input_ids"]
        )
        if int((ids == self.image_id).sum()) != max(look.view.tokens, 1):
            raise InputError(
                f"{record.id}: its query has {self.image_token} in it, which stands for a picture: remove it"
            )
        if len(ids) > self.max_prompt_tokens:
            raise InputError(self._too_long(record, len(ids), look.view.tokens))
        inputs = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            **self.token_types(ids, look),
            **look.inputs,
        }
        answer = torch.zeros(0, dtype=torch.long)
        if record.diagnosis:
            try:
                region = self.write_boxes(record.boxes, record.category, look.view)
            except BoxError:
                raise InputError(
                    f"{record.id}: a box lies where the model does not see {record.image}: use a setting that shows "
                    "the whole picture, as model.processor.fit=pad"
                ) from None
            said = say_region(record.diagnosis, region)
            answer = torch.tensor([*self.encode(said), self.eos_ids[0]])
        return Prompt(record, look.view, inputs, answer, without_region(record.diagnosis), others)

    def _too_long(self, record: Record, length: int, pictures: int) -> str:
        what = (
            f"{record.id}: the prompt has {length} tokens, {pictures} of them the picture's; allowed are "
            f"{self.max_prompt_tokens} (model.processor.max_prompt_tokens and the model's own context)"
        )
        room = self.max_prompt_tokens - (length - pictures)
        advice = self.smaller(room) if room > 0 else ""
        return f"{what}: {advice or 'shorten the query or use a model with a longer context'}"

    def smaller(self, room: int) -> str:
        """The setting with which a picture takes at most `room` tokens, as an advice; empty if there is none."""
        return ""

    def collate(self, prompts: Sequence[Prompt]) -> dict[str, Tensor]:
        """Left-padded rows (Q, P) of ids, mask and token types; picture tensors joined in the same order.

        Where tiles are a dimension, pictures of fewer tiles get empty ones, which the model drops.
        """
        width = max(len(p.inputs["input_ids"]) for p in prompts)
        batch = {}
        for name in prompts[0].inputs:
            parts = [p.inputs[name] for p in prompts]
            if name in self.tiled:
                most = max(t.shape[1] for t in parts)
                parts = [torch.cat([t, t.new_zeros(1, most - t.shape[1], *t.shape[2:])], 1) for t in parts]
            if name in ROWS:
                fill = self.pad_id if name == "input_ids" else 0
                batch[name] = torch.stack([_left_pad(t, width, fill) for t in parts])
            else:
                batch[name] = torch.cat(parts)
        return batch

    def encode(self, text: str) -> list[int]:
        """The tokens of an answer, without its end."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

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

    def write_boxes(self, boxes: Sequence[Box], label: str, view: ImageView) -> str:
        x0, y0, x1, y1 = view.frame
        width, height = x1 - x0, y1 - y0
        # what a frame smaller than the image does not show is cut off
        framed = [Box.from_xyxy((b.x0 - x0, b.y0 - y0, b.x1 - x0, b.y1 - y0), width, height) for b in boxes]
        return self.codec.write(framed, label, *self.units(view))

    def read_boxes(self, text: str, view: ImageView) -> list[Box] | None:
        """All boxes of an answer that lie in the image at least in part; None when there is none (reading R13)."""
        x0, y0, x1, y1 = view.frame
        width, height = x1 - x0, y1 - y0
        found = []
        for b in self.codec.read(text, *self.units(view)) or ():
            corners = (x0 + b.x0 * width, y0 + b.y0 * height, x0 + b.x1 * width, y0 + b.y1 * height)
            try:
                found.append(Box.from_xyxy(corners, 1, 1))
            except BoxError:  # said to lie in the padding
                continue
        return found or None

    def box_spans(self, text: str) -> list[tuple[int, int]]:
        return self.codec.spans(text)

    def plain(self, text: str) -> str:
        """An answer without its boxes."""
        return tidy(self.codec.strip(text))

    def save(self, folder: str) -> None:
        """Tokenizer and image processor with the settings in force, readable by plain transformers."""
        self.tokenizer.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)


def _left_pad(row: Tensor, width: int, value: int) -> Tensor:
    return torch.cat([row.new_full((width - len(row), *row.shape[1:]), value), row])


def _eos_ids(path: str, tokenizer_eos: int) -> tuple[int, ...]:
    """Every id that ends an answer; the tokenizer's own first, since that is the one taught."""
    try:
        said = GenerationConfig.from_pretrained(path).eos_token_id
    except OSError:  # a checkpoint without generation_config.json
        said = None
    return tuple(dict.fromkeys([tokenizer_eos, *([said] if isinstance(said, int) else said or [])]))
