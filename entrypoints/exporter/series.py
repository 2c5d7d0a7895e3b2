"""Series as the Prometheus client wants them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import Metric

Rows = Iterable[tuple[Mapping[str, str], float]]


def metric(name: str, kind: str, text: str, rows: Rows) -> Metric:
    """A metric with one sample for each row of labels and value."""
    # The client adds the suffix of a counter itself.
    made = Metric(name.removesuffix("_total") if kind == "counter" else name, text, kind)
    for labels, value in rows:
        made.add_sample(name, dict(labels), value)
    return made


def gauge(name: str, text: str, rows: Rows) -> Metric:
    """A gauge."""
    return metric(name, "gauge", text, rows)
