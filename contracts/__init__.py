"""Data that the host's program and the programs in containers exchange: settings and the health service's report.

Frozen dataclasses that travel as JSON. Standard library only, Python 3.10 or newer.
"""
