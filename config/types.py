"""The value types of stack config: ports, quantities, addresses, references.

Each type turns what YAML or ``pulumi config set --path`` delivers (which writes ``1.5`` as text) into one Python type,
or refuses it with a reason in words and an example that would be accepted. No type looks at another key or at the host.
"""

import ipaddress
import math
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Literal
from urllib.parse import urlsplit

import packaging.requirements
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from config.notation import EVERYWHERE as EVERYWHERE
from config.notation import UNITS
from config.notation import format_quantity as format_quantity

REFUSED = "refused"  # the error type of every refusal here, so that problems.py can tell them from pydantic's own
PRIVATE_NETWORKS = tuple(
    ipaddress.IPv4Network(network) for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
)
# Networks to offer to containers instead of one that is in use, best first.
SPARE_SUBNETS = (
    *(f"172.{n}.0.0/16" for n in (28, 29, 30, 31, 27, 26)),
    *(f"10.{n}.0.0/16" for n in range(200, 256)),
    *(f"192.168.{n}.0/24" for n in range(200, 256)),
)
LARGEST_NETWORK, SMALLEST_NETWORK = 12, 27  # prefix lengths
LARGEST_MEMORY = 2**46  # bytes, 64 TiB: more is a slip of the keyboard
LARGEST_CPUS = 4096
CHECKPOINT_SCHEMES = ("s3", "gs")  # object stores that Ray can write to with what the images hold
MOST_ENTRIES = 1000  # of a list or a mapping
LONGEST_PERSON = 32  # characters
NODE_ENDS = ("-ray-cpu", "-ray-gpu", "-ray-head")  # by which the name of a Ray node, or of its container, is known
DURATIONS = {"s": 1, "m": 60, "h": 3600, "d": 86400}  # seconds
SHORTEST_DURATION, LONGEST_DURATION = 10, 30 * DURATIONS["d"]

_QUANTITY = re.compile(r"(\d{1,20}(?:\.\d{1,9})?) ?([kmgt]?)(?:i?b)?", re.IGNORECASE | re.ASCII)
_DECIMAL = re.compile(r"[-+]?(?:\d{1,20}(?:\.\d{0,20})?|\.\d{1,20})(?:e[-+]?\d{1,3})?", re.IGNORECASE | re.ASCII)
_NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}"
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REGISTRY = rf"(?:{_HOST}(?::\d{{1,5}})?/)?"
_REPOSITORY = rf"{_REGISTRY}{_COMPONENT}(?:/{_COMPONENT})*"


def refuse(reason: str, example: object = None) -> PydanticCustomError:
    """The refusal of a value: ``reason`` completes the sentence "<key>: …", ``example`` would be accepted."""
    return PydanticCustomError(REFUSED, "{reason}", {"reason": reason, "example": example})


def parse_quantity(value: object) -> int:
    """Bytes of a quantity in Docker's notation (``8g``, ``512m``, ``1.5g``; units are powers of 1024) or of bytes.

    Raises:
        PydanticCustomError: it is not a quantity, or more than any host has.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (match := _QUANTITY.fullmatch(value)):
        size = int(Decimal(match[1]) * 1024 ** UNITS[match[2].lower()])
    else:
        raise refuse("must be a quantity in Docker's notation, such as 8g or 512m, or a whole number of bytes")
    if not 0 < size <= LARGEST_MEMORY:
        raise refuse("must be more than 0 and at most 64t")
    return size


def spare_subnet(used: Sequence[str]) -> str:
    """A network for containers that overlaps none of the used networks and addresses."""
    networks = [ipaddress.IPv4Network(subnet) for subnet in used]
    free = (s for s in SPARE_SUBNETS if not any(ipaddress.IPv4Network(s).overlaps(network) for network in networks))
    return next(free, "10.64.0.0/20")


def _number(value: object) -> float:
    """A number, or its text in decimal digits: `float` takes `1_0`, `٣` and spaces as well. NaN for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _parse_cpus(value: object) -> float:
    if not math.isfinite(_number(value)):
        raise refuse("must be a number of CPU cores, such as 2 or 0.5")
    number = Decimal(str(value))
    if not 0 < number <= LARGEST_CPUS:
        raise refuse(f"must be more than 0 and at most {LARGEST_CPUS} CPU cores")
    if number != round(number, 2):
        raise refuse("must have at most two decimals, since Docker counts hundredths", round(number, 2) or 0.1)
    return float(number)


