"""Configuration of MedVInT-TD; the defaults are those of the published model."""

from collections.abc import Sequence
from typing import Any

from transformers import LlamaConfig, PretrainedConfig

LLAMA_7B = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 2048,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}  # PMC_LLaMA_7B
STRIDE = 16  # pixels of a patch's side: the trunk ends after its third stage


class MedVInTConfig(PretrainedConfig):
    """Shapes of the tower, the query decoder and the language model, and the ids that the weights do not reveal.

    Args:
        text_config: of LLaMA, or its dictionary; None = PMC_LLaMA_7B.
        image_size: side of the square picture in pixels, a multiple of 16.
        vision_layers, vision_width: blocks of the three stages, and channels of the first; patches have 16 times as
            many.
        connector: `queries`, a decoder whose queries attend to the patches, or `mean`, one token of their mean (the
            MLP variant, in which nothing says where the model looks).
        num_queries, decoder_layers, decoder_heads, decoder_ffn: of the decoder.
        decoder_dropout: published training: .1. It acts only where the decoder is trained, and makes two passes over
            one rollout differ.
        image_token_id: stands for an image token in the text; behind LLaMA's vocabulary, it has no embedding.
        prefix_token_id: between image tokens and text. LLaMA's `<s>` is 1; the tokenizer of the published training
            may have put 0 there, so `task=convert` can compare both on real weights.
        eos_token_id: ends an answer. Published training appended 1, not LLaMA's 2.

    Raises:
        ValueError: decoder heads that do not divide the width, or a picture that is not made of whole patches.
    """

    model_type = "medvint"
    sub_configs = {"text_config": LlamaConfig}  # noqa: RUF012

    def __init__(
        self,
        text_config: Any = None,
        image_size: int = 512,
        vision_layers: Sequence[int] = (3, 4, 6),
        vision_width: int = 64,
        connector: str = "queries",
        num_queries: int = 32,
        decoder_layers: int = 12,
        decoder_heads: int = 8,
        decoder_ffn: int = 1024,
        decoder_dropout: float = 0.0,
        image_token_id: int = 32000,
        prefix_token_id: int = 1,
        eos_token_id: int = 1,
        pad_token_id: int = 0,
        tie_word_embeddings: bool = False,
        **kwargs: Any,
    ) -> None:
        if connector not in ("queries", "mean"):
            raise ValueError(f"connector={connector}: choose queries or mean")
        if vision_width * STRIDE % decoder_heads:
            raise ValueError(
                f"decoder_heads={decoder_heads} does not divide the decoder's width {vision_width * STRIDE}"
            )
        if image_size % STRIDE:
            raise ValueError(f"image_size={image_size} is no multiple of {STRIDE}")
        if text_config is None or isinstance(text_config, dict):
            text_config = LlamaConfig(**(text_config or LLAMA_7B))
        self.text_config = text_config
        self.image_size = image_size
        self.vision_layers, self.vision_width = list(vision_layers), vision_width
        self.connector = connector
        self.num_queries, self.decoder_layers, self.decoder_heads = num_queries, decoder_layers, decoder_heads
        self.decoder_ffn, self.decoder_dropout = decoder_ffn, decoder_dropout
        self.image_token_id, self.prefix_token_id = image_token_id, prefix_token_id
        self.eos_token_id, self.pad_token_id = eos_token_id, pad_token_id
        self.tie_word_embeddings = tie_word_embeddings
        super().__init__(**kwargs)

    @property
    def width(self) -> int:
        """Channels of a patch, and width of the decoder."""
        return self.vision_width * STRIDE

    @property
    def side(self) -> int:
        """Patches across, and as many down."""
        return self.image_size // STRIDE

    @property
    def image_tokens(self) -> int:
        """Tokens of a picture in the language model."""
        return self.num_queries if self.connector == "queries" else 1
