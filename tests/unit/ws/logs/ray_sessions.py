"""The files of two of Ray's sessions, as Ray 2.60 writes them."""

NEW, OLD = "session_2026-11-28_03-00-00_000000_1", "session_2026-11-27_10-00-00_000000_1"
WORKER = "worker-" + "ab" * 28 + "-01000000-4711"
CLOCK = 1_795_834_800.0  # 2026-11-28 03:00:00 UTC

FILES = {
    f"ray-cpu/ray/{OLD}/logs/raylet.out": "[2026-11-27 10:00:00,500 I 7 7] (raylet) main.cc:1: raylet of yesterday\n",
    f"ray-cpu/ray/{NEW}/logs/raylet.out": (
        "[2026-11-28 03:00:01,000 I 7 7] (raylet) main.cc:1: raylet starts\n"
        "[2026-11-28 03:00:09,000 W 7 7] (raylet) worker_pool.cc:9: slow, job_id=01000000\n"
        "  and its details\n"
    ),
    f"ray-cpu/ray/{NEW}/logs/raylet.1.out": "[2026-11-28 03:00:00,000 I 7 7] (raylet) main.cc:1: before it rotated\n",
    f"ray-cpu/ray/{NEW}/logs/dashboard.log": (
        "2026-11-28 03:00:02,000\tINFO head.py:191 -- dashboard starts\n"
        "2026-11-28 03:00:03,000\tERROR head.py:192 -- it failed\n"
        "Traceback (most recent call last):\n"
        '  File "head.py", line 1, in run\n'
        "    serve()\n"
        "OSError: in use\n"
        "2026-11-28 03:00:04,000\tINFO head.py:193 -- again\n"
    ),
    f"ray-cpu/ray/{NEW}/logs/{WORKER}.out": (
        ":job_id:01000000\n:task_name:square\nsquare of 3\n:task_name:cube\ncube of 3\n"
    ),
    f"ray-cpu/ray/{NEW}/logs/job-driver-raysubmit_A1.log": "the driver begins\nthe driver ends\n",
    f"ray-cpu/ray/{NEW}/logs/debug_state.txt": "no log\n",
    f"ray-cpu/ray/{NEW}/logs/events/event_GCS.log": "no log\n",
    f"ray-cpu/ray/{NEW}/logs/old/worker-{'cd' * 28}-02000000-12.err": "of another job\n",
    f"ray-gpu/ray/{NEW}/logs/raylet.out": "[2026-11-28 03:00:05,000 I 8 8] (raylet) main.cc:1: on the GPUs\n",
}
