"""The loop that one would write from the paper: torchvision's ImageFolder and DataLoader, fp32.

    python -m benchmarks.reference_loop --data FOLDER --split runs/NAME/split.csv --architecture resnet18 …

It is the baseline of `benchmarks.training_speed`: as many workers as cores, kept from epoch to epoch, no gradient
for frozen layers, the same network, start, augmentations, optimizer and epochs as the workbench, and the watched part
measured after each epoch. Its last line is JSON with the figures of the test part.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from sklearn.metrics import balanced_accuracy_score
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms
from torchvision.transforms import functional

from kidney_core import models, optimization, preprocessing, splits
from kidney_core.recipes import TrainingConfig


class Shade(nn.Module):
    """Gamma 0.7-1.4, contrast 0.8-1.25 around mid-grey and noise to 3 %, as `preprocessing.augment` draws them."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        gamma = float(np.exp(np.random.uniform(np.log(0.7), np.log(1.4))))
        contrast, amount = np.random.uniform(0.8, 1.25), np.random.uniform(0, 0.03)
        shaded = (functional.adjust_gamma(image, gamma) - 0.5) * contrast + 0.5
        return (shaded + amount * torch.randn(1, *image.shape[1:])).clamp(0, 1)


def transforms_of(size_px: int, augmentation: str) -> tuple[transforms.Compose, transforms.Compose]:
    """What training and test images go through."""
    resize = [transforms.Resize((size_px, size_px))]
    tensor = [transforms.ToTensor()]
    normalize = [transforms.Normalize(preprocessing.MEAN, preprocessing.STD)]
    drawn = {
        preprocessing.FLIP: [transforms.RandomHorizontalFlip(), *tensor],
        preprocessing.STRONG: [
            transforms.RandomHorizontalFlip(),
            transforms.RandomAffine(15, (0.08, 0.08), (0.85, 1.2), interpolation=transforms.InterpolationMode.BILINEAR),
            *tensor,
            Shade(),
        ],
    }[augmentation]
    return transforms.Compose(resize + drawn + normalize), transforms.Compose(resize + tensor + normalize)


def seed_worker(_worker: int) -> None:
    """Give NumPy its own seed in each worker, as PyTorch's notes on reproducibility advise."""
    np.random.seed(torch.initial_seed() % 2**32)


def loaders(config: TrainingConfig, split: Path) -> tuple[DataLoader, DataLoader, DataLoader]:
    """Batches of the training, the watched and the test part, as the run's split.csv says."""
    for_training, for_test = transforms_of(config.image_size_px, config.augmentation)
    parts = pd.read_csv(split).set_index("path")["part"]
    watched = splits.VALIDATION if config.validation_fraction else splits.TEST
    made = []
    for part in (splits.TRAIN, watched, splits.TEST):
        trains = part == splits.TRAIN
        images = datasets.ImageFolder(config.data, transform=for_training if trains else for_test)
        chosen = [
            i for i, (path, _) in enumerate(images.samples) if parts[str(Path(path).relative_to(config.data))] == part
        ]
        made.append(
            DataLoader(
                Subset(images, chosen),
                batch_size=config.batch_size,
                shuffle=trains,
                drop_last=trains and len(chosen) % config.batch_size == 1,
                num_workers=os.cpu_count(),
                persistent_workers=True,
                worker_init_fn=seed_worker,
            )
        )
    return tuple(made)


@torch.inference_mode()
def measure(model: nn.Module, batches: DataLoader) -> dict[str, float]:
    """Accuracy and balanced accuracy, 0 to 1."""
    model.eval()
    answers, labels = [], []
    for images, y in batches:
        answers.append(model(images).argmax(1))
        labels.append(y)
    predicted, true = torch.cat(answers), torch.cat(labels)
    return {
        "accuracy": float((predicted == true).float().mean()),
        "balanced_accuracy": float(balanced_accuracy_score(true, predicted)),
    }


def train(config: TrainingConfig, split: Path) -> dict[str, float]:
    """Train as the configuration says, and measure the test part."""
    torch.manual_seed(config.seed)
    np.random.seed(config.seed)
    training, watched, test = loaders(config, split)
    model = models.build_model(
        config.architecture, len(training.dataset.dataset.classes), init=config.init, image_size_px=config.image_size_px
    )
    models.set_trainable(model, config.trainable)
    if models.has_folded_batch_norm(model):
        models.recalibrate_batch_norm(model, torch.cat([next(iter(training))[0] for _ in range(2)]))
    optimizer = optimization.make_optimizer(model, config)
    n_steps, step = len(training) * config.n_epochs, 0
    for epoch in range(config.n_epochs):
        models.train_mode(model)
        for images, y in training:
            for group in optimizer.param_groups:
                group["lr"] = optimization.learning_rate_at(step, n_steps, config)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), y, label_smoothing=config.label_smoothing)
            loss.backward()
            optimizer.step()
            step += 1
        print(f"epoch {epoch + 1}: {measure(model, watched)}", flush=True)
    return measure(model, test)


def main() -> None:
    """Run the loop; the configuration comes as the JSON file of a run, so that both loops do the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run of the workbench: its configuration and its split")
    folder = parser.parse_args().run
    config = TrainingConfig(**json.loads((folder / "config.json").read_text()))
    print(json.dumps(train(config, folder / "split.csv")))


if __name__ == "__main__":
    main()
