"""What users have used, with a half-life: an hour of a GPU today weighs twice as much as one a half-life ago."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scheduling.amounts import Amounts, per_one
from scheduling.model import HOUR, Request, Running


@dataclass(frozen=True, kw_only=True)
class Account:
    """A decayed sum of charges, as of one moment."""

    value: float = 0.0
    at: float = 0.0

    def as_of(self, now: float, half_life: float) -> float:
        """Its value at a later moment, if nothing is added."""
        return self.value * decay(now - self.at, half_life)

    def charged(self, rate: float, start: float, end: float, half_life: float) -> "Account":
        """With a charge of `rate` an hour from `start` to `end`; parts of a span add up to the whole."""
        at = max(self.at, end)
        held = _integral(rate / HOUR, end - start, half_life) * decay(at - end, half_life)
        return Account(value=self.as_of(at, half_life) + held, at=at)


def decay(seconds: float, half_life: float) -> float:
    """What is left of 1 after so long."""
    return math.pow(2.0, -max(0.0, seconds) / half_life)


def rate(request: Request, weights: Mapping[str, float]) -> float:
    """The charge of holding it for an hour."""
    return request.count * weighed(request.each, weights)


def weighed(held: Amounts, weights: Mapping[str, float]) -> float:
    """The charge of holding these amounts for an hour."""
    return sum(weights.get(name, 0.0) * units / per_one(name) for name, units in held.items())


def usage_now(
    account: Account, running: Iterable[Running], now: float, weights: Mapping[str, float], half_life: float
) -> float:
    """The usage of a user, from the account of ended jobs and from those that run."""
    ended = account.as_of(now, half_life)
    return ended + sum(
        _integral(rate(run.job.request, weights) / HOUR, now - run.started, half_life) for run in running
    )


def _integral(per_second: float, seconds: float, half_life: float) -> float:
    """What a charge over the last `seconds` weighs at their end."""
    constant = half_life / math.log(2)
    return per_second * constant * (1.0 - decay(seconds, half_life))
