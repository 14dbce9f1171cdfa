"""A classifier on frozen tokens that learns where to look: tokens (B, N, D) -> logits (B, K).

A learned query attends over the tokens, and what it gathers is classified linearly. Mean pooling drowns
what few tokens say; this does not. Chen et al. 2022 (CAE, arXiv 2202.03026), El-Nouby et al. 2024 (AIM, arXiv
2401.08541), Bardes et al. 2024 (V-JEPA, arXiv 2404.08471). As in AIM there is no MLP, and the query goes
through no projection, which would only be a second way to write the same query.

Shape suffixes: B batch, N tokens, D width, H heads, d width of a head, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from data.errors import ParameterError
from vision.adapt.class_weights import class_weights


class AttentiveProbe(nn.Module):
    """Tokens (B, N, D) -> logits (B, K), by one learned query.

    The query begins at zero: at first every token counts the same, and the probe is one on the mean.

    Args:
        dim: width D of the tokens.
        outputs: logits K.
        heads: ways of looking, each at its own D / heads numbers of keys and values.

    Raises:
        ParameterError: sizes that are not positive, or a width that heads do not divide.
    """

    def __init__(self, dim: int, outputs: int, *, heads: int = 8):
        super().__init__()
        if min(dim, outputs, heads) < 1 or dim % heads:
            raise ParameterError(
                "attentive probe",
                must_be="of positive sizes, with heads that divide the width",
                got=f"width {dim}, {outputs} outputs, {heads} heads",
            )
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.query_D = nn.Parameter(torch.zeros(dim))
        self.key = nn.Linear(dim, dim, bias=False)  # a bias would shift all logits of a head alike
        self.value = nn.Linear(dim, dim)
        self.head = nn.Linear(dim, outputs)

    def forward(self, tokens_BND: torch.Tensor, mask_BN: torch.Tensor | None = None) -> torch.Tensor:
        """Tokens (B, N, D) -> logits (B, K).

        Args:
            tokens_BND: tokens.
            mask_BN: bool, True for real tokens; what stands in the others makes no difference.

        Raises:
            ParameterError: shapes that do not fit.
        """
        normed_BND, open_BN = self._prepared(tokens_BND, mask_BN)
        key_BHNd, value_BHNd = self._split(self.key(normed_BND)), self._split(self.value(normed_BND))
        query_BH1d = self.query_D.reshape(1, self.heads, 1, -1).to(key_BHNd).expand(len(key_BHNd), -1, -1, -1)
        open_B11N = None if open_BN is None else open_BN[:, None, None, :]
        seen_BH1d = F.scaled_dot_product_attention(query_BH1d, key_BHNd, value_BHNd, attn_mask=open_B11N)
        logits_BK: torch.Tensor = self.head(seen_BH1d.flatten(1))
        return logits_BK

    def attention(self, tokens_BND: torch.Tensor, mask_BN: torch.Tensor | None = None) -> torch.Tensor:
        """How much the probe looks at each token (B, N): mean over the heads, sum 1, padding has 0.

        In a sample of padding alone every token counts as real. Float32 at least.
        """
        normed_BND, open_BN = self._prepared(tokens_BND, mask_BN)
        key_BHNd = self._split(self.key(normed_BND))
        query_1Hd1 = self.query_D.reshape(1, self.heads, -1, 1).to(key_BHNd)
        logits_BHN = (key_BHNd @ query_1Hd1).squeeze(-1) / key_BHNd.shape[-1] ** 0.5
        if open_BN is not None:
            logits_BHN = logits_BHN.masked_fill(~open_BN[:, None, :], float("-inf"))
        whole = torch.promote_types(logits_BHN.dtype, torch.float32)
        share_BN: torch.Tensor = logits_BHN.softmax(-1, dtype=whole).mean(1)
        return share_BN

    def _prepared(
        self, tokens_BND: torch.Tensor, mask_BN: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Normed tokens, and which of them may be looked at; in a sample of padding alone, all."""
        _check_tokens(tokens_BND, mask_BN, dim=len(self.query_D))
        if mask_BN is None:
            return self.norm(tokens_BND), None
        # A weight of 0 does not silence a NaN.
        normed_BND = self.norm(tokens_BND.masked_fill(~mask_BN[..., None], 0))
        return normed_BND, mask_BN | ~mask_BN.any(dim=1, keepdim=True)

    def _split(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        return tokens_BND.reshape(*tokens_BND.shape[:2], self.heads, -1).transpose(1, 2)


@dataclass(frozen=True, kw_only=True)
class AttentiveProbeOptions:
    """How a probe is fitted: AdamW, the rate falling to zero along half a cosine.

    Attributes:
        heads: of the probe.
        epochs: passes over the samples.
        batch_size: samples a step.
        learning_rate: at the beginning.
        weight_decay: of the matrices.
    """

    heads: int = 8
    epochs: int = 50
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.05

    def __post_init__(self) -> None:
        for name in ("heads", "epochs", "batch_size", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ParameterError(name, must_be="positive", got=getattr(self, name))
        if not self.weight_decay >= 0:
            raise ParameterError("weight_decay", must_be="0 or more", got=self.weight_decay)


def fit_attentive_probe(
    tokens_BND: torch.Tensor,
    labels_B: torch.Tensor,
    mask_BN: torch.Tensor | None = None,
    *,
    options: AttentiveProbeOptions | None = None,
    seed: int = 0,
) -> AttentiveProbe:
    """Fit a probe to frozen tokens; classes weigh equally, whatever their counts.

    Args:
        tokens_BND: frozen tokens (B, N, D), of any float type, on the device to fit on.
        labels_B: class numbers from 0 (B,).
        mask_BN: bool (B, N), True for real tokens; at least one a sample.
        options: how; the defaults suit some hundred samples.
        seed: of the beginning and of the order of samples; torch's own state is left as it was.

    Returns:
        The probe in float32, ready to use, with K the greatest label and one.

    Raises:
        ParameterError: fewer than two classes, shapes that do not fit, samples without tokens, or tokens that
            are not finite.
    """
    options = options or AttentiveProbeOptions()
    _check_fit(tokens_BND, labels_B, mask_BN)
    device, classes = tokens_BND.device, int(labels_B.max()) + 1
    weight_K = class_weights(labels_B, classes).to(device)
    labels_B = labels_B.to(device).long()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probe = AttentiveProbe(tokens_BND.shape[-1], classes, heads=options.heads).to(device)
    optimizer = _optimizer(probe, options)
    steps_an_epoch = -(-len(labels_B) // options.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs * steps_an_epoch)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(options.epochs):
        order_B = torch.randperm(len(labels_B), generator=generator).to(device)
        for rows_B in order_B.tensor_split(steps_an_epoch):
            logits_BK = probe(tokens_BND[rows_B].float(), None if mask_BN is None else mask_BN[rows_B])
            # The weights' mean over all samples is 1: a batch of rare ones alone is to count for more.
            loss_B = F.cross_entropy(logits_BK, labels_B[rows_B], weight=weight_K, reduction="none")
            optimizer.zero_grad(set_to_none=True)
            loss_B.mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return probe.eval().requires_grad_(False)


def _optimizer(probe: AttentiveProbe, options: AttentiveProbeOptions) -> torch.optim.AdamW:
    learning = list(probe.parameters())
    groups = [
        {"params": [p for p in learning if p.ndim >= 2], "weight_decay": options.weight_decay},
        {"params": [p for p in learning if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=options.learning_rate)


def _check_fit(tokens_BND: torch.Tensor, labels_B: torch.Tensor, mask_BN: torch.Tensor | None) -> None:
    _check_tokens(tokens_BND, mask_BN, dim=None)
    if labels_B.shape != tokens_BND.shape[:1]:
        got = f"{tuple(labels_B.shape)} for {len(tokens_BND)} samples"
        raise ParameterError("labels", must_be="one a sample, of shape (B,)", got=got)
    if len(torch.unique(labels_B)) < 2:
        raise ParameterError("labels", must_be="of two classes or more", got="fewer")
    finite_BN = tokens_BND.isfinite().all(-1)
    if mask_BN is not None:
        if not bool(mask_BN.any(1).all()):
            got = f"{int((~mask_BN.any(1)).sum())} without"
            raise ParameterError("samples", must_be="of one real token or more", got=got)
        finite_BN = finite_BN | ~mask_BN
    if not bool(finite_BN.all()):
        got = f"{int((~finite_BN).sum())} that are not"
        raise ParameterError("tokens", must_be="finite", got=got)


def _check_tokens(tokens_BND: torch.Tensor, mask_BN: torch.Tensor | None, *, dim: int | None) -> None:
    width = "D" if dim is None else str(dim)
    if tokens_BND.ndim != 3 or not tokens_BND.shape[1] or dim not in (None, tokens_BND.shape[-1]):
        got = tuple(tokens_BND.shape)
        raise ParameterError("tokens", must_be=f"of shape (B, N, {width}), N at least 1", got=got)
    if mask_BN is not None and (mask_BN.dtype != torch.bool or mask_BN.shape != tokens_BND.shape[:2]):
        raise ParameterError(
            "mask",
            must_be=f"bool of shape {tuple(tokens_BND.shape[:2])}, True for real tokens",
            got=f"{mask_BN.dtype} of shape {tuple(mask_BN.shape)}",
        )
