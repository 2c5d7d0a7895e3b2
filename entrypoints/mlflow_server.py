"""Starts the MLflow tracking server; runs in its container, one file, standard library only, Python 3.10 or newer.

``mlflow_server.py gc OPTION...`` runs `mlflow gc` on the server's data, while the server runs.

Runs and models are kept in Postgres, artifacts in /mlflow/artifacts and served through MLflow. Reads
/run/secrets/postgres-mlflow. With /run/secrets/mlflow-admin-password every request needs a login: accounts are in
Postgres too, and those of the platform have the passwords of the mounted files after each start.
/run/secrets/mlflow-gateway-key encrypts what people enter for MLflow's gateway (mlflow_gateway.py, beside this file).
Health: GET :5000/health. Environment, besides MLflow's own:
MLFLOW_DATABASE (mlflow@postgres:5432/mlflow), MLFLOW_ARTIFACTS, MLFLOW_WORKERS (2), MLFLOW_DEADLINE (120 seconds for
Postgres).
"""

import hashlib
import hmac
import importlib
import importlib.util
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

DATABASE = os.environ.get("MLFLOW_DATABASE", "mlflow@postgres:5432/mlflow")
ARTIFACTS = Path(os.environ.get("MLFLOW_ARTIFACTS", "/mlflow/artifacts"))
PASSWORD_FILE = Path(os.environ.get("POSTGRES_PASSWORD_FILE", "/run/secrets/postgres-mlflow"))
SECRETS = Path(os.environ.get("MLFLOW_SECRETS", "/run/secrets"))
GATEWAY_KEY = "mlflow-gateway-key"  # the present one, and below it former ones
PASSPHRASE, PASSPHRASE_VERSION = "MLFLOW_CRYPTO_KEK_PASSPHRASE", "MLFLOW_CRYPTO_KEK_VERSION"  # MLflow's variables
ADMIN = "admin"
APP = "cslr-logins"  # mlflow_rights.py, as MLflow knows it
# Account → file in SECRETS. The first has all rights; tasks, notebooks and services use the other one.
ACCOUNTS = {ADMIN: "mlflow-admin-password", "platform": "mlflow-password"}
# EDIT: whoever logs in reads everything and logs to every experiment; who made an experiment, or an admin, deletes it.
# The cache: without it, each request hashes the password, which takes longer than most requests.
LOGIN_SETTINGS = """\
[mlflow]
default_permission = EDIT
database_uri = {database}
admin_username = {admin}
auth_cache_ttl_seconds = 60
"""
DEADLINE = float(os.environ.get("MLFLOW_DEADLINE", "120"))
# Postgres drivers and their SQLAlchemy names: plain "postgresql" means another driver since SQLAlchemy 2.1.
DRIVERS = {"psycopg": "postgresql+psycopg", "psycopg2": "postgresql+psycopg2"}
DEFAULTS = {
    "HOME": tempfile.gettempdir(),
    "MLFLOW_WORKERS": "2",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # MLflow answers 403 to any other Host header (against DNS rebinding). Its own default has patterns of private
    # addresses, which names such as 10.evil.example match, and lacks the name in our network.
    "MLFLOW_SERVER_ALLOWED_HOSTS": "localhost,localhost:*,127.0.0.1,127.0.0.1:*,mlflow:5000",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # processes for GenAI evaluations, which do not run here
}


class MlflowError(Exception):
    """MLflow cannot start; the message is one sentence."""


def say(message: str) -> None:
    """Print one line for the container's log."""
    print(f"[mlflow] {message}", flush=True)


def read_secret(file: Path, whose: str) -> str:
    """Return the password in a file; raise MlflowError if there is none."""
    try:
        password = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise MlflowError(f"{file} cannot be read: {error.strerror}; mount the secret.") from None
    if not password:
        raise MlflowError(f"{file} is empty; write the password of {whose} into it.")
    return password


def write_password_file() -> Path:
    """Write the password to libpq's file (PGPASSFILE), readable by this user only, to keep it out of the URI."""
    escaped = read_secret(PASSWORD_FILE, "Postgres").replace("\\", "\\\\").replace(":", "\\:")
    path = Path(tempfile.gettempdir()) / "mlflow.pgpass"
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(f"*:*:*:*:{escaped}\n", encoding="utf-8")
    return path


def make_upload_folder() -> Path:
    """Make an empty folder for uploads in progress, on the artifacts' disk because /tmp is small and in memory."""
    folder = ARTIFACTS / ".uploads"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(exist_ok=True)
    return folder


def find_driver() -> str:
    """Return the installed Postgres driver's module name."""
    for driver in DRIVERS:
        if importlib.util.find_spec(driver):
            return driver
    raise MlflowError(
        f"This image has none of {', '.join(DRIVERS)}, so MLflow cannot reach Postgres; use another image."
    )


