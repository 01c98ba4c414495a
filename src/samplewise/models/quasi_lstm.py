"""A quasi-LSTM: a recurrence whose gates read only the token, so that blocks of it run in parallel.

Cost: O(layers x (width^2 + block x width)) a token; length / block steps follow one another.
Source: arXiv 2309.11197 and its code.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from samplewise.models.residual import LanguageNetwork, linear
from samplewise.models.sizes import Size
from samplewise.rng import RandomState, generator, seed_of

__all__ = ["QuasiLSTM", "block_recurrence"]


class QuasiLSTM(LanguageNetwork):
    """Carry a cell from token to token, and from one window to the next.

    Parameters
    ----------
    size : Size
    vocabulary : int
    rng : int, numpy.random.Generator or None
        Of the first weights.
    recurrent : bool
        Whether the gates read the output before, too, as those of a plain LSTM do; all steps then
        follow one another. The published cell cannot run as it is; this one has the gates of the
        quasi-LSTM, the forget gate's 1 included, and is reconstructed.

    References
    ----------
    Stanic et al. (2023), arXiv 2309.11197.

    Examples
    --------
    >>> model = QuasiLSTM(Size(layers=2, width=8, heads=2, head_width=4), vocabulary=10)
    >>> logits, state = model(torch.zeros(3, 5, dtype=torch.int64))
    >>> logits.shape, state[0][0].shape
    (torch.Size([3, 5, 10]), torch.Size([3, 8]))
    """

    def __init__(
        self,
        size: Size,
        vocabulary: int = 16384,
        rng: RandomState = 0,
        *,
        recurrent: bool = False,
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(generator(rng)))
            cells = [_Cell(size, recurrent) for _ in range(size.layers)]
            super().__init__(size, vocabulary, cells)


class _Cell(nn.Module):
    def __init__(self, size: Size, recurrent: bool) -> None:
        super().__init__()
        self.block, self.inner = size.block, size.inner
        self.read = linear(size.width, 4 * size.inner)
        self.again = linear(size.inner, 4 * size.inner) if recurrent else None
        self.write = linear(size.inner, size.width)

    def forward(
        self, x: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor] | None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        zeros = x.new_zeros(len(x), self.inner)
        cell, said = state or (zeros, zeros)
        gates = self.read(x)
        if self.again is None:
            forget, enter, value, leave = gates.chunk(4, 2)
            update = enter.sigmoid() * value.tanh()
            cells = block_recurrence(nn.functional.logsigmoid(forget + 1), update, cell, self.block)
            outputs = leave.sigmoid() * cells.tanh()
            return self.write(outputs), (cells[:, -1], outputs[:, -1])
        outputs = []
        for gate in gates.unbind(1):
            forget, enter, value, leave = (gate + self.again(said)).chunk(4, 1)
            cell = (forget + 1).sigmoid() * cell + enter.sigmoid() * value.tanh()
            said = leave.sigmoid() * cell.tanh()
            outputs.append(said)
        return self.write(torch.stack(outputs, 1)), (cell, said)


def block_recurrence(
    log_forget: torch.Tensor, update: torch.Tensor, first: torch.Tensor, block: int
) -> torch.Tensor:
    """Compute c_t = f_t c_(t-1) + u_t in parallel inside of blocks.

    Inside of a block, c = M u, where M[t, s] is the product of f over s + 1, ..., t; it is the
    exponential of a sum that is taken over those alone, so that gates near 0 lose no digits.

    Parameters
    ----------
    log_forget, update : torch.Tensor, shape (rows, length, width)
        Logarithms of f, 0 or less; and u.
    first : torch.Tensor, shape (rows, width)
        The cell before.
    block : int
        Tokens of a block; the last one may be shorter.

    Returns
    -------
    torch.Tensor, shape (rows, length, width)

    Examples
    --------
    >>> half, one = torch.full((1, 3, 1), 0.5), torch.ones(1, 3, 1)
    >>> block_recurrence(half.log(), one, torch.zeros(1, 1), 2).flatten().tolist()
    [1.0, 1.5, 1.75]
    """
    rows, length, width = update.shape
    missing = -length % block
    logs, parts = (
        nn.functional.pad(one, (0, 0, 0, missing)).view(rows, -1, block, width)
        for one in (log_forget, update)
    )
    later = torch.ones(block, block, dtype=torch.bool, device=update.device).tril(-1)
    # Row r, column s: log f_r where r > s; summed down, the log of the product over s + 1, ..., t.
    sums = torch.where(later[:, :, None], logs[:, :, :, None], 0.0).cumsum(2)
    seen = later | torch.eye(block, dtype=torch.bool, device=update.device)
    products = torch.where(seen[:, :, None], sums, -math.inf).exp()
    inside = torch.einsum("rktsw,rksw->rktw", products, parts)
    fading = logs.cumsum(2).exp()
    cells, carry = [], first
    for own, faded in zip(inside.unbind(1), fading.unbind(1), strict=True):
        cells.append(own + faded * carry[:, None])
        carry = cells[-1][:, -1]
    return torch.cat(cells, dim=1)[:, :length]
