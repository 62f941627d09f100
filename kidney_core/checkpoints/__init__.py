"""A published network: card, seal, out-of-distribution detection, prediction.

May import: runs and below.
"""
