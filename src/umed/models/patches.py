"""Patch embeddings of towers that get each patch as a picture of its own."""

from torch import Tensor, nn


class PatchConv3d(nn.Conv3d):
    """A convolution that is one matrix product where its kernel covers the whole input; as a convolution it is slow."""

    def forward(self, input: Tensor) -> Tensor:
        if input.shape[2:] != self.kernel_size:
            return super().forward(input)
        out = nn.functional.linear(input.flatten(1), self.weight.flatten(1), self.bias)
        return out[:, :, None, None, None]


def embed_patches_as_products(model: nn.Module) -> None:
    """Make plain three-dimensional convolutions `PatchConv3d` ones, which share their weights."""
    for module in model.modules():
        if type(module) is nn.Conv3d and module.groups == 1 and not any(module.padding):
            module.__class__ = PatchConv3d
