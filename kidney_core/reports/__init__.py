"""A diagnosis as PDF, picture and DICOM; predictions and metrics as a zip, and the check of that zip.

May import: diagnosis and below.
"""
