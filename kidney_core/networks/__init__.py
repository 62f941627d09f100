"""Networks of timm: building, freezing, preprocessing, and explaining what they predict.

May import: metrics and below.
"""

# torchvision's modules import each other in circles: threads of the app that import them at the same time deadlock
# (_DeadlockError). Whoever needs a network passes through here first, one thread at a time, before any module below.
import timm  # noqa: F401
