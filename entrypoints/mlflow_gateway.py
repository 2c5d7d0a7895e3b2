"""The key with which MLflow encrypts secrets that people enter for its gateway, such as API keys of providers.

MLflow wraps the key of each such secret with one made from a passphrase. Without a passphrase it takes one that is
published in its source. Here it is that of the stack: the first line of the mounted file. The other lines are former
ones. At each start, what is wrapped with one of those, or with the published one, is wrapped again: all of it or
nothing, in one transaction. Runs in MLflow's container, Python 3.10 or newer; needs MLflow only if there are secrets.
"""

import importlib
from collections.abc import Iterator
from functools import cache
from typing import Any

THERE = "SELECT to_regclass('public.secrets')"
# No other process may add one meanwhile that is wrapped with a former key.
LOCK = "LOCK TABLE secrets IN SHARE ROW EXCLUSIVE MODE"
FIND = "SELECT secret_id, secret_name, wrapped_dek, kek_version FROM secrets ORDER BY secret_name"
CHANGE = "UPDATE secrets SET wrapped_dek = %s, kek_version = %s WHERE secret_id = %s"


def wrap_again(driver: str, database: str, known: list[str], version: int) -> tuple[int, list[str]]:
    """Wrap what the first passphrase does not open with it; return how many, and the names that none opens."""
    connector: Any = importlib.import_module(driver)
    with connector.connect(f"postgresql://{database}", connect_timeout=3) as connection:
        cursor = connection.cursor()
        cursor.execute(THERE)
        if cursor.fetchone()[0] is None:
            return 0, []
        cursor.execute(LOCK)
        cursor.execute(FIND)
        rows = cursor.fetchall()
        if not rows:
            return 0, []
        crypto: Any = importlib.import_module("mlflow.utils.crypto")

        @cache
        def key(passphrase: str, at: int) -> bytes:  # takes a third of a second
            return crypto.KEKManager(passphrase=passphrase, kek_version=at).get_kek()  # type: ignore[no-any-return]

        changed, closed = 0, []
        for identifier, name, wrapped, at in rows:
            found = _open(
                crypto, bytes(wrapped), ((one, key(one, at)) for one in (*known, crypto.DEFAULT_KEK_PASSPHRASE))
            )
            if found is None:
                closed.append(str(name))
            elif (found[0], at) != (known[0], version):
                cursor.execute(CHANGE, (crypto.wrap_dek(found[1], key(known[0], version)), version, identifier))
                changed += 1
    return changed, closed


def _open(crypto: Any, wrapped: bytes, keys: Iterator[tuple[str, bytes]]) -> tuple[str, bytes] | None:  # noqa: ANN401
    """Return the passphrase that opens a wrapped key, and that key; None where none does."""
    for passphrase, key in keys:
        try:
            return passphrase, crypto.unwrap_dek(wrapped, key)
        except (crypto.MlflowException, ValueError):  # ValueError: it is no wrapped key at all
            continue
    return None
