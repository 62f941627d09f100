"""The training loop, what feeds it, and publishing what it made.

May import: reports and below.
"""
