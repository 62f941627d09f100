"""The quiz, robustness against disturbances, and learning from shuffled labels.

May import: engines and below.
"""
