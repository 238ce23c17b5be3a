"""MedVInT-TD (PMC-VQA, 2023) as a transformers model: configuration, model and processor."""

from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor

from umed.models.medvint.configuration import MedVInTConfig
from umed.models.medvint.modeling import MedVInTForConditionalGeneration, MedVInTModel
from umed.models.medvint.processing import MedVInTImageProcessor, MedVInTProcessor

__all__ = [
    "MedVInTConfig",
    "MedVInTForConditionalGeneration",
    "MedVInTImageProcessor",
    "MedVInTModel",
    "MedVInTProcessor",
    "register",
]


def register() -> None:
    """Make the Auto classes of transformers know the model; a second call changes nothing.

    The family's file in `umed.models.backbones` calls it; whoever loads a folder with transformers alone does so too.
    """
    AutoConfig.register(MedVInTConfig.model_type, MedVInTConfig, exist_ok=True)
    AutoModelForImageTextToText.register(MedVInTConfig, MedVInTForConditionalGeneration, exist_ok=True)
    AutoImageProcessor.register(MedVInTConfig, slow_image_processor_class=MedVInTImageProcessor, exist_ok=True)
    AutoProcessor.register(MedVInTConfig, MedVInTProcessor, exist_ok=True)
