"""PMC-CLIP's ResNet-50 (CLIP's modified one) without its last stage and its pooling: stride 16, 1,024 channels.

Three convolutions make the stem, and average pools take the place of strides. Source: xiaoman-zhang/PMC-VQA (MIT),
src/MedVInT_TD/models/blocks.py.
"""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

EXPANSION = 4


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Batch normalization that always uses the stored statistics, in training too.

    With a batch's own statistics a picture's features would depend on the pictures beside it, and an answer's
    probability in training would not be that of its sampling.
    """

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )


class Bottleneck(nn.Module):
    """Three convolutions around a residual connection; a stride is an average pool behind the second."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * EXPANSION
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), FrozenBatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), FrozenBatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), FrozenBatchNorm2d(outputs)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.relu = nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
            conv = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.downsample = nn.Sequential(OrderedDict([("-1", pool), ("0", conv), ("1", FrozenBatchNorm2d(outputs))]))

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.relu(self.bn3(self.conv3(self.pool(out))) + self.downsample(x))


class Trunk(nn.Module):
    """Pixels (B, 3, S, S) -> patches (B, P, C), row by row."""

    def __init__(self, layers: Sequence[int], width: int) -> None:
        super().__init__()
        half = width // 2
        self.conv1, self.bn1 = nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False), FrozenBatchNorm2d(half)
        self.conv2, self.bn2 = nn.Conv2d(half, half, 3, padding=1, bias=False), FrozenBatchNorm2d(half)
        self.conv3, self.bn3 = nn.Conv2d(half, width, 3, padding=1, bias=False), FrozenBatchNorm2d(width)
        self.pool = nn.AvgPool2d(2)
        self.relu = nn.ReLU()
        inputs = width
        for number, blocks in enumerate(layers):
            stage = nn.Sequential()
            for block in range(blocks):
                stage.append(Bottleneck(inputs, width * 2**number, 2 if number and not block else 1))
                inputs = width * 2**number * EXPANSION
            self.add_module(f"layer{number + 1}", stage)
        self.stages = len(layers)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = pixel_values
        for conv, bn in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = self.relu(bn(conv(x)))
        x = self.pool(x)
        for number in range(self.stages):
            x = self.get_submodule(f"layer{number + 1}")(x)
        return x.flatten(2).transpose(1, 2)
