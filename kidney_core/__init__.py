"""One core under every page: slices, datasets, models, training, evaluation, diagnosis."""

__version__ = "0.5.0"
