"""Who runs a training: this machine, Ray or Slurm; the list of jobs.

May import: training and below.
"""