def _parse_share(value: object) -> float:
    share = _number(value)
    if not 0 <= share <= 1:
        raise refuse("must be a share from 0 to 1, such as 0.25")
    return share


def _parse_amount(value: object) -> float:
    amount = _number(value)
    if math.isnan(amount) and isinstance(value, str):
        amount = float(parse_quantity(value))
    if not 0 < amount <= LARGEST_MEMORY:
        raise refuse("must be a number or a quantity above 0, such as 4, 0.5 or 64g")
    return amount


def _parse_seconds(value: object) -> float:
    seconds = _number(value)
    if not 0.1 <= seconds <= 60:
        raise refuse("must be a number of seconds from 0.1 to 60")
    return seconds


def parse_duration(value: object) -> int:
    """Seconds of a duration such as ``90s``, ``30m``, ``2h`` or ``1d``; a whole number counts seconds.

    Raises:
        PydanticCustomError: it is none, or shorter or longer than makes sense.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        seconds = value
    elif isinstance(value, str) and (match := re.fullmatch(r"([0-9]{1,9})([smhd])", value)):
        seconds = int(match[1]) * DURATIONS[match[2]]
    else:
        raise refuse("must be a duration such as 30m, 2h or 1d, or a whole number of seconds")
    if not SHORTEST_DURATION <= seconds <= LONGEST_DURATION:
        raise refuse(f"must be from {SHORTEST_DURATION}s to {LONGEST_DURATION // DURATIONS['d']}d")
    return seconds


def _parse_whole(value: object) -> object:
    """``pulumi config set`` writes text where YAML has a number in quotes."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value) else value


def _parse_version(value: object) -> object:
    """YAML reads ``3.14`` without quotes as a number, and would read ``3.10`` as 3.1."""
    return repr(value) if isinstance(value, float) and math.isfinite(value) else value


def _parse_environment_value(value: object) -> object:
    if isinstance(value, bool) or value is None:
        raise refuse('must be text: put it in quotes, since programs disagree on how to spell it ("1", "true", "yes")')
    if isinstance(value, str) and "\0" in value:
        raise refuse("has a character that no environment can hold (NUL)")
    return str(value) if isinstance(value, int) and abs(value) < 10**18 else value


def _parse_list(value: object) -> object:
    if value is None:  # a key whose entries are all commented out
        return ()
    _refuse_more(value)
    return tuple(value) if isinstance(value, list) else value


def _parse_mapping(value: object) -> object:
    _refuse_more(value)
    return {} if value is None else value


def _refuse_more(value: object) -> None:
    if isinstance(value, list | dict) and len(value) > MOST_ENTRIES:
        raise refuse(f"has {len(value)} entries, more than the {MOST_ENTRIES} that it can have")


def _check_environment_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise refuse("is not a valid name for an environment variable: use letters, digits and _, and no digit first")
    return value


def _check_subnet(value: str) -> str:
    try:
        network = ipaddress.IPv4Network(value, strict=False)
    except ValueError:
        network = None
    if network is None or "/" not in value:
        raise refuse("is not an IPv4 network: write an address and a prefix length")
    if not any(network.subnet_of(private) for private in PRIVATE_NETWORKS):
        raise refuse("is not private: traffic to real hosts there would end in the containers' network")
    if not LARGEST_NETWORK <= network.prefixlen <= SMALLEST_NETWORK:
        raise refuse(
            f"has the prefix length /{network.prefixlen}, which must be between /{LARGEST_NETWORK} and "
            f"/{SMALLEST_NETWORK}: its lower half holds the fixed addresses of Ray nodes, its upper half all others"
        )
    if str(network) != value:
        raise refuse(f"is an address inside a network; the network itself is {network}", str(network))
    return value


