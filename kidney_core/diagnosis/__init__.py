"""One answer: probabilities, map and verdict of a slice, and the verdict of a stack.

May import: checkpoints and below.
"""
