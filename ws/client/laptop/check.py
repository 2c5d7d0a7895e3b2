"""Says what works between this computer and the stack, and what to do about the rest. `./check` starts it."""

import base64
import configparser
import json
import os
import socket
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SECONDS = 10.0
OK, UNAUTHORIZED, FORBIDDEN, SERVER_ERROR = 200, 401, 403, 500  # of HTTP
CREDENTIALS = ".mlflow/credentials"  # in the home folder, of MLflow's client
OTHERS = 0o077  # rights of people besides the file's owner
# HTTP/2, which gRPC is made of: a client opens with these words and a frame of settings, a server with such a frame.
PREFACE, EMPTY_SETTINGS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
FRAME_HEADER, TYPE_AT, SETTINGS = 9, 3, 4  # bytes of it, and the place and value of its type
SYNC = "Make the environment again: uv sync (without uv: README.md, step 1)"
NEW_BUNDLE = "Ask for a new bundle (`ws client`), copy its files over these, and run: uv sync"
ASK = "Ask the operator of the stack: `ws ps` on its host says what is wrong"


class Failed(Exception):  # noqa: N818 (a result, not a defect)
    """Something does not work. Its texts: why, and what to do."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True)
class Service:
    """One service of the stack."""

    name: str
    title: str
    url: str
    tunnel: bool


@dataclass(frozen=True)
class Bundle:
    """The folder that this file is in."""

    folder: Path
    host: str
    python: str
    packages: Mapping[str, str]
    services: tuple[Service, ...]

    @classmethod
    def read(cls, folder: Path) -> "Bundle":
        """Reads what `ws client` wrote."""
        facts: dict[str, Any] = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
        return cls(
            folder=folder,
            host=facts["host"],
            python=facts["python"],
            packages=facts["packages"],
            services=tuple(Service(**one) for one in facts["services"]),
        )

    @property
    def token_file(self) -> Path:
        """The file with Ray's token. Raises `Failed`."""
        file = self.folder / "ray-token"
        if not file.is_file():
            raise Failed(f"{file.name} is missing", NEW_BUNDLE)
        return file

    def of_ray(self) -> "ssl.SSLContext | None":
        """How Ray Client shows its certificate; None where Ray has no TLS of its own."""
        authority, certificate, key = (self.folder / f"ray-{name}" for name in ("authority.pem", "tls.pem", "tls.key"))
        if not certificate.is_file():
            return None
        context = ssl.create_default_context(cafile=authority)
        context.load_cert_chain(certificate, key)
        context.set_alpn_protocols(["h2"])
        return context


def check_versions(bundle: Bundle) -> str:
    """Python and packages of this environment, which must be the cluster's."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if own != bundle.python:
        raise Failed(f".venv has Python {own}, and the cluster {bundle.python}", f"Remove .venv. {SYNC}")
    for name, wanted in bundle.packages.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            raise Failed(f".venv lacks {name} {wanted}", SYNC) from None
        if found != wanted:
            raise Failed(f".venv has {name} {found}, and the cluster {wanted}", SYNC)
    return ", ".join([f"Python {own}", *(f"{name} {wanted}" for name, wanted in bundle.packages.items())])


def check_token_file(bundle: Bundle) -> str:
    """The file with the token, which nobody else may read."""
    file = bundle.token_file
    if file.stat().st_mode & OTHERS:
        raise Failed(
            f"other people of this computer can read {file.name}",
            f"chmod 700 '{bundle.folder}' && chmod 600 '{file}' (no use below /mnt/c of WSL2: move the folder)",
        )
    return "only you can read it"


def check_dashboard(service: Service, bundle: Bundle) -> str:
    """The Jobs API, the token, and the cluster's version of Ray."""
    status, text = ask(f"{service.url}/api/version", service, bundle, token=bundle.token_file.read_text().strip())
    if status in (UNAUTHORIZED, FORBIDDEN):
        raise Failed("the cluster refuses the token of this bundle", NEW_BUNDLE)
    try:
        found = str(json.loads(text)["ray_version"])
    except (ValueError, KeyError, TypeError):
        raise Failed(f"{service.url} answers with status {status}, and is not Ray's dashboard", ASK) from None
    wanted = bundle.packages["ray"]
    if found != wanted:
        raise Failed(f"the cluster has Ray {found}, and this bundle {wanted}", NEW_BUNDLE)
    return f"Ray {found}, accepts the token"


def check_client(service: Service, bundle: Bundle) -> str:
    """Ray Client: whether a gRPC server answers. Ray checks token and versions itself when a program connects."""
    address = urlsplit(service.url)
    context = bundle.of_ray()
    with reaching(service, bundle), ExitStack() as open_ones:
        connection = open_ones.enter_context(socket.create_connection((address.hostname, address.port), SECONDS))
        if context:
            try:
                secure = context.wrap_socket(connection, server_hostname=address.hostname)
                connection = open_ones.enter_context(secure)
            except ssl.SSLCertVerificationError as error:
                reason = f"Ray's certificate is not good for {address.hostname} ({error.verify_message})"
                raise Failed(reason, NEW_BUNDLE) from None
        connection.sendall(PREFACE + EMPTY_SETTINGS)
        answer = b""
        while len(answer) < FRAME_HEADER and (more := connection.recv(FRAME_HEADER - len(answer))):
            answer += more
    if len(answer) < FRAME_HEADER:
        raise unreached(service, bundle, "the connection was closed")
    if answer[TYPE_AT] != SETTINGS:
        raise Failed(f"{service.url} answers, but is not a Ray Client server", ASK)
    return "answers"


