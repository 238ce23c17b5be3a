"""MedVInT-TD's MLP variant: one image token, the mean of all patches, so nothing says where the model looks."""

from dataclasses import replace

from PIL import Image

from umed.chat import ImageView
from umed.models.backbones import medvint


class MedVInTMlpProcessor(medvint.MedVInTFamilyProcessor):
    """As `MedVInTFamilyProcessor`, for a folder whose config has connector=mean."""

    connector = "mean"

    def view(self, image: Image.Image) -> ImageView:
        return ImageView(image.width, image.height, self.config.image_size, self.config.image_size, (), queries=1)


BACKBONE = replace(
    medvint.BACKBONE,
    processor_class=MedVInTMlpProcessor,
    tower=("multi_modal_projector", "vision_tower"),
    no_attention="MedVInT's MLP variant has one image token, the mean of all patches, so no attention tells them apart",
)
