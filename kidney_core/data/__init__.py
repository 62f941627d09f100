"""Folders of class folders -> datasets: scans, cached pixels, lesions, the leak audit.

May import: networks and below.
"""
