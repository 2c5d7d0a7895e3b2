"""The command line of the platform: ``python -m ws up``, `preview`, `down`, `ps`, `logs`, `test`, `doctor`, `outputs`.

Read in this order: `cli` (the commands), `deploy` (up, preview and down), `engines` (choice of the engine), `pulumi`
(the genuine engine), `setup` (Docker), `display` and `changes` (output), `services`, `containers`, `doctor`.
"""
