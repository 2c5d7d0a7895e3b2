"""A stack file without people, and a Docker Engine that has volumes of theirs."""

from typing import Any

from preflight.host_facts import LABEL_COMPONENT

FILE = """\
# ours
config:
  cslr:platform:
    redis: {port: 6381}   # beside Ray's
    marimo:
      port: 8080   # of the first
"""


class Docker:
    """A Docker Engine with the volumes of people."""

    volumes: tuple[str, ...] = ()

    def labelled(self, path: str, _key: str, _labels: object) -> list[dict[str, Any]]:
        if path != "/volumes":
            return []
        return [{"Name": f"cslr-dev-{name}-notebooks", "Labels": {LABEL_COMPONENT: name}} for name in self.volumes]
