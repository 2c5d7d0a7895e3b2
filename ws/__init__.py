"""The command line of the platform: ``python -m ws up``, `preview`, `down`, `ps`, `logs`, `test`, `doctor`, `outputs`.

Read in this order: `cli` (the commands), `deploy` (what up, preview and down do), `engines` (which engine),
`pulumi_cli` and `pulumi_engine` (the genuine one), `setup` (Docker), `display` and `changes` (what is shown),
`services`, `containers`, `doctor`.
"""
