"""Searching for good settings: many short runs chosen by Optuna, and the learning-rate range test.

May import: engines and below.
"""
