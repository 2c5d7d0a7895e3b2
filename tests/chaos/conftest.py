"""What a failure of these tests is repeated with."""

from testing.chaos.form import ROUNDS, SEED


def pytest_report_header() -> str:
    return f"chaos: CHAOS_ROUNDS={ROUNDS} CHAOS_SEED={SEED}"
