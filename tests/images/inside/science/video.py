"""Video, images and sound: what is written is read again, by the libraries that data sets are loaded with."""

import io
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy
import torch
import torchaudio
import torchvision
from PIL import Image
from torchvision.transforms import v2

FRAMES, RATE, HEIGHT, WIDTH = 12, 25, 64, 96


def frame(index: int) -> numpy.ndarray:
    """A grey that grows from frame to frame."""
    return numpy.full((HEIGHT, WIDTH, 3), 20 * index, dtype=numpy.uint8)


def write(path: Path, codec: str) -> None:
    """A clip whose frames can be told apart."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame(index), format="rgb24")))
        container.mux(stream.encode(None))


def check_av_decodes_what_it_encoded() -> None:
    """In the codecs of most data sets; each frame in its place."""
    for codec in ("libx264", "mpeg4"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "clip.mp4")
            write(path, codec)
            with av.open(str(path)) as container:
                frames = [found.to_ndarray(format="rgb24") for found in container.decode(video=0)]
                assert container.streams.video[0].average_rate == Fraction(RATE)
            assert len(frames) == FRAMES, codec
            assert all(abs(int(found.mean()) - 20 * index) < 10 for index, found in enumerate(frames)), codec


def check_opencv_reads_video_and_resizes() -> None:
    """Without a display library, which the image has none of."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clip.mp4")
        write(path, "mpeg4")
        video = cv2.VideoCapture(str(path))
        frames = []
        while (found := video.read())[0]:
            frames.append(found[1])
        video.release()
    assert len(frames) == FRAMES
    small = cv2.resize(frames[6], (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA)
    assert small.shape == (HEIGHT // 2, WIDTH // 2, 3)
    assert abs(int(small.mean()) - 120) < 10
    _, encoded = cv2.imencode(".jpg", small)
    assert cv2.imdecode(encoded, cv2.IMREAD_COLOR).shape == small.shape


def check_pillow_and_torchvision_decode_the_same_image() -> None:
    """By their own decoders."""
    with io.BytesIO() as file:
        Image.fromarray(frame(5)).save(file, format="png")
        data = file.getvalue()
    decoded = torchvision.io.decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    assert torch.equal(decoded, torch.from_numpy(numpy.array(Image.open(io.BytesIO(data)))).permute(2, 0, 1))


def check_torchvision_transforms_clips() -> None:
    """As a DataLoader's workers do."""
    clip = torch.stack([torch.from_numpy(frame(index)).permute(2, 0, 1) for index in range(FRAMES)])
    transform = v2.Compose([v2.Resize((32, 48)), v2.CenterCrop(32), v2.ToDtype(torch.float32, scale=True)])
    assert transform(clip).shape == (FRAMES, 3, 32, 32)


def check_torchvision_operators_run(device: str) -> None:
    """Its compiled ones, built for this torch."""
    boxes = torch.tensor([[0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]], dtype=torch.float32, device=device)
    scores = torch.tensor([0.9, 0.8, 0.7], device=device)
    assert torchvision.ops.nms(boxes, scores, 0.5).tolist() == [0, 2]
    pooled = torchvision.ops.roi_align(torch.ones(1, 1, 32, 32, device=device), [boxes], output_size=4)
    assert pooled.shape == (3, 1, 4, 4)


def check_torchvision_models_run(device: str) -> None:
    """One without its weights, which would be downloaded."""
    model = torchvision.models.resnet18(weights=None).to(device).eval()
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 64, 64, device=device)).shape == (1, 1000)


def check_torchaudio_transforms_sound(device: str) -> None:
    """A spectrogram has its energy where the tone is; and a compiled operator of torchaudio's own runs."""
    rate = 16000
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(rate, device=device) / rate)
    spectrum = torchaudio.transforms.Spectrogram(n_fft=400).to(device)(tone).mean(-1)
    assert int(spectrum.argmax()) == 25
    if device == "cpu":
        emissions = torch.log_softmax(torch.randn(1, 20, 5, generator=torch.Generator().manual_seed(0)), -1)
        paths, _ = torchaudio.functional.forced_align(emissions, torch.tensor([[1, 2, 3]], dtype=torch.int32))
        assert paths.shape == (1, 20)
