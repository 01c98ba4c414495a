"""How long the gradient of each answer's log-likelihood is, of one layer, for many at a time.

The rows of a batch do not mix in a causal model, so that one pass back gives every row's gradient
at the layer's input and output; the norm of the weights' gradient follows from these without the
gradient itself ever being made.

Cost: one pass forward and back over the batch, and O(rows x length^2 x width) beside it; with the
head, O(rows x length x vocabulary) memory, as the pass forward has anyway.
Source: the layers are those of arXiv 2505.02391; the norms by inner products, arXiv 1510.01799.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from samplewise.extras import lazy

if TYPE_CHECKING:
    import torch

    from samplewise.train.policy import Batch, Policy
else:
    torch = lazy("torch", "torch", "training")

__all__ = ["Layer", "gradient_norms"]

Layer: TypeAlias = Literal["embedding", "head"]


def gradient_norms(
    policy: Policy, batch: Batch, layer: Layer = "embedding", temperature: float = 1.0
) -> torch.Tensor:
    """Give the norm of the gradient of each answer's log-probability, summed over its tokens.

    Parameters
    ----------
    policy : Policy
        Its weights need not be ones that are trained, and nothing is left in their gradients.
    batch : Batch
    layer : {'embedding', 'head'}
        Whose weights the gradient is of. Where the two are one matrix, the gradient is of both
        uses of it.
    temperature : float
        Of the law that the tokens are drawn by.

    Returns
    -------
    torch.Tensor, shape (rows,)
    """
    inner, outer = policy.model.get_input_embeddings(), policy.model.get_output_embeddings()
    seen: dict[str, torch.Tensor] = {}

    def embed(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
        seen["embedded"] = output.detach().requires_grad_()
        return seen["embedded"]

    def read(_: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        seen["states"], seen["logits"] = inputs[0], output

    hooks = [inner.register_forward_hook(embed), outer.register_forward_hook(read)]
    try:
        with torch.enable_grad():
            values = policy.log_probabilities(batch, temperature)
            total = torch.where(batch.scored, values, 0.0).sum()
            gradients = torch.autograd.grad(total, [seen["embedded"], seen["logits"]])
    finally:
        for hook in hooks:
            hook.remove()
    at_input, at_logits = (one.to(values.dtype) for one in gradients)
    states = seen["states"].detach().to(values.dtype)
    tied = inner.weight is outer.weight
    squares = values.new_zeros(len(batch.ids))
    if tied or layer == "embedding":
        same = batch.ids[:, :, None] == batch.ids[:, None, :]
        squares += (same * _products(at_input)).sum(dim=(1, 2))
    if tied or layer == "head":
        squares += (_products(at_logits) * _products(states)).sum(dim=(1, 2))
    if tied:
        width = batch.ids.shape[1]
        chosen = at_logits.gather(2, batch.ids[:, None, :].expand(-1, width, -1))
        squares += 2 * (chosen * (states @ at_input.transpose(1, 2))).sum(dim=(1, 2))
    return squares.clamp(min=0).sqrt()


def _products(vectors: torch.Tensor) -> torch.Tensor:
    """Give the inner products of every row's vectors: (rows, length, width) to (rows, length^2)."""
    return vectors @ vectors.transpose(1, 2)
