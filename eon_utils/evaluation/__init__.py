"""Metrics, what a model has to beat, and the experiments that a prior is put to."""

import lazy_loader

MODULES = ["baselines", "few_shot", "metrics", "transfer"]

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, MODULES)
