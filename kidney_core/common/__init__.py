"""Errors, files, labels, caches and limits of the machine.

May import: no other package.
"""
