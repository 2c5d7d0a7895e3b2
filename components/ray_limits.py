"""What Ray keeps of the past, and for how long: its defaults are for clusters with more memory than a head has here.

Every row is bounded by Ray; here are the bounds that differ from its defaults, with what a row takes in Redis
(docs/growth.md has the measurements, and what needs no bound).
"""

from collections.abc import Mapping

RAY_LIMITS: Mapping[str, str] = {
    # Records of actors that have ended: 100,000 by default, 1.3 KB each in Redis and more in the GCS.
    "RAY_maximum_gcs_destroyed_actor_cached_count": "10000",
    # Unpacked packages that no job uses, kept for the next one: 10 GB of each kind by default, of the scratch's 40 GB.
    "RAY_RUNTIME_ENV_WORKING_DIR_CACHE_SIZE_GB": "4",
    "RAY_RUNTIME_ENV_PY_MODULES_CACHE_SIZE_GB": "2",
}
