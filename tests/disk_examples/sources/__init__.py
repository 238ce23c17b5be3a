"""Tiny SYNTHETIC data sets in the on-disk format of each source, every trap in them."""
