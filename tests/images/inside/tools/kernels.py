"""A kernel written in triton runs on the GPU. Its launcher is compiled with the C compiler, hence in devel images."""

import torch
import triton
from triton import language


@triton.jit  # type: ignore[untyped-decorator]
def add(a, b, total, count, block: language.constexpr):
    """One block of `total = a + b`."""
    place = language.program_id(0) * block + language.arange(0, block)
    inside = place < count
    values = language.load(a + place, mask=inside) + language.load(b + place, mask=inside)
    language.store(total + place, values, mask=inside)


def check_triton_adds(device: str) -> None:
    """On a GPU; on the CPU there is nothing to launch, only to define."""
    if device == "cpu":
        assert add.fn.__name__ == "add"
        return
    a, b = torch.randn(1000, device=device), torch.randn(1000, device=device)
    total = torch.empty_like(a)
    add[(triton.cdiv(1000, 256),)](a, b, total, 1000, block=256)
    torch.testing.assert_close(total, a + b)
