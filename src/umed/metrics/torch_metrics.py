"""Kept for scripts that import it; the modules are those of `umed.evaluation.torch_metrics`."""

from umed.evaluation.torch_metrics import AucMetric, RuleMetric

__all__ = ["AucMetric", "RuleMetric"]
