"""MedVInT-TD: a ResNet trunk, a decoder of 32 queries, a projection, and LLaMA behind the queries."""

from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, LlamaModel, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, BaseModelOutputWithPooling, CausalLMOutputWithPast
from transformers.utils import torch_compilable_check
from transformers.utils.generic import can_return_tuple

from umed.models.medvint.configuration import MedVInTConfig
from umed.models.medvint.query_decoder import QueryDecoder
from umed.models.medvint.trunk import Trunk

CACHE = "cache" if "cache" in signature(LlamaModel.forward).parameters else "past_key_values"  # renamed within 5.x


@dataclass
class MedVInTImageOutput(BaseModelOutputWithPooling):
    """`last_hidden_state` (B, P, C): the patches; `pooler_output` (B, N, H): image tokens of the language model.

    `attentions` holds the cross-attention (B, N, P) of each decoder layer, `query_attentions` (B, N, P) their mean;
    both are None where there are no queries.
    """

    query_attentions: Tensor | None = None


@dataclass
class MedVInTModelOutput(BaseModelOutputWithPast):
    """With the `query_attentions` of the pictures that the pass has read."""

    query_attentions: Tensor | None = None


@dataclass
class MedVInTCausalOutput(CausalLMOutputWithPast):
    """With the `query_attentions` of the pictures that the pass has read."""

    query_attentions: Tensor | None = None


class Projector(nn.Module):
    """(B, N, C) -> (B, N, H)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(width, width), nn.Linear(width, hidden)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear_2(self.linear_1(features).relu())


class MedVInTPreTrainedModel(PreTrainedModel):
    config: MedVInTConfig
    config_class = MedVInTConfig
    base_model_prefix = "model"
    input_modalities: Any = ("image", "text")
    supports_gradient_checkpointing = True
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_attention_backend = True
    _no_split_modules = ["LlamaDecoderLayer", "DecoderLayer", "Bottleneck"]  # noqa: RUF012


class MedVInTModel(MedVInTPreTrainedModel):
    """The model without its language-model head."""

    def __init__(self, config: MedVInTConfig) -> None:
        super().__init__(config)
        c = config
        self.vision_tower = Trunk(c.vision_layers, c.vision_width)
        if c.connector == "queries":
            self.query_decoder = QueryDecoder(
                c.num_queries, c.decoder_layers, c.width, c.decoder_heads, c.decoder_ffn, c.decoder_dropout
            )
        self.multi_modal_projector = Projector(c.width, c.text_config.hidden_size)
        self.language_model = LlamaModel(c.text_config)
        self.post_init()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def get_decoder(self) -> nn.Module:
        return self.language_model

    @can_return_tuple
    def get_image_features(self, pixel_values: Tensor, **kwargs: Any) -> MedVInTImageOutput:
        """Image tokens of pictures (B, 3, S, S), and how the queries attend to their patches."""
        patches = self.vision_tower(pixel_values.to(self.dtype))
        if self.config.connector == "mean":
            tokens = self.multi_modal_projector(patches.mean(1, keepdim=True))
            return MedVInTImageOutput(last_hidden_state=patches, pooler_output=tokens)
        queries, each = self.query_decoder(patches)
        return MedVInTImageOutput(
            last_hidden_state=patches,
            pooler_output=self.multi_modal_projector(queries),
            attentions=each,
            query_attentions=torch.stack(each).mean(0),
        )

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Any = None,
        inputs_embeds: Tensor | None = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> MedVInTModelOutput:
        """Hidden states; pictures take the places of `image_token_id`, in their order.

        Args:
            cache, past_key_values: one of the two, as this version of transformers calls it.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give input_ids or inputs_embeds")
        image = None if pixel_values is None else self.get_image_features(pixel_values=pixel_values, return_dict=True)
        if input_ids is not None:
            is_image = input_ids == self.config.image_token_id  # without a row in the embedding
            inputs_embeds = self.get_input_embeddings()(input_ids.masked_fill(is_image, 0))
            if image is not None:
                inputs_embeds = self._place(inputs_embeds, is_image, image.pooler_output)
        elif image is not None:
            raise ValueError("pixel_values need input_ids, which say where the image tokens are")
        outputs = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            **{CACHE: cache if cache is not None else past_key_values},
            **kwargs,
        )
        return MedVInTModelOutput(**outputs, query_attentions=getattr(image, "query_attentions", None))

    def _place(self, embeds: Tensor, is_image: Tensor, tokens: Tensor) -> Tensor:
        torch_compilable_check(
            is_image.sum() * embeds.shape[-1] == tokens.numel(),
            f"the text has other than {self.config.image_tokens} image tokens a picture",
        )
        return embeds.masked_scatter(is_image[..., None], tokens.to(embeds.device, embeds.dtype))


class MedVInTForConditionalGeneration(MedVInTPreTrainedModel, GenerationMixin):
    """The model with its language-model head; plain `generate` continues image tokens and text."""

    def __init__(self, config: MedVInTConfig) -> None:
        super().__init__(config)
        self.model = MedVInTModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    def get_decoder(self) -> nn.Module:
        return self.model.language_model

    def get_image_features(self, pixel_values: Tensor, **kwargs: Any) -> Any:
        return self.model.get_image_features(pixel_values=pixel_values, **kwargs)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> MedVInTCausalOutput:
        """Logits (B, L, V) of the last `logits_to_keep` positions, 0 = all; the loss where labels are given."""
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            cache=cache,
            inputs_embeds=inputs_embeds,
            return_dict=True,
            **kwargs,
        )
        last = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, last])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=logits.shape[-1], **kwargs)
        kept = {name: value for name, value in outputs.items() if name != "last_hidden_state"}
        return MedVInTCausalOutput(loss=loss, logits=logits, **kept)
