"""Table 1 of the paper that this workbench implements, for comparison.

Source: "Fine-Tuning CNN Models for Accurate Kidney Condition Classification from CT scans" (2025).
"""

from typing import Any

TITLE = "Fine-Tuning CNN Models for Accurate Kidney Condition Classification from CT scans (2025)"
COLUMNS = ("Cyst", "Normal", "Stone", "Tumor", "macro", "weighted")
# As printed: (precision, recall, f1) and accuracy of the test slices of a random split; loss and accuracy of the last epoch in training.
TABLE_1: dict[str, dict[str, Any]] = {
    "mobilenetv2_100": {
        "Cyst": (0.99, 1.00, 0.99),
        "Normal": (1.00, 1.00, 1.00),
        "Stone": (1.00, 0.98, 0.99),
        "Tumor": (1.00, 1.00, 1.00),
        "macro": (1.00, 0.99, 0.99),
        "weighted": (1.00, 1.00, 1.00),
        "accuracy": 1.00,
        "training_loss": 0.0187,
        "training_accuracy": 0.9962,
    },
    "resnet18": {
        "Cyst": (0.99, 1.00, 1.00),
        "Normal": (1.00, 1.00, 1.00),
        "Stone": (1.00, 0.98, 0.99),
        "Tumor": (1.00, 1.00, 1.00),
        "macro": (1.00, 0.99, 0.99),
        "weighted": (1.00, 1.00, 1.00),
        "accuracy": 1.00,
        "training_loss": 0.0114,
        "training_accuracy": 0.9960,
    },
    "efficientnet_b0": {
        "Cyst": (0.98, 0.99, 0.98),
        "Normal": (1.00, 0.99, 0.99),
        "Stone": (0.98, 0.94, 0.96),
        "Tumor": (0.99, 0.99, 0.99),
        "macro": (0.98, 0.98, 0.98),
        "weighted": (0.99, 0.99, 0.99),
        "accuracy": 0.99,
        "training_loss": 0.1397,
        "training_accuracy": 0.9867,
    },
}
ARCHITECTURE_NAMES = {"mobilenetv2_100": "MobileNetV2", "resnet18": "ResNet18", "efficientnet_b0": "EfficientNet-B0"}
TIMM_NAMES = {name: timm_name for timm_name, name in ARCHITECTURE_NAMES.items()}


def format_cell(values: tuple[float, float, float]) -> str:
    """Precision, recall and F1 (0 to 1) as the paper prints them: ".99 / 1 / .99"."""
    return " / ".join(f"{value:.2f}".lstrip("0").replace("1.00", "1") for value in values)


def format_row(metrics: dict[str, Any]) -> dict[str, str]:
    """The metrics of `evaluation.metrics` as text in the paper's columns; "–" for a label they lack."""
    cells = {}
    for column in COLUMNS:
        values = metrics[column] if column in ("macro", "weighted") else metrics["per_label"].get(column)
        cells[column] = format_cell((values["precision"], values["recall"], values["f1"])) if values else "–"
    return cells
