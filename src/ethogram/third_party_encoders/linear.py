"""Linear layers without a gradient, multiplied by oneDNN in float32.

On processors of one vendor the default library of torch does not use the wide registers, and oneDNN does. Measured on
one core of such a processor, layers of 200 to 3,000 units are 2 to 4 times as fast; the results differ only by the
order of summation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["linear", "multiplied"]


def _available() -> bool:
    """Whether torch has the operator, and it agrees with :func:`torch.nn.functional.linear`."""
    try:
        x, weight = torch.ones(2, 3), torch.arange(6.0).reshape(2, 3)
        product = torch.ops.mkldnn._linear_pointwise(x, weight, torch.ones(2), "gelu", [], "none")
    except (AttributeError, RuntimeError):
        return False
    return bool(torch.allclose(product, functional.gelu(functional.linear(x, weight, torch.ones(2)))))


_FAST = torch.backends.mkldnn.is_available() and _available()


def multiplied(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, gelu: bool = False) -> Tensor:
    """``x weight^T + bias``, optionally followed by the Gaussian error linear unit.

    Parameters
    ----------
    x
        [..., K], at least one row.
    weight, bias
        [M, K] and [M].
    gelu
        Whether to apply the unit (exact, with the error function).

    Examples
    --------
    >>> multiplied(torch.ones(1, 2), torch.ones(3, 2)).tolist()
    [[2.0, 2.0, 2.0]]
    """
    if _FAST and not torch.is_grad_enabled() and x.dtype == weight.dtype == torch.float32 and x.numel():
        product = torch.ops.mkldnn._linear_pointwise(
            x, weight, bias, "gelu" if gelu else "none", [], "none" if gelu else ""
        )
        return torch.as_tensor(product)
    product = functional.linear(x, weight, bias)
    return functional.gelu(product) if gelu else product


def linear(layer: nn.Linear, x: Tensor, *, gelu: bool = False) -> Tensor:
    """Output of a layer for x [..., K]."""
    return multiplied(x, layer.weight, layer.bias, gelu=gelu)
