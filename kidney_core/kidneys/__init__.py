"""Kidneys in CT slices and stacks: the network that finds them, and what it finds.

May import: networks and below.
"""
