"""A small Vision Transformer that has seen photographs: taught by `embedded:lite`, for want of a model hub.

The student learns to give the teacher's features of random crops of photographs (distillation, Hinton et al.
2015, arXiv 1503.02531), whitened so that every direction counts alike. It stands for pretrained picture
weights where none can be fetched: little, but really from pictures.
Letters: M crops, C channels, H W pixels, F components of the teacher's features.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from data.photos import read_photo, small_photo
from vision.backbones import Backbone, load_backbone, save_backbone

CROPS, COMPONENTS, LEAST_AREA = 12, 64, 0.25
STUDENT_SIDE, TEACHER_SIDE, LARGEST_SIDE = 64, 128, 512
EPOCHS, BATCH, RATE = 30, 64, 1e-3


def taught(architecture: str, photographs: list[Path], out: Path, seed: int = 0) -> dict[str, float]:
    """Teach a `scratch:` model and save it in `out`, for `local:OUT`.

    Returns:
        Share of the features' variance that it explains: "seen" photographs, and "unseen" (every fifth).
    """
    torch.manual_seed(seed)
    pixels_MCHW = torch.cat([_crops(path) for path in photographs])
    targets_MF = _whitened(_teacher_features(pixels_MCHW))
    small_MCHW = F.interpolate(pixels_MCHW, size=STUDENT_SIDE, mode="bilinear", antialias=True)
    unseen_M = (torch.arange(len(small_MCHW)) // CROPS) % 5 == 0
    student = load_backbone(architecture, device="cpu", seed=seed)
    head = nn.Linear(student.embed_dim, COMPONENTS)
    _teach(student, head, small_MCHW[~unseen_M], targets_MF[~unseen_M])
    student.eval()
    save_backbone(student, out)
    with torch.inference_mode():
        return {
            name: float(1 - F.mse_loss(_given(student, head, small_MCHW[rows]), targets_MF[rows]))
            for name, rows in (("seen", ~unseen_M), ("unseen", unseen_M))
        }


def _teach(student: Backbone, head: nn.Linear, pixels_MCHW: torch.Tensor, targets_MF: torch.Tensor) -> None:
    parameters = [*student.parameters(), *head.parameters()]
    steps = EPOCHS * -(-len(pixels_MCHW) // BATCH)
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.05)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    student.train()
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(pixels_MCHW)).split(BATCH):
            loss = F.mse_loss(_given(student, head, pixels_MCHW[rows]), targets_MF[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            cycle.step()


def _given(student: Backbone, head: nn.Linear, pixels_MCHW: torch.Tensor) -> torch.Tensor:
    tokens_MND = student.spatial(pixels_MCHW)
    answer: torch.Tensor = head(tokens_MND.mean(1))
    return answer


def _crops(path: Path) -> torch.Tensor:
    """Random square crops of a photograph (CROPS, 3, side, side), -1 to 1."""
    picture = small_photo(read_photo(path), LARGEST_SIDE)
    found = []
    for _ in range(CROPS):
        share = math.sqrt(float(torch.empty(()).uniform_(LEAST_AREA, 1)))
        side = max(1, round(share * min(picture.size)))
        left, top = (int(torch.randint(0, size - side + 1, ())) for size in picture.size)
        crop = picture.crop((left, top, left + side, top + side)).resize((TEACHER_SIDE, TEACHER_SIDE))
        values = torch.frombuffer(bytearray(crop.tobytes()), dtype=torch.uint8)
        found.append(values.reshape(TEACHER_SIDE, TEACHER_SIDE, 3).permute(2, 0, 1).float() / 127.5 - 1)
    return torch.stack(found)


def _teacher_features(pixels_MCHW: torch.Tensor) -> torch.Tensor:
    teacher = load_backbone("embedded:lite", device="cpu")
    return torch.cat([teacher.image_features(part) for part in pixels_MCHW.split(BATCH)])


def _whitened(features_MF: torch.Tensor) -> torch.Tensor:
    """The first principal components, each of unit variance."""
    centred_MF = features_MF - features_MF.mean(0)
    left_MF, _, _ = torch.linalg.svd(centred_MF, full_matrices=False)
    return left_MF[:, :COMPONENTS] * math.sqrt(len(features_MF))
