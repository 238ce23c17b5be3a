"""MedVInT's pictures and texts as the model takes them: a square picture, image tokens, a prefix, then the text."""

from collections.abc import Sequence
from typing import Any

from PIL import Image
from transformers import BatchFeature
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, PILImageResampling
from transformers.processing_utils import ProcessorMixin

IMAGE = "<image>"


class MedVInTImageProcessor(PilBackend):
    """Bicubic resize to a square, whatever the aspect, and ImageNet's mean and deviation."""

    resample = PILImageResampling.BICUBIC
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD
    size = {"height": 512, "width": 512}  # noqa: RUF012
    do_resize = do_rescale = do_normalize = do_convert_rgb = True


class MedVInTProcessor(ProcessorMixin):
    """Pictures and texts -> `pixel_values`, `input_ids`, `attention_mask`.

    Args:
        num_image_tokens: of a picture.
        prefix_token_id: of the token between image tokens and text.
    """

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        num_image_tokens: int = 32,
        prefix_token_id: int = 1,
        image_token: str = IMAGE,
    ) -> None:
        self.num_image_tokens, self.prefix_token_id, self.image_token = num_image_tokens, prefix_token_id, image_token
        self.image_token_id = tokenizer.convert_tokens_to_ids(image_token)
        super().__init__(image_processor, tokenizer)

    def __call__(  # type: ignore[override]
        self,
        images: Image.Image | Sequence[Image.Image],
        text: str | Sequence[str],
        return_tensors: str | None = "pt",
        padding_side: str | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """One picture a text; a text may begin with `<image>`, which says no more than that there is one.

        Args:
            padding_side: of texts of different lengths, None = the tokenizer's.
        """
        pictures = [images] if isinstance(images, Image.Image) else list(images)
        texts = [text] if isinstance(text, str) else list(text)
        if len(pictures) != len(texts):
            raise ValueError(f"{len(pictures)} pictures for {len(texts)} texts: give one picture a text")
        ids = [self._ids(of.removeprefix(self.image_token)) for of in texts]
        padded = self.tokenizer.pad({"input_ids": ids}, padding_side=padding_side, return_tensors=return_tensors)
        pixels = self.image_processor(images=pictures, return_tensors=return_tensors)
        return BatchFeature({**padded, **pixels})

    def _ids(self, text: str) -> list[int]:
        return sequence(
            [self.image_token_id] * self.num_image_tokens,
            self.prefix_token_id,
            self.tokenizer(text, add_special_tokens=False)["input_ids"],
        )


def sequence(image: Sequence[int], prefix: int, text: Sequence[int]) -> list[int]:
    """The published order: image tokens come before the beginning of the text."""
    return [*image, prefix, *text]
