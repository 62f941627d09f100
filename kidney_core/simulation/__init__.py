"""The phantom: simulated patients, their slices and the masks of their lesions.

May import: imaging and below.
"""
