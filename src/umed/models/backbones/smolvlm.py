"""SmolVLM and SmolVLM2: Idefics3's tiles and prompt with classes of their own."""

from dataclasses import replace

from transformers import SmolVLMForConditionalGeneration
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from umed.models.backbones import idefics3


class SmolVLMProcessor(idefics3.Idefics3Processor):
    """Prompt, image view, codec and collation for a SmolVLM folder or hub id."""

    model_type = "smolvlm"
    image_processor_class = SmolVLMImageProcessorPil


BACKBONE = replace(idefics3.BACKBONE, model_class=SmolVLMForConditionalGeneration, processor_class=SmolVLMProcessor)