def wait_for_postgres(driver: str) -> None:
    """Log in until it works; raise MlflowError at a wrong password and after DEADLINE seconds."""
    connector: Any = importlib.import_module(driver)
    began = reported = time.monotonic()
    while True:
        try:
            connector.connect(f"postgresql://{DATABASE}", connect_timeout=3).close()
        except connector.OperationalError as error:
            reason = str(error).strip().splitlines()[-1]
        else:
            return
        if "password authentication failed" in reason:
            raise MlflowError(f"Postgres refuses the password in {PASSWORD_FILE}; restart Postgres to have it set.")
        now = time.monotonic()
        if now - began > DEADLINE:
            raise MlflowError(f"Postgres does not answer within {DEADLINE:.0f} s ({reason}); see the log of Postgres.")
        if now - reported > 10:
            reported = now
            say(f"still waiting for Postgres after {now - began:.0f} s: {reason}")
        time.sleep(0.5)


def schema_of(driver: str) -> str | None:
    """Return the revision of the tables in Postgres; None for a new database."""
    connector: Any = importlib.import_module(driver)
    with connector.connect(f"postgresql://{DATABASE}", connect_timeout=3) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT to_regclass('public.alembic_version')")
        if cursor.fetchone()[0] is None:
            return None
        cursor.execute("SELECT version_num FROM alembic_version")
        found = cursor.fetchone()
    return str(found[0]) if found else None


def upgrade_tables(driver: str) -> None:
    """Bring tables of an older MLflow up to this one, which would refuse them; raise MlflowError for a newer one's."""
    found = schema_of(driver)
    package = importlib.util.find_spec("mlflow")
    migrations = Path(package.origin or "").parent / "store/db_migrations" if package else Path()
    if found is None or not (migrations / "versions").is_dir():
        return
    from alembic.script import ScriptDirectory  # type: ignore[import-not-found]

    scripts = ScriptDirectory(str(migrations))
    if found == scripts.get_current_head():
        return
    if found not in {one.revision for one in scripts.walk_revisions()}:
        raise MlflowError(
            f"The tables in Postgres are of a newer MLflow (schema {found}), which this one cannot read: use its image "
            "again, or restore the dump from before it with `ws mlflow restore`."
        )
    say(f"bringing the tables of an older MLflow (schema {found}) up to date")
    address = f"{DRIVERS[driver]}://{DATABASE}"
    done = subprocess.run([sys.executable, "-m", "mlflow", "db", "upgrade", address], check=False)
    if done.returncode:
        raise MlflowError("The tables could not be brought up to date; the lines above say why. Nothing was lost.")
    say("the tables are up to date")


def store(driver: str) -> list[str]:
    """Return the options that say where runs and artifacts are kept."""
    return [f"--backend-store-uri={DRIVERS[driver]}://{DATABASE}", f"--artifacts-destination={ARTIFACTS}"]


def has_logins() -> bool:
    """Whether requests need a login."""
    return (SECRETS / ACCOUNTS[ADMIN]).exists()


def prepare_logins(driver: str) -> None:
    """Give the platform's accounts the passwords of the files, and tell MLflow how to check logins.

    MLflow itself makes its first account only once, so that it would keep the password from before a rotation.
    """
    passwords = {name: read_secret(SECRETS / file, f"the account {name}") for name, file in ACCOUNTS.items()}
    if not importlib.util.find_spec("flask_wtf"):
        raise MlflowError(
            "This image has no Flask-WTF, which MLflow needs for logins; use one with mlflow[auth], or set "
            "mlflow.logins to false."
        )
    settings = Path(tempfile.gettempdir()) / "mlflow-logins.ini"
    settings.write_text(LOGIN_SETTINGS.format(database=f"{DRIVERS[driver]}://{DATABASE}", admin=ADMIN))
    os.environ["MLFLOW_AUTH_CONFIG_PATH"] = str(settings)
    os.environ["MLFLOW_BASIC_AUTH_FAIL_CLOSED"] = "true"  # a route for which MLflow has no rule is refused
    # Signs the form with which an admin adds an account; the same in all workers.
    os.environ["MLFLOW_FLASK_SERVER_SECRET_KEY"] = hmac.new(
        passwords[ADMIN].encode(), b"mlflow-forms", hashlib.sha256
    ).hexdigest()
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore()
    store.init_db(f"{DRIVERS[driver]}://{DATABASE}")
    for name, password in passwords.items():
        if not store.has_user(name):
            store.create_user(name, password, is_admin=name == ADMIN)
        elif not store.authenticate_user(name, password):
            store.update_user(name, password=password)
        if store.get_user(name).is_admin != (name == ADMIN):
            store.update_user(name, is_admin=name == ADMIN)


