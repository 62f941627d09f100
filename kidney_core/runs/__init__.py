"""A training run on disk: its configuration, state, lock and processes.

May import: data and below.
"""
