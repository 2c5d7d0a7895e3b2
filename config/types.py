"""The value types of stack config: ports, quantities, addresses, references.

Each type turns what YAML or ``pulumi config set --path`` delivers (which writes ``1.5`` as text) into one Python type,
or refuses it with a reason in words and an example that would be accepted. No type looks at another key or at the host.
"""

import ipaddress
import math
import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
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
MOST_ENTRIES = 1000  # of a list or a mapping

_QUANTITY = re.compile(r"(\d{1,20}(?:\.\d{1,9})?) ?([kmgt]?)(?:i?b)?", re.IGNORECASE | re.ASCII)
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


def _parse_cpus(value: object) -> float:
    try:
        number = Decimal(str(value)) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except (InvalidOperation, ValueError):  # no number, or an integer too long to print
        number = None
    if number is None or not number.is_finite():
        raise refuse("must be a number of CPU cores, such as 2 or 0.5")
    if not 0 < number <= LARGEST_CPUS:
        raise refuse(f"must be more than 0 and at most {LARGEST_CPUS} CPU cores")
    if number != round(number, 2):
        raise refuse("must have at most two decimals, since Docker counts hundredths", round(number, 2) or 0.1)
    return float(number)


def _parse_share(value: object) -> float:
    try:
        share = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        share = math.nan
    if not 0 <= share <= 1:
        raise refuse("must be a share from 0 to 1, such as 0.25")
    return share


def _parse_seconds(value: object) -> float:
    try:
        seconds = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        seconds = math.nan
    if not 0.1 <= seconds <= 60:
        raise refuse("must be a number of seconds from 0.1 to 60")
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
    if value.endswith(("-ray-cpu", "-ray-gpu", "-ray-head")):
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
DebianPackage = Annotated[str, AfterValidator(_check_debian_package), Field(title="package")]
AsMapping = BeforeValidator(_parse_mapping)
AsTuple = BeforeValidator(_parse_list)  # for Annotated[tuple[…], AsTuple]: YAML and JSON know only lists
