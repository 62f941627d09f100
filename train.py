"""Train one network on a folder of CT slices; `kidney-ct train` does the same where the package is installed.

python train.py --data FOLDER                            the paper's recipe: random split
python train.py --data FOLDER --recipe robust            the best recipe for unseen scans: scan-level split
python train.py --data FOLDER --folds 5                  cross-validation: five runs, every scan is tested once
python train.py --resume runs/NAME                       resume a run that was stopped or killed
python train.py --data FOLDER --n-processes 2            two processes share every batch, each with its own GPU
torchrun --nproc-per-node 2 train.py --resume runs/NAME  the same, where you (or Slurm, or Ray) start the processes
"""

import sys

from kidney_core.engines.train_command import main

if __name__ == "__main__":
    sys.exit(main())
