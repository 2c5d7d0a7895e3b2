"""Hook into Ray: names files of spilled objects after their job, so that the janitor can tell whose they are.

Standard library only, Python 3.10 or newer; stands alone (registry.py).
"""

from __future__ import annotations

import uuid
from types import ModuleType
from typing import Any


def name_files_after_jobs(module: ModuleType) -> None:
    """Change ``ray._private.external_storage``: JOB-UNIQUE-multi-COUNT, with the ID of the first object's job."""

    def file_name(object_refs: list[Any]) -> str:
        return f"{object_refs[0].job_id().hex()}-{uuid.uuid4().hex}-multi-{len(object_refs)}"

    if not hasattr(module, "_get_unique_spill_filename"):
        raise AttributeError("_get_unique_spill_filename")
    module._get_unique_spill_filename = file_name  # type: ignore[attr-defined]
