"""One core under every page: slices, datasets, models, training, evaluation, diagnosis."""

__version__ = "0.5.0"
NOTICE = "For research and teaching. Not a medical device: not for diagnosis or treatment of patients."
