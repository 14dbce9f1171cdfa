"""The MiniLM sentence encoder in plain torch: sentences -> unit vectors, with no transformers library.

all-MiniLM-L6-v2: a 6-layer BERT (Devlin et al. 2018, arXiv 1810.04805) distilled as in MiniLM (Wang et al.
2020, arXiv 2002.10957) and trained on sentence pairs (Reimers and Gurevych 2019, arXiv 1908.10084).

Shape suffixes: B sentences, L tokens, H heads, D width (384) = E.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

WIDTH, LAYERS, HEADS, VOCABULARY, MAX_TOKENS, POSITIONS = 384, 6, 12, 30522, 256, 512
BATCH = 128

# How the checkpoint's names become ours.
RENAMES = (
    (r"^embeddings\.word_embeddings\.", "words."),
    (r"^embeddings\.position_embeddings\.", "positions."),
    (r"^embeddings\.token_type_embeddings\.", "segments."),
    (r"^embeddings\.LayerNorm\.", "norm."),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.attention\.self\.(query|key|value)\.", r".\1."),
    (r"\.attention\.output\.dense\.", ".mix."),
    (r"\.attention\.output\.LayerNorm\.", ".norm_attention."),
    (r"\.intermediate\.dense\.", ".widen."),
    (r"\.output\.dense\.", ".narrow."),
    (r"\.output\.LayerNorm\.", ".norm_mlp."),
)
UNUSED = re.compile(r"^(pooler\.|embeddings\.position_ids$)")


class Block(nn.Module):
    """Tokens (B, L, D) -> (B, L, D): attention and MLP, each followed by its norm."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.mix = nn.Linear(WIDTH, WIDTH)
        self.norm_attention = nn.LayerNorm(WIDTH, eps=1e-12)
        self.widen, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.norm_mlp = nn.LayerNorm(WIDTH, eps=1e-12)

    def forward(self, x_BLD: torch.Tensor, mask_B11L: torch.Tensor) -> torch.Tensor:
        """One layer; mask True = real token."""
        q, k, v = (
            linear(x_BLD).unflatten(2, (HEADS, WIDTH // HEADS)).transpose(1, 2)
            for linear in (self.query, self.key, self.value)
        )
        attended_BHLd = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_B11L)
        x_BLD = self.norm_attention(x_BLD + self.mix(attended_BHLd.transpose(1, 2).flatten(2)))
        out_BLD: torch.Tensor = self.norm_mlp(x_BLD + self.narrow(F.gelu(self.widen(x_BLD))))
        return out_BLD


class MiniLM(nn.Module):
    """Sentences -> unit vectors (B, E); longer sentences than 256 word pieces are cut.

    Args:
        tokenizer: path of `tokenizer.json`.
    """

    def __init__(self, tokenizer: Path):
        super().__init__()
        from tokenizers import Tokenizer

        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Embedding(POSITIONS, WIDTH)
        self.segments = nn.Embedding(2, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.tokenizer: Any = Tokenizer.from_file(str(tokenizer))
        self.tokenizer.enable_truncation(MAX_TOKENS)
        self.tokenizer.enable_padding()

    def load_checkpoint(self, path: Path) -> None:
        """Take the weights of a checkpoint in Hugging Face's naming, each of them (strict)."""
        from safetensors.torch import load_file

        state = {}
        for name, tensor in load_file(path).items():
            if UNUSED.search(name):
                continue
            for pattern, ours in RENAMES:
                name = re.sub(pattern, ours, name)
            state[name] = tensor
        self.load_state_dict(state, strict=True, assign=True)

    def forward(self, ids_BL: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
        """Token ids (B, L) and mask (B, L), True = real -> unit vectors (B, E): mean over the real tokens."""
        places_L = torch.arange(ids_BL.shape[1], device=ids_BL.device)
        x_BLD = self.norm(self.words(ids_BL) + self.positions(places_L) + self.segments.weight[0])
        for block in self.blocks:
            x_BLD = block(x_BLD, mask_BL[:, None, None, :])
        weights_BL1 = mask_BL.unsqueeze(2).to(x_BLD.dtype)
        mean_BE = (x_BLD * weights_BL1).sum(1) / weights_BL1.sum(1)
        return F.normalize(mean_BE.float(), dim=-1)

    @torch.no_grad()
    def encode(self, sentences: Sequence[str]) -> torch.Tensor:
        """Sentences -> unit vectors (B, E), fp32, in the order given."""
        device = self.words.weight.device
        # Sentences of like length go together, so that little of a batch is padding.
        order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
        vectors_BE = torch.zeros(len(sentences), WIDTH, device=device)
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            encoded = self.tokenizer.encode_batch([sentences[i] for i in chosen])
            ids_BL = torch.tensor([e.ids for e in encoded], device=device)
            mask_BL = torch.tensor([e.attention_mask for e in encoded], device=device, dtype=torch.bool)
            vectors_BE[chosen] = self(ids_BL, mask_BL)
        return vectors_BE
