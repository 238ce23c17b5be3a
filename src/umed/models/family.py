"""`FamilyProcessor`: a picture and a query in, a model family's `Prompt` out; boxes written and read in its words."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jinja2 import TemplateError
from PIL import Image
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer
from transformers.processing_utils import ProcessorMixin

from umed.boxes import Box, BoxError
from umed.chat import ImageView, Prompt, say_region, tidy, without_region
from umed.errors import InputError
from umed.models.batch import collate
from umed.models.codec import BoxCodec
from umed.models.lengths import check_prompt
from umed.models.tokenizer import answer_ends, split_text
from umed.records import Record
from umed.thoughts import end_thought, is_tag


@dataclass(frozen=True)
class EncodedPicture:
    """One picture as a model takes it.

    Args:
        view: size and token grids.
        inputs: the model's picture tensors, concatenated over prompts along their first dimension.
        text: takes the place of the picture in the prompt.
    """

    view: ImageView
    inputs: dict[str, Tensor]
    text: str


class FamilyProcessor(ABC):
    """Prompt, image view, codec and collation of one model family; holds no weights.

    A family adds options of its own and passes these on as `shared`.

    Args:
        path: folder or hub id that holds config, tokenizer and image processor.
        max_prompt_tokens: a longer prompt is refused, never truncated; so is one over the model's own context.
        codec: how boxes are written, None = the family's own convention (a fine-tune may have another).

    Raises:
        InputError: no checkpoint of the family there.
    """

    model_type: str
    image_processor_class: Any  # of PIL pictures: torchvision is not needed
    default_codec: BoxCodec
    image_token: str  # the token in the vocabulary that stands for one part of a picture
    marker: str  # the chat template writes it for a picture
    suppressed: tuple[str, ...] = ()  # further tokens that an answer never holds
    visible: tuple[str, ...] = ()  # special tokens that stay in an answer's text, besides the tags of thoughts
    ends: tuple[str, ...] = ()  # tokens that end an answer, where it is not the tokenizer's end alone
    tiled: tuple[str, ...] = ()  # picture tensors (1, tiles, ...), of which prompts have different numbers
    token_types_name: str = ""  # input that is 1 at image tokens and 0 elsewhere, if the model takes one

    def __init__(self, path: str, max_prompt_tokens: int = 4096, codec: BoxCodec | None = None) -> None:
        self.path = path
        self._load(path)
        vocabulary = self.tokenizer.get_vocab()
        expected = getattr(self.config, "image_token_id", getattr(self.config, "image_token_index", None))
        if (image_id := vocabulary.get(self.image_token)) != expected:
            raise InputError(
                f"model.path={path}: its tokenizer has {self.image_token} as number {image_id}, its config as "
                f"{expected}: not the processor of this model; copy the checkpoint's tokenizer and processor files "
                "there"
            )
        self.image_id: int = image_id
        context = getattr(self.config.get_text_config(), "max_position_embeddings", None) or max_prompt_tokens
        self.max_prompt_tokens = min(max_prompt_tokens, context)
        self.codec = codec or self.default_codec
        self.eos_ids = answer_ends(path, self.tokenizer, self.ends)
        pad = self.tokenizer.pad_token_id  # Llama's tokenizers have none
        self.pad_id: int = self.eos_ids[0] if pad is None else pad
        names = (self.image_token, *self.suppressed)
        self.suppressed_ids = tuple(dict.fromkeys(vocabulary[t] for t in names if t in vocabulary))
        special = {i: str(token) for i, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        self.silent_ids = {i for i, token in special.items() if token not in self.visible and not is_tag(token)}
        # older checkpoints store the template for pictures apart, and one for text alone in the tokenizer
        saved = ProcessorMixin.get_processor_dict(path)[0]
        self.tokenizer.chat_template = saved.get("chat_template") or self.tokenizer.chat_template

    def _load(self, path: str) -> None:
        try:
            self.config: Any = AutoConfig.from_pretrained(path)
            if self.config.model_type != self.model_type:
                raise InputError(
                    f"model.path={path}: a {self.config.model_type} checkpoint, but model.backbone reads "
                    f"{self.model_type}: choose the model=... of its family, if it is there (python run.py --help)"
                )
            self.tokenizer: Any = AutoTokenizer.from_pretrained(path, padding_side="left")
            self.image_processor: Any = self.image_processor_class.from_pretrained(path)
        except (OSError, ValueError) as error:
            first = str(error).strip().splitlines()[0]
            raise InputError(
                f"model.path={path}: no {self.model_type} checkpoint can be read there ({first})"
            ) from None

    @abstractmethod
    def encode_picture(self, image: Image.Image) -> EncodedPicture:
        """What the model sees of a picture.

        Raises:
            ValueError: why it cannot take the picture.
        """

    def token_types(self, ids: Tensor, picture: EncodedPicture) -> dict[str, Tensor]:
        """Inputs that tell the model about each prompt token, besides the ids; (P, ...) each."""
        return {self.token_types_name: (ids == self.image_id).long()} if self.token_types_name else {}

    def advise(self, room: int) -> str:
        """A setting with which a picture takes at most `room` tokens; empty if there is none."""
        return ""

    def text(self, query: str) -> str:
        """The prompt's text with the marker in the place of the picture, by the checkpoint's chat template."""
        if self.tokenizer.chat_template is None:
            raise InputError(f"model.path={self.path}: its tokenizer has no chat template: add chat_template.jinja")
        content = [{"type": "image"}, {"type": "text", "text": query}]
        text, reason = "", ""
        try:
            text = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": content}],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,  # where a template knows it: Qwen3.5's larger ones would begin in a thought
            )
        except (TypeError, TemplateError) as error:
            reason = f" ({str(error).splitlines()[0]})"
        if self.marker not in text:
            raise InputError(
                f"model.path={self.path}: its chat template has no place for a picture{reason}: use the template of "
                "the checkpoint's processor, chat_template.jinja"
            )
        return end_thought(text)

    def prompt(self, image: Image.Image, record: Record, others: tuple[str, ...] = ()) -> Prompt:
        """Encode one image and the record's query; the gold answer too, where the record has a diagnosis.

        Args:
            image: RGB, the stored size.
            others: the other categories of the record's source, for judges.
        """
        picture = self.see(image, record)
        ids = torch.tensor(self.prompt_ids(record.query, picture.text))
        check_prompt(self, record, len(ids), int((ids == self.image_id).sum()), picture.view.tokens)
        inputs = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            **self.token_types(ids, picture),
            **picture.inputs,
        }
        answer = torch.tensor(self.answer_ids(record, picture.view), dtype=torch.long)
        return Prompt(record, picture.view, inputs, answer, without_region(record.diagnosis), others)

    def see(self, image: Image.Image, record: Record) -> EncodedPicture:
        """`encode_picture`. Raises InputError: the model cannot take it."""
        try:
            return self.encode_picture(image)
        except ValueError as error:
            raise InputError(
                f"{record.id}: {record.image} has {image.width} x {image.height} pixels, which the model cannot take "
                f"({error}): crop or remove it"
            ) from None

    def prompt_ids(self, query: str, picture: str) -> list[int]:
        """Tokens of a prompt with this text in the place of its picture."""
        text = self.text(query).replace(self.marker, picture, 1)
        begin = self.tokenizer.bos_token  # where the template leaves it to the tokenizer, as LLaVA's does
        return self.tokenizer(text, add_special_tokens=begin is not None and begin not in text)["input_ids"]

    def answer_ids(self, record: Record, view: ImageView) -> list[int]:
        """Tokens of the gold answer with its end; none without a diagnosis."""
        if not record.diagnosis:
            return []
        try:
            region = self.write_boxes(record.boxes, record.category, view) if record.boxes else ""
        except BoxError:
            raise InputError(
                f"{record.id}: a box lies where the model does not see {record.image}: use a setting that shows "
                "the whole picture, as model.processor.fit=pad"
            ) from None
        return [*self.encode(say_region(record.diagnosis, region)), self.eos_ids[0]]

    def collate(self, prompts: Sequence[Prompt]) -> dict[str, Tensor]:
        return collate(prompts, self.pad_id, self.tiled)

    def encode(self, text: str) -> list[int]:
        """The tokens of an answer, without its end."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def decode(self, ids: Sequence[int]) -> str:
        """The reply as it was written: without special tokens, but with those that mark a box or a thought."""
        kept = [i for i in ids if i not in self.silent_ids]
        return self.tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text of each token; concatenated they are `decode(ids)`."""
        return split_text(ids, self.decode)

    def units(self, view: ImageView) -> tuple[int, int]:
        """Width and height of the frame in pixels of the image that the model saw."""
        return view.seen_width, view.seen_height

    def write_boxes(self, boxes: Sequence[Box], label: str, view: ImageView) -> str:
        """Boxes in the family's words, relative to the view's frame; what the frame does not show is cut off."""
        x0, y0, x1, y1 = view.frame
        framed = [Box.from_xyxy((b.x0 - x0, b.y0 - y0, b.x1 - x0, b.y1 - y0), x1 - x0, y1 - y0) for b in boxes]
        return self.codec.write(framed, label, *self.units(view))

    def read_boxes(self, text: str, view: ImageView) -> list[Box] | None:
        """All boxes of a reply that lie in the image at least in part; None when there is none (reading R13)."""
        x0, y0, x1, y1 = view.frame
        width, height = x1 - x0, y1 - y0
        boxes = []
        for b in self.codec.read(text, *self.units(view)) or ():
            corners = (x0 + b.x0 * width, y0 + b.y0 * height, x0 + b.x1 * width, y0 + b.y1 * height)
            try:
                boxes.append(Box.from_xyxy(corners, 1, 1))
            except BoxError:  # in the padding
                continue
        return boxes or None

    def has_box_syntax(self, text: str) -> bool:
        return self.codec.has_box_syntax(text)

    def box_spans(self, text: str) -> list[tuple[int, int]]:
        return self.codec.spans(text)

    def plain(self, text: str) -> str:
        """A reply without its boxes and thoughts."""
        return tidy(self.codec.strip(text))

    def save(self, folder: str) -> None:
        """Tokenizer and image processor with the settings in force, readable by plain transformers."""
        self.tokenizer.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)
