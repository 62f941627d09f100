"""A plain training loop as the paper describes it: torchvision's ImageFolder and DataLoader, fp32.

    python -m benchmarks.reference_loop runs/NAME [--same-draws]

It is the baseline of `benchmarks.training_speed`: as many persistent workers as cores, no gradient for frozen layers, the
same network, initial weights, augmentations, optimizer and epochs as the workbench, and validation after each epoch. Its
last line is JSON with the metrics of the test part and the predictions.

`--same-draws`: batches and flips are those of the workbench's run in that folder, so the two loops differ only in how they
compute.
"""

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from sklearn.metrics import balanced_accuracy_score
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import datasets, transforms
from torchvision.transforms import functional

from kidney_core.data import sampling
from kidney_core.metrics import splits
from kidney_core.networks import batch_norm, models, preprocessing
from kidney_core.runs.recipes import TrainingConfig
from kidney_core.training import optimization


class Shade(nn.Module):
    """Gamma 0.7-1.4, contrast 0.8-1.25 around mid-grey and noise to 3 %, as `preprocessing.augment` draws them."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        gamma = float(np.exp(np.random.uniform(np.log(0.7), np.log(1.4))))
        contrast, amount = np.random.uniform(0.8, 1.25), np.random.uniform(0, 0.03)
        shaded = (functional.adjust_gamma(image, gamma) - 0.5) * contrast + 0.5
        return (shaded + amount * torch.randn(1, *image.shape[1:])).clamp(0, 1)


def transforms_of(size_px: int, augmentation: str) -> tuple[transforms.Compose, transforms.Compose]:
    """The transforms of training and of test images."""
    resize = [transforms.Resize((size_px, size_px))]
    tensor = [transforms.ToTensor()]
    normalize = [transforms.Normalize(preprocessing.MEAN, preprocessing.STD)]
    augment = {
        preprocessing.FLIP: [transforms.RandomHorizontalFlip(), *tensor],
        preprocessing.STRONG: [
            transforms.RandomHorizontalFlip(),
            transforms.RandomAffine(15, (0.08, 0.08), (0.85, 1.2), interpolation=transforms.InterpolationMode.BILINEAR),
            *tensor,
            Shade(),
        ],
    }[augmentation]
    return transforms.Compose(resize + augment + normalize), transforms.Compose(resize + tensor + normalize)


def seed_worker(_worker: int) -> None:
    """Give NumPy its own seed in each worker, as PyTorch's notes on reproducibility advise."""
    np.random.seed(torch.initial_seed() % 2**32)


class ClassFolders(datasets.ImageFolder):
    """ImageFolder with the classes of a run: the folder masks/ next to them is not a class."""

    def __init__(self, root: str, labels: list[str], transform: transforms.Compose) -> None:
        self.labels = labels
        super().__init__(root, transform=transform)

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        return self.labels, {label: index for index, label in enumerate(self.labels)}


class Flipped(Dataset):
    """Images of a folder, indexed by (position, whether it is flipped)."""

    def __init__(self, images: ClassFolders) -> None:
        self.dataset = images  # without augmentation

    def __getitem__(self, index: tuple[int, bool]) -> tuple[torch.Tensor, int]:
        position, flip = index
        image, y = self.dataset[position]
        return (functional.hflip(image) if flip else image), y


class Draws:
    """Batches of (position, flip), epoch by epoch, as the workbench draws them."""

    def __init__(self, dataset: Flipped, config: TrainingConfig, chosen: list[int]) -> None:
        self.dataset, self.config, self.chosen, self.epoch = dataset, config, np.array(chosen), 0

    def __len__(self) -> int:
        n, size = len(self.chosen), self.config.batch_size
        return n // size + (n % size > 1)

    def __iter__(self) -> Iterator[list[tuple[int, bool]]]:
        n, size, seed = len(self.chosen), self.config.batch_size, self.config.seed
        order = sampling.epoch_order(n, seed=seed, epoch=self.epoch)
        flips = preprocessing.random_numbers(n, seed=seed, epoch=self.epoch)[order, 0] < 0.5
        visits = list(zip(self.chosen[order].tolist(), flips.tolist(), strict=True))
        self.epoch += 1
        yield from (visits[i * size : (i + 1) * size] for i in range(len(self)))


