"""The text of a Compose file, for a person who knows Compose and not this platform: comments, and no repetition."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from config.yaml_file import dump_yaml
from ws.generate.compose import ComposeFile, is_program

ANCHOR = "every-service"
# Before these keys of a service.
COMMENTS = {
    "depends_on": "Starts once these are healthy, or have ended.",
    "ports": "Address of this host : its port : port in the container.",
    "secrets": "Files in /run/secrets.",
    "cpus": "Limits. Swap is within the memory's limit: there is none.",
    "healthcheck": "What decides that it is ready.",
    "stop_signal": "How it is asked to end, and how long it may take.",
}
BLOCK = ("environment", "labels")  # one entry a line
WIDE = 2**20  # no line is folded: strings stay as they are


HARDENED = "Of every service: hardened, restarted after a failure, with a log that cannot fill the disk."


def render(file: ComposeFile, *, header: Iterable[str], about: Mapping[str, str], about_shared: str = HARDENED) -> str:
    """The file's text. `header`: its first comment lines; `about`: what each service is, in a sentence."""
    parts = [
        *(f"# {line}".rstrip() for line in header),
        "",
        _key("name", file.name, 0),
        "",
        f"# {about_shared}",
        f"x-{ANCHOR}: &{ANCHOR}",
        *(_key(key, value, 1) for key, value in file.shared.items()),
        "",
        "services:",
    ]
    for name, service in file.services.items():
        parts += ["", *([f"  # {about[name]}"] if name in about else []), f"  {name}:", f"    <<: *{ANCHOR}"]
        parts += [line for key, value in service.items() for line in _entry(key, value)]
    for title, comment, content in (
        ("networks", "", file.networks),
        ("volumes", "What outlives the containers; `docker compose down` keeps it.", file.volumes),
        ("secrets", "Files that only their readers may open. This file holds none of their contents.", file.secrets),
    ):
        if content:
            parts += ["", *([f"# {comment}"] if comment else []), f"{title}:"]
            parts += [_key(key, value, 1) for key, value in content.items()]
    return "\n".join(parts) + "\n"


def _entry(key: str, value: object) -> Iterator[str]:
    """The lines of one key of a service."""
    if key in COMMENTS and value != {"disable": True}:
        yield f"    # {COMMENTS[key]}"
    if key == "volumes" and isinstance(value, list):
        yield "    volumes:"
        programs = list(filter(is_program, value))
        yield from (f"      - {_flow(mount)}" for mount in value if mount not in programs)
        if programs:
            yield "      # The programs that it starts, and what they import."
            yield from (f"      - {_flow(mount)}" for mount in programs)
        return
    yield _key(key, value, 2)


def _flow(value: object) -> str:
    """A value on one line."""
    # In a list, since a scalar on its own gets an end-of-document mark.
    text = dump_yaml([escaped(value)], default_flow_style=True, width=WIDE, allow_unicode=True)
    return text.strip()[1:-1]


def _key(key: str, value: object, level: int) -> str:
    """One key with its value: block style, but the innermost collections on one line."""
    indent = "  " * level
    if not isinstance(value, dict | list) or not value or _is_flat(key, value):
        return f"{indent}{key}: {_flow(value)}"
    if isinstance(value, list):
        return "\n".join([f"{indent}{key}:", *(f"{indent}  - {_flow(item)}" for item in value)])
    return "\n".join([f"{indent}{key}:", *(_key(name, item, level + 1) for name, item in value.items())])


def _is_flat(key: str, value: dict[str, Any] | list[Any]) -> bool:
    """Whether it goes on one line: what holds no other collection, unless each of its entries deserves a line."""
    items = value.values() if isinstance(value, dict) else value
    return key not in BLOCK and not any(isinstance(item, dict | list) for item in items)


def escaped(value: Any) -> Any:  # noqa: ANN401 (any value of YAML)
    """Compose fills in variables of its own wherever it finds a dollar sign."""
    if isinstance(value, dict):
        return {key: escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [escaped(item) for item in value]
    return value.replace("$", "$$") if isinstance(value, str) else value
