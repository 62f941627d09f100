"""What a folder or a cell that names a part of a split is called."""

import re
import unicodedata

from kidney_core.metrics.splits import TEST, TRAIN, VALIDATION

# Without accents. Spanish, Portuguese, French, German, Italian, Turkish, Russian and Chinese after the English words.
_WORDS = {
    TRAIN: "train training trn trainval entrenamiento treino treinamento entrainement apprentissage addestramento egitim "
    "обучение 训练 訓練",
    VALIDATION: "val valid validation dev eval evaluation validacion validacao validierung validazione dogrulama валидация 验证 驗證",
    TEST: "test testing tst holdout prueba pruebas teste тест 测试 測試",
}
_PARTS = {word: part for part, words in _WORDS.items() for word in words.split()}
# Words beside the one that names the part which change nothing about it. "Contrast" or "patients" would.
_FILLERS = {
    *("set", "sets", "data", "dataset", "split", "part", "folder", "x", "fold"),
    *("image", "images", "img", "imgs", "picture", "pictures", "slice", "slices", "scan", "scans"),
    *("kidney", "kidneys", "renal", "ct", "png", "jpg", "jpeg", "dicom", "dcm"),
}
_ENDINGS = ("set", "data", "images", "集")


def part_of(name: str) -> str | None:
    """The part of a split that a name stands for ("train", "validation" or "test"), or None.

    Case, accents, numbers and words such as "set", "images" or "kidney" are ignored: "Test", "val_2", "training-set", "ct_train".
    """
    plain = "".join(each for each in unicodedata.normalize("NFKD", name) if not unicodedata.combining(each))
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", plain).replace("ı", "i").lower()
    meant = [word for word in re.findall(r"[^\W\d_]+", spaced) if word not in _FILLERS]
    if len(meant) != 1:
        return None
    word = meant[0]
    for ending in _ENDINGS:
        word = word.removesuffix(ending)
    return _PARTS.get(word)
