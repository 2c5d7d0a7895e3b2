"""What torch and triton compile when it is needed works, for any user on a read-only root, with the compiler here."""

import torch
import triton
from torch._inductor import config
from triton import language

SECONDS = 180
# For one function neither headers compiled beforehand nor more processes pay.
FRUGAL = {"cpp_cache_precompile_headers": False, "compile_threads": 1}


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


def check_compiled_function_agrees(device: str) -> None:
    """By inductor: C++ for the CPU, triton for a GPU."""

    def function(x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x.sin() * x.cos() + 1, dim=-1)

    x = torch.randn(64, 64, device=device)
    with config.patch(FRUGAL):
        torch.testing.assert_close(torch.compile(function, fullgraph=True)(x), function(x), rtol=1e-4, atol=1e-4)
