"""The quiz, what breaks a model, a taught shortcut, learning from shuffled labels, and a leak to find.

May import: engines and below.
"""
