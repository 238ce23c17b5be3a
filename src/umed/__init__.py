"""Abnormal-aware training of medical vision-language models (UMed-LVLM, ACL 2025)."""

__version__ = "0.3.0"