def loaders(config: TrainingConfig, table: pd.DataFrame, *, same_draws: bool) -> list[DataLoader]:
    """Loaders of the training, the validation and the test part of a run's split.csv."""
    for_training, for_test = transforms_of(config.image_size_px, config.augmentation)
    labels, validated = sorted(set(table["label"])), splits.VALIDATION if config.validation_fraction else splits.TEST
    shared: dict[str, Any] = {
        "num_workers": os.cpu_count(),
        "persistent_workers": True,
        "worker_init_fn": seed_worker,
    }
    made = []
    for part in (splits.TRAIN, validated, splits.TEST):
        trains = part == splits.TRAIN
        images = ClassFolders(config.data, labels, for_training if trains and not same_draws else for_test)
        place = {str(Path(path).relative_to(config.data)): i for i, (path, _) in enumerate(images.samples)}
        chosen = [place[path] for path in table.loc[table["part"] == part, "path"]]
        if trains and same_draws:
            flipped = Flipped(images)
            made.append(DataLoader(flipped, batch_sampler=Draws(flipped, config, chosen), **shared))
            continue
        drop_last = trains and len(chosen) % config.batch_size == 1
        made.append(
            DataLoader(
                Subset(images, chosen), batch_size=config.batch_size, shuffle=trains, drop_last=drop_last, **shared
            )
        )
    return made


def norm_images(training: DataLoader) -> torch.Tensor:
    """(B, 3, S, S): training images for the statistics of folded batch norms."""
    if isinstance(training.batch_sampler, Draws):
        chosen = training.batch_sampler.chosen
        evenly = chosen[:: max(1, len(chosen) // 64)][:64]
        return torch.stack([training.batch_sampler.dataset[int(position), False][0] for position in evenly])
    return torch.cat([next(iter(training))[0] for _ in range(2)])


@torch.inference_mode()
def measure(model: nn.Module, batches: DataLoader) -> dict[str, Any]:
    """Accuracy and balanced accuracy, 0 to 1, and the predictions."""
    model.eval()
    predictions, labels = [], []
    for images, y in batches:
        predictions.append(model(images).argmax(1))
        labels.append(y)
    y_pred, y_true = torch.cat(predictions), torch.cat(labels)
    return {
        "accuracy": float((y_pred == y_true).float().mean()),
        "balanced_accuracy": float(balanced_accuracy_score(y_true, y_pred)),
        "y_pred": y_pred.tolist(),
    }


def train(config: TrainingConfig, split: Path, *, same_draws: bool) -> dict[str, Any]:
    """Train as the configuration says, and measure the test part."""
    table = pd.read_csv(split)
    torch.manual_seed(config.seed)
    np.random.seed(config.seed)
    training, validation, test = loaders(config, table, same_draws=same_draws)
    model = models.build_model(
        config.architecture, table["label"].nunique(), init=config.init, image_size_px=config.image_size_px
    )
    models.set_trainable(model, config.trainable)
    if config.init not in (models.IMAGENET, models.SCRATCH) and batch_norm.has_folded_batch_norm(model):
        batch_norm.recalibrate_batch_norm(model, norm_images(training))
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
        print(f"epoch {epoch + 1}: accuracy {measure(model, validation)['accuracy']:.4f}", flush=True)
    return measure(model, test)


def main() -> None:
    """Run the loop with the configuration and split of a run of the workbench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run of the workbench: its configuration and its split")
    parser.add_argument("--same-draws", action="store_true", help="batches and flips as the workbench draws them")
    options = parser.parse_args()
    config = TrainingConfig(**json.loads((options.run / "config.json").read_text(encoding="utf-8")))
    if options.same_draws and config.augmentation != preprocessing.FLIP:
        parser.error(f"--same-draws works with augmentation {preprocessing.FLIP!r} only, not {config.augmentation!r}")
    print(json.dumps(train(config, options.run / "split.csv", same_draws=options.same_draws)))


if __name__ == "__main__":
    main()
