"""torch computes what numpy computes, on the CPU and on a GPU: every library behind it is there and works."""

import io
import json
import os

import numpy
import torch
from torch.nn import functional

SUBJECT = json.loads(os.environ["CSLR_SUBJECT"])
TOLERANCE = 1e-3


def random(*shape: int, device: str, seed: int = 0) -> torch.Tensor:
    """The same numbers on every device."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device)


def close(found: torch.Tensor, expected: torch.Tensor | numpy.ndarray) -> None:
    """Raise AssertionError where the two differ by more than rounding."""
    torch.testing.assert_close(found.cpu(), torch.as_tensor(expected).cpu(), rtol=TOLERANCE, atol=TOLERANCE)


def check_is_the_locked_build() -> None:
    """Built for the CUDA version that the labels name."""
    assert torch.__version__.partition("+")[0] == SUBJECT["torch"]
    assert torch.version.cuda == SUBJECT["torch_cuda"]


def check_gpu_is_found(device: str) -> None:
    """The driver is recent enough, and the device answers."""
    assert torch.zeros(1, device=device).device.type == device


def check_matrices_multiply(device: str) -> None:
    """MKL or OpenBLAS; cuBLAS and cuBLASLt."""
    torch.backends.cuda.matmul.allow_tf32 = False
    a, b = random(256, 300, device=device), random(300, 200, device=device, seed=1)
    close(a @ b, a.cpu().numpy() @ b.cpu().numpy())
    close(functional.linear(a, b.T, random(200, device=device, seed=2)).float(),
          a.cpu().numpy() @ b.cpu().numpy() + random(200, device="cpu", seed=2).numpy())  # fmt: skip
    half = (a.bfloat16() @ b.bfloat16()).float()
    assert (half.cpu() - (a @ b).cpu()).abs().mean() < 0.1


def check_convolutions_agree_with_a_matrix_product(device: str) -> None:
    """oneDNN; cuDNN."""
    torch.backends.cudnn.allow_tf32 = False
    image, kernel = random(4, 8, 32, 32, device=device), random(16, 8, 3, 3, device=device, seed=1)
    patches = functional.unfold(image.cpu(), 3)
    expected = (kernel.cpu().reshape(16, -1) @ patches).reshape(4, 16, 30, 30)
    close(functional.conv2d(image, kernel), expected)
    if device == "cuda":
        assert torch.backends.cudnn.is_available()
        assert torch.backends.cudnn.version() > 90000


def check_recurrent_layers_learn(device: str) -> None:
    """cuDNN's other half."""
    layer = torch.nn.LSTM(8, 16, batch_first=True).to(device)
    output, _ = layer(random(4, 10, 8, device=device))
    output.sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in layer.parameters())


def check_fourier_transforms(device: str) -> None:
    """MKL or pocketfft; cuFFT."""
    signal = random(64, 1000, device=device)
    close(torch.fft.rfft(signal).abs(), numpy.abs(numpy.fft.rfft(signal.cpu().numpy())).astype("float32"))
    close(torch.fft.irfft(torch.fft.rfft(signal), n=1000), signal)


def check_inverse_and_solution(device: str) -> None:
    """LAPACK; cuSOLVER, which CUDA builds load on first use."""
    matrix = random(100, 100, device=device) + 20 * torch.eye(100, device=device)
    close(torch.linalg.inv(matrix) @ matrix, torch.eye(100))
    right = random(100, 3, device=device, seed=1)
    close(matrix @ torch.linalg.solve(matrix, right), right)
    close(torch.linalg.slogdet(matrix).logabsdet, numpy.linalg.slogdet(matrix.cpu().numpy())[1])


def check_decompositions_multiply_back(device: str) -> None:
    """LAPACK; cuSOLVER and MAGMA."""
    matrix = random(8, 60, 40, device=device)
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    close(u @ torch.diag_embed(s) @ vh, matrix)
    q, r = torch.linalg.qr(matrix)
    close(q @ r, matrix)
    positive = matrix.mT @ matrix + torch.eye(40, device=device)
    values, vectors = torch.linalg.eigh(positive)
    close(vectors @ torch.diag_embed(values) @ vectors.mT, positive)
    factor = torch.linalg.cholesky(positive)
    close(factor @ factor.mT, positive)
    eigenvalues = torch.linalg.eigvals(matrix[:, :40])
    close(eigenvalues.sum(-1).real, torch.diagonal(matrix[:, :40], dim1=-2, dim2=-1).sum(-1))


def check_sparse_matrices_multiply(device: str) -> None:
    """MKL; cuSPARSE."""
    dense = functional.threshold(random(200, 200, device=device), 1, 0)
    vectors = random(200, 16, device=device, seed=1)
    for sparse in (dense.to_sparse_csr(), dense.to_sparse_coo()):
        close(sparse @ vectors, dense @ vectors)


def check_random_numbers_are_normal(device: str) -> None:
    """cuRAND's generators, in torch's own kernels."""
    torch.manual_seed(0)
    numbers = torch.randn(100_000, device=device)
    assert abs(numbers.mean().item()) < 0.02
    assert abs(numbers.std().item() - 1) < 0.02


def check_attention_agrees_with_its_definition(device: str) -> None:
    """Fused kernels, forwards and backwards."""
    query, key, value = (random(2, 4, 32, 16, device=device, seed=seed).requires_grad_() for seed in range(3))
    attention = functional.scaled_dot_product_attention(query, key, value)
    close(attention, torch.softmax(query @ key.mT / 4, dim=-1) @ value)
    attention.sum().backward()
    assert query.grad is not None
    assert query.grad.isfinite().all()


def check_a_step_of_training_lowers_the_loss(device: str) -> None:
    """Autograd, an optimiser, and the state it leaves."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(20, 50), torch.nn.ReLU(), torch.nn.Linear(50, 1)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    inputs, targets = random(200, 20, device=device), random(200, 1, device=device, seed=1)
    losses = []
    for _ in range(20):
        loss = functional.mse_loss(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0], losses


def check_a_compiled_function_agrees(device: str) -> None:
    """What needs no compiler of C: tracing and differentiating ahead of time."""

    def loss(x: torch.Tensor) -> torch.Tensor:
        return (torch.relu(x @ x.mT).sin() * 2).sum()

    x = random(32, 32, device=device).requires_grad_()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    close(compiled(x), loss(x))
    assert torch.equal(*(torch.autograd.grad(function(x), x)[0] for function in (compiled, loss)))


def check_a_saved_model_loads(device: str) -> None:
    """By torch.export, which brings much of torch along."""
    model = torch.nn.Linear(4, 2).to(device)
    saved = io.BytesIO()
    torch.export.save(torch.export.export(model, (random(3, 4, device=device),)), saved)
    saved.seek(0)
    x = random(3, 4, device=device)
    close(torch.export.load(saved).module()(x), model(x))
