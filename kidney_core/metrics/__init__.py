"""Predictions -> metrics, intervals, calibration, comparisons, splits and plots.

May import: simulation and below.
"""
