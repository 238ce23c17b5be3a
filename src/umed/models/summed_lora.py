"""LoRA of high rank in small layers: one product with the sum of the weights, gradients to the adapter through it."""

from typing import Any

from peft.tuners.lora import Linear
from torch import Tensor, nn

from umed.models.merging import can_merge, is_exact


class SummedLinear(Linear):
    """peft's layer; it adds its adapter's product to the weight, where that spares work, and not to the output."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        names = [name for name in self.active_adapters if name in self.lora_A]
        if args or kwargs or not self._pays(x, names) or not can_merge(self) or not is_exact(self):
            return super().forward(x, *args, **kwargs)
        base: Any = self.get_base_layer()
        weight = sum((self.get_delta_weight(name) for name in names), base.weight)
        return nn.functional.linear(x, weight, base.bias)

    def _pays(self, x: Tensor, names: list[str]) -> bool:
        """Whether no dropout is between, and the weight's gradient costs no more than the adapter's own products."""
        dropouts = [self.lora_dropout[name] for name in names]
        layer: Any = self
        outputs, inputs = layer.out_features, layer.in_features
        spares = 3 * sum(self.r[name] for name in names) * (inputs + outputs) >= inputs * outputs
        many = x.numel() >= max(inputs, outputs) * inputs
        return spares and many and not any(isinstance(d, nn.Dropout) and d.training for d in dropouts)


def sum_lora(model: nn.Module) -> None:
    """Make peft's layers of linear layers `SummedLinear` ones, which share all that they hold."""
    for module in model.modules():
        if type(module) is Linear:
            module.__class__ = SummedLinear
