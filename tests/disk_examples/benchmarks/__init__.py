"""Tiny SYNTHETIC benchmarks in the format of each release, every trap in them."""
