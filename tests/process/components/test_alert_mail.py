"""The mail that a real Alertmanager sends, with the platform's configuration, to a server with TLS and a login."""

import base64
import datetime
import email.policy
import ipaddress
import json
import os
import socketserver
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from components.alert_routes import GROUP_SECONDS, AlertSecrets, configuration
from config.services import AlertMailSettings, AlertmanagerSettings
from testing.servers import free_port, server_process

PASSWORD = "mail-secret-77d7"
ALERT = {
    "labels": {"alertname": "DiskLow", "severity": "critical", "host": "gpu1", "stack": "gpu"},
    "annotations": {
        "summary": "gpu1 has 9 GB of disk left",
        "description": "Below 10 GB, jobs may fail.",
        "remedy": "`ws matrix --prune`",
    },
}


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail")])
    address = x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "mail.crt", folder / "mail.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return files


class Server(socketserver.ThreadingTCPServer):
    """As much of SMTP as Alertmanager speaks: STARTTLS, then a login, then mails."""

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        self.tls = tls
        self.logins: list[str] = []
        self.recipients: list[str] = []
        self.mails: list[EmailMessage] = []
        self.unprotected: list[str] = []  # what was said without TLS, besides the greeting


class Conversation(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        self._say("220 mail")
        secure = False
        while line := self.rfile.readline().decode().strip():
            word = line.split()[0].upper()
            if word == "EHLO":
                self._say("250-mail", "250 AUTH PLAIN" if secure else "250 STARTTLS")
            elif word == "STARTTLS":
                self._say("220 go on")
                self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
                self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")
                secure = True
            elif not secure:
                self.server.unprotected.append(line)
                self._say("530 TLS first")
            elif word == "AUTH":
                self.server.logins.append(base64.b64decode(line.split()[2]).decode())
                self._say("235 welcome")
            elif word == "DATA":
                self._say("354 go on")
                lines = list(iter(self.rfile.readline, b".\r\n"))
                parser = BytesParser(EmailMessage, policy=email.policy.default)
                self.server.mails.append(parser.parsebytes(b"".join(lines)))
                self._say("250 kept")
            elif word == "QUIT":
                self._say("221 bye")
                return
            else:
                if word == "RCPT":
                    self.server.recipients.append(line.partition("<")[2].partition(">")[0])
                self._say("250 fine")

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())
        self.wfile.flush()


@pytest.fixture(scope="module")
def server(alertmanager, tmp_path_factory) -> Iterator[Server]:
    """After Alertmanager had an alert to tell."""
    port, folder = free_port(), tmp_path_factory.mktemp("mail")
    public, private = certificate(folder)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(public, private)
    with Server(tls) as receiver:
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        mail = AlertMailSettings(
            server=f"127.0.0.1:{receiver.server_address[1]}",
            sender="cslr@example.org",
            to=("group@example.org", "night@example.org"),
            user="cslr",
        )
        file = folder / "alertmanager.yaml"
        secrets = AlertSecrets(mail_password=PASSWORD)
        file.write_text(configuration(AlertmanagerSettings(mail=mail), secrets, proxied=False))
        options = [f"--config.file={file}", f"--storage.path={folder}", "--cluster.listen-address="]
        command = [str(alertmanager), *options, f"--web.listen-address=127.0.0.1:{port}"]
        with server_process(command, port, env={**os.environ, "SSL_CERT_FILE": str(public)}):
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/api/v2/alerts",
                json.dumps([ALERT]).encode(),
                {"Content-Type": "application/json"},
            )
            urllib.request.urlopen(request).close()
            until = time.monotonic() + GROUP_SECONDS + 40
            while not receiver.mails and time.monotonic() < until:
                time.sleep(0.1)
        receiver.shutdown()
        yield receiver


def test_arrives_with_summary_description_and_remedy(server):
    (mail,) = server.mails
    assert mail["Subject"] == "1 firing: DiskLow (gpu)"
    assert (mail["From"], mail["To"]) == ("cslr@example.org", "group@example.org, night@example.org")
    body = mail.get_body(("plain",))
    assert body is not None
    for text in ("critical: gpu1 has 9 GB of disk left", "Below 10 GB, jobs may fail.", "Remedy: `ws matrix --prune`"):
        assert text in body.get_content()


def test_goes_to_everyone(server):
    assert server.recipients == ["group@example.org", "night@example.org"]


def test_logs_in_by_tls_alone(server):
    assert server.logins == [f"\0cslr\0{PASSWORD}"]
    assert server.unprotected == []
