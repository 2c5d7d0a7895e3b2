"""The (CUDA, Python) pairs that images are built for, and what each pair resolves to. Data only.

PyTorch publishes no build for CUDA 13.1: a 13.1 variant runs torch's CUDA 13.0 wheels, which is supported within one
major version. torch 2.10 is the last on the package index with CUDA 12.8; 2.13 is 700 MB smaller than 2.15.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One supported pair and its pins."""

    cuda: str  # toolkit version, as users name it: "13.1.1"
    python: str  # minor version: "3.14"
    torch: str
    torch_cuda: str  # what torch.version.cuda answers
    driver: int  # lowest NVIDIA driver branch that runs it

    @property
    def key(self) -> str:
        """Tag part and lock folder name, for example ``cuda13.1.1-py3.14``."""
        return f"cuda{self.cuda}-py{self.python}"


VARIANTS = (
    Variant(cuda="12.8.1", python="3.13", torch="2.10.0", torch_cuda="12.8", driver=570),
    Variant(cuda="13.1.1", python="3.14", torch="2.13.0", torch_cuda="13.0", driver=580),
    Variant(cuda="12.8.1", python="3.14", torch="2.10.0", torch_cuda="12.8", driver=570),
)
