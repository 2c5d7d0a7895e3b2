"""What the HTTP interface takes and answers, with the bounds of each value."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from contracts.queue import Submission
from scheduling.model import DEFAULT_PRIORITIES

IDS = r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"
SHA256 = r"^[0-9a-f]{64}$"
USERS = r"^[A-Za-z0-9_][A-Za-z0-9._@-]{0,63}$"
OWN_VARIABLES = "CSLR_QUEUE_"
OWN_RESOURCES = {"CPU": "cpus", "GPU": "gpus", "memory": "memory"}
LONGEST = 10 * 365 * 86400.0  # seconds


class ErrorDetails(BaseModel):
    """Why a request was refused, and what to do."""

    code: str
    message: str
    remedy: str
    param: str | None


class Error(BaseModel):
    """Every refusal."""

    error: ErrorDetails


class Health(BaseModel):
    """What keeps the queue from working; null: nothing."""

    problem: str | None


def _no_controls(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it has control characters")
    return text


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("it has a NUL character")
    return text


def _as_ray_takes(amount: float) -> float:
    if amount > 1 and amount != int(amount):
        raise ValueError("amounts above 1 are whole numbers, as Ray wants them")
    if round(amount, 4) != amount:
        raise ValueError("amounts have four decimals at most, as in Ray")
    return amount


Line = Annotated[str, AfterValidator(_no_controls)]
Amount = Annotated[float, Field(ge=0, le=100_000), AfterValidator(_as_ray_takes)]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,199}$")]
Resource = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,199}$")]
Requirement = Annotated[Line, Field(min_length=1, max_length=1000, pattern=r"^[^-\s]")]


class JobBody(BaseModel):
    """A job. The folder was sent before: PUT packages/SHA256.zip."""

    model_config = ConfigDict(extra="forbid")

    entrypoint: Annotated[str, Field(min_length=1, max_length=32_768, pattern=r"\S"), AfterValidator(_no_nul)]
    id: str | None = Field(default=None, pattern=IDS)
    name: Annotated[Line, Field(min_length=1, max_length=200)] | None = None
    project: Annotated[Line, Field(min_length=1, max_length=100)] | None = None
    package: str | None = Field(default=None, pattern=SHA256)
    gpus: Amount = 0.0
    cpus: Amount = 1.0
    memory: int = Field(default=0, ge=0, le=2**50)
    resources: dict[Resource, Amount] = Field(default={}, max_length=50)
    count: int = Field(default=1, ge=1, le=1000)
    held_by: Literal["command", "tasks"] = "command"
    priority: str = "normal"
    time_limit: float | None = Field(default=None, gt=0, le=LONGEST)
    restartable: bool = False
    environment: dict[Variable, Annotated[str, Field(max_length=32_768), AfterValidator(_no_nul)]] = Field(
        default={}, max_length=200
    )
    packages: list[Requirement] = Field(default=[], max_length=200)

    @model_validator(mode="after")
    def _fits(self) -> JobBody:
        if self.priority not in DEFAULT_PRIORITIES:
            raise ValueError(f"no priority {self.priority[:50]!r}, but {', '.join(DEFAULT_PRIORITIES)}")
        for name in self.resources:
            if name in OWN_RESOURCES:
                raise ValueError(f"the resource {name} has a field of its own, {OWN_RESOURCES[name]}")
        if not (self.gpus or self.cpus or any(self.resources.values())):
            raise ValueError("it asks for no GPU, CPU or other resource, so nothing would limit how many run")
        if own := [name for name in self.environment if name.startswith(OWN_VARIABLES)]:
            raise ValueError(f"the variable {own[0]} is set by the queue")
        return self

    @property
    def submission(self) -> Submission:
        """As the queue takes it."""
        return Submission(**{**self.model_dump(), "packages": tuple(self.packages)})