def check_mlflow(service: Service, bundle: Bundle) -> str:
    """MLflow's API, which checks under which name it is asked, and by whom where it has logins."""
    login, source = mlflow_login(Path.home() / CREDENTIALS, os.environ)
    status, text = ask(f"{service.url}/version", service, bundle, authorization=login)
    if status == UNAUTHORIZED and login:
        raise Failed(
            f"MLflow refuses the name and password in {source}",
            "Correct them, or ask the operator of the stack for another password: ws user password NAME",
        )
    if status == UNAUTHORIZED:
        raise Failed(
            "MLflow wants a login, and you have none here",
            f"Ask the operator of the stack for an account (ws user add NAME), and write it to ~/{CREDENTIALS}: "
            "README.md, step 3",
        )
    if status == FORBIDDEN:
        name = urlsplit(service.url).hostname
        remedy = f"Ask the operator of the stack to set network.names to [{name}], and to run `ws up`"
        raise Failed(f"MLflow refuses requests for {name}", remedy)
    if status != OK:
        raise Failed(f"{service.url} answers with status {status}", ASK)
    return f"MLflow {text.strip()}"


def mlflow_login(file: Path, environment: Mapping[str, str]) -> tuple[str, str]:
    """The header with which MLflow's client logs in, and where it is from; empty without a login. Raises `Failed`."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(file, encoding="utf-8")
    except (OSError, ValueError, configparser.Error) as error:
        raise Failed(
            f"~/{CREDENTIALS} cannot be read: {str(error).splitlines()[0]}", "Write it as README.md says"
        ) from None
    source, values = f"~/{CREDENTIALS}", []
    for name in ("mlflow_tracking_username", "mlflow_tracking_password"):
        set_here = environment.get(name.upper(), "")
        source = name.upper() if set_here else source
        values.append(set_here or parser.get("mlflow", name, fallback=""))
    return (f"Basic {base64.b64encode(':'.join(values).encode()).decode()}", source) if all(values) else ("", "")


def check_page(service: Service, bundle: Bundle) -> str:
    """A page for people: whether anything answers."""
    status, _ = ask(f"{service.url}/", service, bundle)
    if status >= SERVER_ERROR:
        raise Failed(f"{service.url} answers with status {status}", ASK)
    return "answers"


def check_queue(service: Service, bundle: Bundle) -> str:
    """The queue, and whether it can start jobs."""
    status, text = ask(f"{service.url}/api/v1/queue", service, bundle, token=bundle.token_file.read_text().strip())
    if status in (UNAUTHORIZED, FORBIDDEN):
        raise Failed("the queue refuses the token of this bundle", NEW_BUNDLE)
    try:
        found = json.loads(text)
        counts = f"{len(found['running'])} jobs run, {len(found['waiting'])} wait"
        answers, reason = found["ray_answers"], found["ray_message"]
    except (ValueError, KeyError, TypeError):
        raise Failed(f"{service.url} answers with status {status}, but not as a working queue does", ASK) from None
    if not answers:
        raise Failed(f"the queue answers, but starts no jobs at the moment: {reason}", ASK)
    return counts


CHECKS: Mapping[str, Callable[[Service, Bundle], str]] = {
    "home": check_page,
    "dashboard": check_dashboard,
    "client": check_client,
    "mlflow": check_mlflow,
    "notebooks": check_page,
    "queue": check_queue,
}


@contextmanager
def reaching(service: Service, bundle: Bundle) -> Iterator[None]:
    """Says of a service that cannot be reached what to do about it."""
    try:
        yield
    except (OSError, HTTPException) as error:
        raise unreached(service, bundle, str(getattr(error, "reason", error) or error)) from None


def unreached(service: Service, bundle: Bundle, reason: str) -> Failed:
    """What to say of a service that does not answer."""
    refused = "refused" in reason.lower()
    if service.tunnel and refused:
        return Failed(f"nothing answers at {service.url}", "Start the tunnel in another terminal: ./tunnel")
    if service.tunnel:
        return Failed(f"the tunnel is open, but nothing answers behind {service.url} ({reason})", ASK)
    remedy = f"Are you in the network of {bundle.host} (VPN)? If so: {ASK[0].lower()}{ASK[1:]}"
    return Failed(f"nothing answers at {service.url} ({reason})", remedy)


def ask(url: str, service: Service, bundle: Bundle, token: str = "", authorization: str = "") -> tuple[int, str]:
    """Status and text of an answer. Raises `Failed` where there is none."""
    authorization = f"Bearer {token}" if token else authorization
    request = urllib.request.Request(url, headers={"Authorization": authorization} if authorization else {})  # noqa: S310
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy reaches a tunnel
    with reaching(service, bundle):
        try:
            with opener.open(request, timeout=SECONDS) as answer:
                return answer.status, answer.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode(errors="replace")


def results(bundle: Bundle) -> Iterator[tuple[str, str | Failed]]:
    """What was checked, and what came out."""
    checks: list[tuple[str, Callable[[], str]]] = [("Python environment", partial(check_versions, bundle))]
    if "ray" in bundle.packages:
        checks.append(("token", partial(check_token_file, bundle)))
    checks += [(one.title, partial(CHECKS[one.name], one, bundle)) for one in bundle.services]
    for title, check in checks:
        try:
            yield title, check()
        except Failed as failed:
            yield title, failed


def main() -> int:
    """Prints a line for each check. Returns 1 if one failed."""
    failed = False
    for title, result in results(Bundle.read(Path(__file__).resolve().parent)):
        if isinstance(result, Failed):
            failed = True
            print(f"FAIL  {title}: {result.reason}\n      {result.remedy}", flush=True)
        else:
            print(f"ok    {title}: {result}", flush=True)
    if not failed and not os.environ.get("RAY_AUTH_TOKEN_PATH"):
        print("In each terminal, before you use Ray or MLflow:  . ./environment")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