def install(module: str) -> Path:
    """Put a module from beside this file where MLflow's processes import from; return that folder."""
    folder = Path(tempfile.gettempdir()) / "mlflow-modules"
    folder.mkdir(exist_ok=True)
    shutil.copyfile(Path(__file__).with_name(module), folder / module)
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, dict.fromkeys((str(folder), *paths))))
    return folder


def send_at_once() -> None:
    """Tell MLflow's uvicorn to send without delay, if it is what serves; options of the user prevail."""
    if importlib.util.find_spec("uvicorn") and "MLFLOW_GUNICORN_OPTS" not in os.environ:
        install("mlflow_http.py")
        options = ("--http=mlflow_http:Protocol", os.environ.get("MLFLOW_UVICORN_OPTS", ""))
        os.environ["MLFLOW_UVICORN_OPTS"] = " ".join(options).strip()


def install_app() -> None:
    """Make APP known to MLflow, by the metadata of a package that has it."""
    metadata = install("mlflow_rights.py") / f"{APP}-1.dist-info"
    metadata.mkdir(exist_ok=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {APP}\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[mlflow.app]\n{APP} = mlflow_rights:create_app\n")
    # What MLflow sets for its own app alone: that `admin` was made, and by what its own jobs log in, in all workers.
    os.environ["_MLFLOW_AUTH_ADMIN_BOOTSTRAPPED"] = "true"
    if os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"].lower() in {"true", "1"}:
        os.environ["_MLFLOW_INTERNAL_GATEWAY_AUTH_TOKEN"] = secrets.token_hex(32)


def prepare_gateway(driver: str) -> None:
    """Give MLflow the key of the stack for its gateway's secrets; one that the user set prevails."""
    if not (SECRETS / GATEWAY_KEY).exists() or os.environ.get(PASSPHRASE):
        return
    gateway: Any = importlib.import_module("mlflow_gateway")  # beside this file
    known = read_secret(SECRETS / GATEWAY_KEY, "MLflow's gateway").split()
    changed, closed = gateway.wrap_again(driver, DATABASE, known, int(os.environ.get(PASSPHRASE_VERSION, "1")))
    if changed:
        say(f"encrypted {changed} secrets of the gateway with the stack's key")
    if closed:
        say(f"warning: no key opens these secrets of the gateway; enter them again: {', '.join(closed)}")
    os.environ[PASSPHRASE] = known[0]


def collect(options: list[str]) -> None:
    """Become `mlflow gc`, which removes artifacts through the server."""
    driver = find_driver()
    if has_logins():
        os.environ["MLFLOW_TRACKING_USERNAME"] = ADMIN
        os.environ["MLFLOW_TRACKING_PASSWORD"] = read_secret(SECRETS / ACCOUNTS[ADMIN], f"the account {ADMIN}")
    os.environ["PGPASSFILE"] = str(write_password_file())
    for key, value in DEFAULTS.items():
        os.environ.setdefault(key, value)
    os.environ["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:5000{os.environ.get('MLFLOW_STATIC_PREFIX', '')}"
    os.chdir(tempfile.gettempdir())
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "gc", *store(driver), *options])  # noqa: S606


def serve() -> None:
    """Become `mlflow server`."""
    if not os.access(ARTIFACTS, os.W_OK | os.X_OK):
        raise MlflowError(
            f"{ARTIFACTS} is not a folder that user {os.getuid()} can write to; mount the artifacts there, and give a "
            f"bind mount to that user: chown {os.getuid()} <folder on the host>."
        )
    driver = find_driver()
    os.environ["PGPASSFILE"] = str(write_password_file())
    for key, value in DEFAULTS.items():
        os.environ.setdefault(key, value)
    wait_for_postgres(driver)
    upgrade_tables(driver)
    send_at_once()
    prepare_gateway(driver)
    options = ["--host=0.0.0.0", "--port=5000", "--serve-artifacts", *store(driver)]
    if has_logins():
        prepare_logins(driver)
        install_app()
        options.append(f"--app-name={APP}")
    os.chdir(tempfile.gettempdir())  # MLflow writes to its working folder, and the image is read-only
    os.environ["TMPDIR"] = str(make_upload_folder())
    say("Postgres answers, starting MLflow")
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "server", *options])  # noqa: S606


def main() -> int:
    """Serve or collect, or print what is missing and return 1."""
    try:
        if sys.argv[1:2] == ["gc"]:
            collect(sys.argv[2:])
        serve()
    except MlflowError as error:
        say(f"error: {error}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