def _check_bind_address(value: str) -> str:
    try:
        address = ipaddress.IPv4Address(value)
    except ValueError:
        raise refuse(
            "is not an IPv4 address: write 127.0.0.1 for this host only, 0.0.0.0 for all, or one of its own"
        ) from None
    if address.is_multicast or address == ipaddress.IPv4Address("255.255.255.255"):
        raise refuse("is an address that no host can have")
    return value


def _check_lan_address(value: str) -> str:
    try:
        address = ipaddress.IPv4Address(value)
    except ValueError:
        raise refuse("is not an IPv4 address", "192.168.1.10") from None
    usable = not (address.is_loopback or address.is_multicast or address.is_link_local or address.is_reserved)
    if not usable or value.startswith("0."):
        raise refuse("is an address that other hosts cannot reach", "192.168.1.10")
    return value


def _check_source(value: str) -> str:
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError:
        raise refuse("is not an IPv4 address or network", "192.168.1.50") from None
    if not network.prefixlen:
        raise refuse("is every address", "192.168.1.0/24")
    return value


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _check_host_name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?", value):
        raise refuse("is not a valid name for a host: use up to 32 lower-case letters, digits and '-'", "alpha")
    if value.endswith(NODE_ENDS):
        raise refuse("reads like the name of a Ray node", "alpha")
    return value


def _check_cluster_name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?", value):
        raise refuse("is not a valid name for a cluster: use up to 32 lower-case letters, digits and '-'", "lab")
    return value


