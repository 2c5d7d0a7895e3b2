"""Limits on Ray's history and caches: Ray's defaults assume more memory than a head has here.

Only values that differ from Ray's defaults, with the reason; docs/growth.md has the measurements. A service's `env`
can override them.
"""

from collections.abc import Mapping

RAY_LIMITS: Mapping[str, str] = {
    # Records of actors that have ended: 1.3 KB each in Redis, and more with environment variables. Ray's 100,000 would
    # be 40 % of what Redis holds.
    "RAY_maximum_gcs_destroyed_actor_cached_count": "2000",
    # Unpacked packages that no job uses, kept for the next one: Ray's 10 GB of each kind would fill the scratch.
    "RAY_RUNTIME_ENV_WORKING_DIR_CACHE_SIZE_GB": "4",
    "RAY_RUNTIME_ENV_PY_MODULES_CACHE_SIZE_GB": "2",
    # How long a failed environment keeps failing at once (default: 600 s), even when the cause is gone, such as
    # a full disk, a mirror that was away, or a package that was uploaded again.
    "BAD_RUNTIME_ENV_CACHE_TTL_SECONDS": "2",
    # Environments of packages (`pip`, `uv`); Ray keeps 10 GB of each kind.
    "RAY_RUNTIME_ENV_PIP_CACHE_SIZE_GB": "5",
    "RAY_RUNTIME_ENV_UV_CACHE_SIZE_GB": "5",
    # Processes of 66 MB each that spill objects, and as many that restore them: Ray starts 4 and keeps them.
    "RAY_max_io_workers": "2",
    # Size of each output file, of which Ray keeps one backup: of its own processes, and of every worker.
    "RAY_ROTATION_MAX_BYTES": str(32 * 2**20),
    "RAY_ROTATION_BACKUP_COUNT": "1",
    # entrypoints/ray/memory_guard.py does what Ray's monitor would: by size, not by the age and the kind of tasks.
    "RAY_memory_monitor_refresh_ms": "0",
}