def check_reached_name(value: str) -> str:
    """A host's name as people write it into a browser, in the form that browsers send it in."""
    name, colon, port = value.partition(":")
    name = name.lower().removesuffix(".")
    labels = name.split(".")
    good = len(name) <= 253 and all(re.fullmatch(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", label) for label in labels)
    if not good or (colon and not (re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 65536)):
        raise refuse(
            "is not the name of a host: write it as in a browser, without scheme, path and wildcard",
            "gpuhost.example.org",
        )
    if labels[-1].isdigit() and not _is_ipv4(name):
        raise refuse("ends in a number, as only addresses do, but is not an address", "gpuhost.example.org")
    return f"{name}:{int(port)}" if colon else name


def _check_base_url(value: str) -> str:
    path = value
    if not value.startswith("/"):
        try:
            url = urlsplit(_check_url(value))
        except PydanticCustomError:
            raise refuse(
                "is neither a path nor an http or https address", "https://gpuhost.example.org/mlflow"
            ) from None
        path = url.path
        if url.query or url.fragment or "@" in url.netloc:
            raise refuse("has more than scheme, host and path", "https://gpuhost.example.org/mlflow")
        value = f"{url.scheme}://{url.netloc.lower()}{path}"
    if not re.fullmatch(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?", path):
        raise refuse(
            "must be a path or an address with one: of letters, digits, '-', '_', '~' and '.'",
            "https://gpuhost.example.org/mlflow",
        )
    return value.rstrip("/") or "/"


def _check_url(value: str) -> str:
    try:
        url = urlsplit(value)
        good = url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        good = False
    if not good or not re.fullmatch(r"[!-~]+", value):
        raise refuse("is not an http or https address", "http://192.168.1.10:8888")
    return value


def _check_dashboard_url(value: str) -> str:
    if value.startswith("/"):
        raise refuse(
            "is a path, which Ray's dashboard has none of: write the whole address that people open",
            "https://gpuhost.example.org/ray",
        )
    return _check_base_url(value)


def _check_proxy(value: str) -> str:
    _check_url(value)
    url = urlsplit(value)
    if "@" in url.netloc:
        raise refuse("contains a login, which Docker would show to every user; use a proxy without one")
    if url.path not in ("", "/") or url.query or url.fragment:
        raise refuse("has more than scheme, host and port", "http://proxy.example.org:3128")
    return f"{url.scheme}://{url.netloc}"


def _check_no_proxy(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.:/\[\]-]{1,253}", value):
        raise refuse("is not a name, a domain, an address or a network", "mirror.example.org")
    return value


def _check_head_address(value: str) -> str:
    match = re.fullmatch(rf"({_HOST}):([0-9]{{1,5}})", value)
    if not match or not 0 < int(match[2]) < 65536 or (re.fullmatch(r"[0-9.]+", match[1]) and not _is_ipv4(match[1])):
        raise refuse("must be host:port, the address of a Ray head's GCS", "192.168.1.10:6379")
    return value


def _check_mail_server(value: str) -> str:
    match = re.fullmatch(rf"({_HOST}):([0-9]{{1,5}})", value)
    if not match or not 0 < int(match[2]) < 65536:
        raise refuse("must be host:port, the address of an SMTP server", "smtp.example.org:587")
    return value


def _check_mail_address(value: str) -> str:
    if not re.fullmatch(rf"[A-Za-z0-9._%+-]{{1,64}}@{_HOST}", value):
        raise refuse("is not a mail address", "group@example.org")
    return value


def _check_location(value: str) -> str:
    if is_path(value):
        if ".." in value.split("/") or not value.isprintable() or ":" in value:
            raise refuse("must be a plain absolute path, without '..', ':' or control characters")
        return "/" + "/".join(part for part in value.split("/") if part not in ("", "."))  # one place, one spelling
    if not re.fullmatch(_NAME, value):
        raise refuse(
            "is neither a folder's absolute path nor a volume's name "
            "(letters, digits, '_', '.' and '-'; a relative path would depend on where the command is run)"
        )
    return value


def check_person_name(value: str) -> str:
    """The name of a person, if a container can be named after it. Raises `PydanticCustomError`."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*", value) or len(value) > LONGEST_PERSON:
        raise refuse(
            f"is not a person's name here: use up to {LONGEST_PERSON} lower-case letters and digits, the first a "
            "letter, and single hyphens between them, as in ann-lee, since containers and volumes are named after it"
        )
    if f"-{value}".endswith(NODE_ENDS):
        raise refuse("is not a person's name here: it reads like the name of a Ray node")
    return value


def _parse_people(value: object) -> object:
    """A list of names is a mapping of them to nothing of their own."""
    if value is None:
        return {}
    if not isinstance(value, list):
        return _parse_mapping(value)
    if strange := next((name for name in value if not isinstance(name, str)), None):
        raise refuse(f"names people, and {str(strange)[:60]!r} is no name", ["alice", "bob"])
    if twice := next((name for name in value if value.count(name) > 1), None):
        raise refuse(f"lists {twice[:60]!r} twice")
    return {name: {} for name in value}


def _check_host_folder(value: str) -> str:
    if not is_path(value):
        raise refuse("is not an absolute path, which begins with /", "/srv/datasets/phoenix")
    if any(character in value for character in ",'\"\\"):
        raise refuse("has a character that paths of datasets cannot have: one of , ' \" \\", "/srv/datasets/phoenix")
    return _check_location(value)


def _check_host_file(value: str) -> str:
    if not is_path(value):
        raise refuse("is not an absolute path, which begins with /", "/root/backup-password")
    return _check_location(value)


def _check_key_path(value: str) -> str:
    if not value.isprintable() or not value.strip() or len(value) > 1000:
        raise refuse("is not the path of a file", "keys/image-signers")
    return value


def _check_repository(value: str) -> str:
    example = "sftp:backup@nas.example.org:/srv/backup/cslr"
    if is_path(value):
        return _check_location(value)
    if not re.fullmatch(r"(sftp|s3):[!-~]+", value):
        raise refuse("is neither a folder's absolute path nor an address that begins with sftp: or s3:", example)
    if re.search(r":[^/@:]*@", value.partition(":")[2]):
        raise refuse("holds a password, which every user of the host would see: use a key or s3_credentials", example)
    return value


def _check_calendar(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9*,./:~+ -]{1,100}", value):
        raise refuse("is not a time as in systemd's OnCalendar=", "*-*-* 02:30:00")
    return value


def _check_checkpoints(value: str) -> str:
    example = "s3://checkpoints/lab?region=eu-central-1"
    if "://" not in value:
        if not is_path(value):
            raise refuse("is neither a folder's absolute path nor the URL of an object store", example)
        return _check_location(value)
    url = urlsplit(value)
    if url.scheme not in CHECKPOINT_SCHEMES or not url.netloc or not re.fullmatch(r"[!-~]+", value):
        raise refuse(f"is not a URL of {' or '.join(f'{scheme}://' for scheme in CHECKPOINT_SCHEMES)}", example)
    if "@" in url.netloc:
        raise refuse("holds credentials, which belong into ray.env_secrets and marimo.env_secrets", example)
    return value


def _check_dataset_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", value):
        raise refuse(
            "is not a valid name for a dataset, which is part of a path and of a Ray resource: use up to 63 letters, "
            "digits, '_' and '-'",
            "phoenix",
        )
    return value


def _check_queue_user(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._@-]{0,63}", value):
        raise refuse("is not a name for a user: use up to 64 letters, digits, '.', '_', '-' and '@'", "anna")
    return value


def _check_resource(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z][\w:.-]{0,127}", value, re.ASCII):
        raise refuse("is not the name of a resource of Ray", "GPU")
    return value


def _check_target(value: str) -> str:
    target = _check_location(value)
    if not is_path(target) or target == "/":
        raise refuse("must be an absolute path inside the container, other than /", "/data")
    return target


def _check_registry(value: str) -> str:
    if not re.fullmatch(_REPOSITORY, value) or len(value) > 200:
        raise refuse(
            "is not a prefix of an image name: lower case, no scheme, no tag, no '/' at the end",
            "registry.example.org:5000/cslr",
        )
    return value


def _check_reference(value: str) -> str:
    if not re.fullmatch(rf"{_REPOSITORY}(?::\w[\w.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?", value, re.ASCII):
        raise refuse("is not an image reference: repository:tag or repository@sha256:…", "rayproject/ray:2.60.0")
    return value


def _check_user(value: str) -> str:
    if not re.fullmatch(r"[0-9]{1,10}:[0-9]{1,10}", value):
        raise refuse("must be two numbers, user and group", "1000:1000")
    if any(int(part) >= 2**31 for part in value.split(":")):
        raise refuse("is above the highest user number")
    if value.startswith("0") and not int(value.split(":")[0]):
        raise refuse("is root, and containers of this platform never run as root", "1000:1000")
    return value


def _check_network_name(value: str) -> str:
    if not re.fullmatch(_NAME, value) or value in ("bridge", "host", "none", "default"):
        raise refuse("is not a name for a Docker network of its own", "ray-network")
    return value


def _check_devices(value: object) -> object:
    if value == "all":
        return value
    _refuse_more(value)
    if not isinstance(value, list | tuple) or not value:
        raise refuse("must be all, or a list of device numbers or UUIDs, such as [0, 1]", "all")
    names = tuple(str(item) if type(item) is int and 0 <= item < 1024 else item for item in value)
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(r"\d{1,4}|(?:GPU|MIG)-[0-9A-Za-z/-]{1,100}", name, re.ASCII):
            raise refuse("has an entry that is neither a device number nor a UUID as nvidia-smi -L prints it", "all")
    if len(set(names)) < len(names):
        raise refuse("names one device twice", "all")
    return names


def _check_glob(value: str) -> str:
    if not re.fullmatch(r"[\w.*?!\[\]-]{1,100}", value, re.ASCII):
        raise refuse("is not a name or pattern of names: use letters, digits, '.', '-' and the wildcards * and ?", "*")
    return value


def _check_requirement(value: str) -> str:
    try:
        found = packaging.requirements.Requirement(value)
    except packaging.requirements.InvalidRequirement:
        found = None
    if found is None or not value.isprintable():
        raise refuse("is not a requirement: a package's name and, if need be, its versions", "transformers>=5,<6")
    if found.url:
        raise refuse("names an address: packages come from the package index, with hashes", found.name)
    return value.strip()


def _check_debian_package(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]{1,99}(=[A-Za-z0-9.+:~-]{1,99})?", value):
        raise refuse(
            "is not a valid name for a Debian package: use lower-case letters, digits, '+', '-' and '.'", "ffmpeg"
        )
    return value


def _check_wheel(value: str) -> str:
    example = "wheels/ray-3.0.0.dev0-cp314-cp314-manylinux2014_x86_64.whl"
    if not re.fullmatch(r"(https://[^\s?#@]+/|wheels/)[\w.+%-]+\.whl", value, re.ASCII):
        raise refuse("is not a wheel: an https:// address that ends in .whl, or a file in the folder wheels", example)
    return value


def _check_sha256(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise refuse("is not a SHA-256 digest: 64 digits from 0 to f")
    return value


def _check_dockerfile(value: str) -> str:
    good = re.fullmatch(r"[\w.+-]{1,100}(/[\w.+-]{1,100}){1,9}", value, re.ASCII)
    if not good or {".", ".."} & set(value.split("/")):
        raise refuse(
            "is not the path of a Dockerfile: write it relative to the project, in a folder of its own, which becomes "
            "the build's context (letters, digits, '_', '.', '+' and '-')",
            "docker/mine/Dockerfile",
        )
    return value


def _check_login_key(value: str) -> str:
    if not value.strip():
        raise refuse("is empty: it must be a public key, or the path of a file with public keys", "keys/ann.pub")
    return value.strip()


def _check_stage(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]{0,99}", value):
        raise refuse("is not the name of a stage", "runtime")
    return value


def is_path(location: str) -> bool:
    """Whether a location is a folder of the host (a bind mount) and not the name of a volume."""
    return location.startswith("/")


# The title of a type is its name in the editor's hints and in the reference of keys.
HostPort = Annotated[int, Field(title="port", ge=1, le=65535), BeforeValidator(_parse_whole)]
Count = Annotated[int, Field(title="number", ge=1, le=64), BeforeValidator(_parse_whole)]
Memory = Annotated[
    int,
    BeforeValidator(parse_quantity),
    WithJsonSchema({"title": "quantity", "type": ["string", "integer"], "pattern": "^[0-9.]+ ?[kmgtKMGT]?i?[bB]?$"}),
]
Cpus = Annotated[
    float,
    BeforeValidator(_parse_cpus),
    WithJsonSchema({"title": "cores", "type": ["number", "string"], "exclusiveMinimum": 0, "maximum": LARGEST_CPUS}),
]
Share = Annotated[
    float,
    BeforeValidator(_parse_share),
    WithJsonSchema({"title": "share", "type": ["number", "string"], "minimum": 0, "maximum": 1}),
]
Amount = Annotated[
    float,
    BeforeValidator(_parse_amount),
    WithJsonSchema({"title": "amount", "type": ["number", "string"], "exclusiveMinimum": 0}),
]
Seconds = Annotated[
    float,
    BeforeValidator(_parse_seconds),
    WithJsonSchema({"title": "seconds", "type": ["number", "string"], "minimum": 0.1, "maximum": 60}),
]
Version = Annotated[
    str, BeforeValidator(_parse_version), WithJsonSchema({"title": "version", "type": ["string", "number"]})
]
Glob = Annotated[
    str,
    BeforeValidator(_parse_version),
    AfterValidator(_check_glob),
    WithJsonSchema({"title": "pattern", "type": ["string", "number"]}),
]
EnvironmentName = Annotated[str, AfterValidator(_check_environment_name)]
EnvironmentValue = Annotated[
    str, BeforeValidator(_parse_environment_value), WithJsonSchema({"type": ["string", "integer"]})
]
Subnet = Annotated[str, AfterValidator(_check_subnet), Field(title="IPv4 network")]
BindAddress = Annotated[str, AfterValidator(_check_bind_address), Field(title="IPv4 address")]
LanAddress = Annotated[str, AfterValidator(_check_lan_address), Field(title="IPv4 address")]
Source = Annotated[str, AfterValidator(_check_source), Field(title="IPv4 address or network")]
HostName = Annotated[str, AfterValidator(_check_host_name), Field(title="host")]
ClusterName = Annotated[str, AfterValidator(_check_cluster_name), Field(title="name")]
Url = Annotated[str, AfterValidator(_check_url), Field(title="URL")]
ReachedName = Annotated[str, AfterValidator(check_reached_name), Field(title="name")]
BaseUrl = Annotated[str, AfterValidator(_check_base_url), Field(title="path or URL")]
DashboardUrl = Annotated[str, AfterValidator(_check_dashboard_url), Field(title="URL")]
ProxyUrl = Annotated[str, AfterValidator(_check_proxy), Field(title="URL")]
NearName = Annotated[str, AfterValidator(_check_no_proxy), Field(title="name")]
HeadAddress = Annotated[str, AfterValidator(_check_head_address), Field(title="host:port")]
MailServer = Annotated[str, AfterValidator(_check_mail_server), Field(title="host:port")]
MailAddress = Annotated[str, AfterValidator(_check_mail_address), Field(title="mail address")]
Location = Annotated[str, AfterValidator(_check_location), Field(title="volume or path")]
Checkpoints = Annotated[str, AfterValidator(_check_checkpoints), Field(title="path or URL")]
HostFile = Annotated[str, AfterValidator(_check_host_file), Field(title="path")]
BackupRepository = Annotated[str, AfterValidator(_check_repository), Field(title="path or address")]
Calendar = Annotated[str, AfterValidator(_check_calendar), Field(title="time")]
KeyPath = Annotated[str, AfterValidator(_check_key_path), Field(title="path")]
HostFolder = Annotated[str, AfterValidator(_check_host_folder), Field(title="path")]
DatasetName = Annotated[str, AfterValidator(_check_dataset_name), Field(title="name")]
QueueUserName = Annotated[str, AfterValidator(_check_queue_user), Field(title="name")]
ResourceName = Annotated[str, AfterValidator(_check_resource), Field(title="resource")]
Target = Annotated[str, AfterValidator(_check_target), Field(title="path")]
RegistryPrefix = Annotated[str, AfterValidator(_check_registry), Field(title="image name prefix")]
ImageReference = Annotated[str, AfterValidator(_check_reference), Field(title="image")]
User = Annotated[str, AfterValidator(_check_user), Field(title="user:group")]
NetworkName = Annotated[str, AfterValidator(_check_network_name), Field(title="name")]
Devices = Annotated[
    Literal["all"] | tuple[str, ...],
    BeforeValidator(_check_devices),
    WithJsonSchema(
        {
            "title": "all or list",
            "anyOf": [{"const": "all"}, {"type": "array", "items": {"type": ["string", "integer"]}, "minItems": 1}],
        }
    ),
]
Requirement = Annotated[str, AfterValidator(_check_requirement), Field(title="requirement")]
Wheel = Annotated[str, AfterValidator(_check_wheel), Field(title="wheel")]
Sha256 = Annotated[str, AfterValidator(_check_sha256), Field(title="digest")]
DockerfilePath = Annotated[str, AfterValidator(_check_dockerfile), Field(title="path")]
StageName = Annotated[str, AfterValidator(_check_stage), Field(title="stage")]
LoginKey = Annotated[str, AfterValidator(_check_login_key), Field(title="key or path")]
DebianPackage = Annotated[str, AfterValidator(_check_debian_package), Field(title="package")]
Duration = Annotated[
    int,
    BeforeValidator(parse_duration),
    WithJsonSchema({"title": "duration", "type": ["string", "integer"], "pattern": "^[0-9]+[smhd]$"}),
]
PersonName = Annotated[str, AfterValidator(check_person_name), Field(title="name")]
AsMapping = BeforeValidator(_parse_mapping)
AsPeople = BeforeValidator(_parse_people)  # a mapping, or only the names
AsTuple = BeforeValidator(_parse_list)  # for Annotated[tuple[…], AsTuple]: YAML and JSON know only lists
