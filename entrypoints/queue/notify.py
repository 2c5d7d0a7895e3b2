"""Tells users about their jobs: by Slack, Discord, a webhook of their own, or mail.

A message is a file until it was delivered, so that it survives a restart. What fails is tried again for a day. Nothing
waits for it. Addresses of webhooks are secrets: they are in the environment, and in no message or log.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import smtplib
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from contracts.document import DocumentError, dump, encode, load
from contracts.queue import Channel, Event, JobView, QueueSettings

SECONDS = 15.0  # for one delivery
PAUSES = (10.0, 60.0, 300.0, 1800.0)  # seconds before further attempts; then as the last
LONGEST = 86400.0  # seconds, after which a message is given up
TLS_PORT = "465"  # of mail servers that speak TLS from the beginning
MOST = 10_000  # messages that wait; more would only be noise
TITLES: Mapping[Event, str] = {"succeeded": "succeeded", "failed": "failed", "waiting long": "waits for long"}
MARKS: Mapping[Event, str] = {"succeeded": "✅", "failed": "❌", "waiting long": "⏳"}


class DeliveryError(Exception):
    """A message was not delivered; the text says why without its address."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """What is told, and where."""

    channel: Channel
    user: str
    event: Event
    job: JobView
    stack: str
    written: float


class Notifier:
    """Keeps messages in a folder and delivers them."""

    def __init__(
        self,
        settings: QueueSettings,
        folder: Path,
        say: Callable[[str], None],
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._say = say
        self._environment = environment
        self._tried: dict[str, tuple[int, float]] = {}  # file → attempts, and when the next is due
        self._new = asyncio.Event()
        folder.mkdir(parents=True, exist_ok=True)

    def tell(self, user: str, event: Event, job: JobView) -> None:
        """Tell a user, wherever they want to know that. Told again before it was delivered, it is one message."""
        settings = self._settings.users.get(user)
        job = replace(job, submission=replace(job.submission, environment={}))  # it may hold secrets
        for index, channel in enumerate(settings.tell if settings else ()):
            if event in channel.events:
                message = Message(
                    channel=channel, user=user, event=event, job=job, stack=self._settings.stack, written=time.time()
                )
                self._keep(f"{job.id}-{len(job.attempts)}-{event.replace(' ', '-')}-{index}.json", message)
        self._new.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver, for as long as it is entered."""
        task = asyncio.create_task(self._deliver_all())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _keep(self, name: str, message: Message) -> None:
        try:
            if sum(1 for _ in self._folder.iterdir()) >= MOST:
                self._say(f"{MOST} messages wait for their delivery already: {name} is not kept")
                return
            part = self._folder / f"{name}.part"
            part.write_text(dump(message), encoding="utf-8")
            part.rename(self._folder / name)
        except OSError as error:
            self._say(f"message {name} cannot be kept: {error.strerror}")

    async def _deliver_all(self) -> None:
        while True:
            self._new.clear()
            now = time.time()
            names = sorted(path.name for path in self._folder.glob("*.json"))
            due = [name for name in names if self._tried.get(name, (0, 0.0))[1] <= now]
            await asyncio.gather(*(self._try(name) for name in due[:8]))
            if len(due) <= 8:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._new.wait(), PAUSES[0])

    async def _try(self, name: str) -> None:
        path = self._folder / name
        tries = self._tried.get(name, (0, 0.0))[0]
        try:
            message = load(Message, path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, DocumentError) as error:
            self._say(f"message {name} cannot be read, and is dropped: {error}")
            self._tried.pop(name, None)
            path.unlink(missing_ok=True)
            return
        try:
            await asyncio.to_thread(deliver, message, self._settings, self._environment)
        except Exception as error:  # noqa: BLE001 - whatever a server answers, the messages to others must go
            error = error if isinstance(error, DeliveryError) else DeliveryError(type(error).__name__)
            if time.time() - message.written < LONGEST:
                pause = PAUSES[min(tries, len(PAUSES) - 1)]
                self._tried[name] = (tries + 1, time.time() + pause)
                self._say(f"message {name} was not delivered, next attempt in {pause:.0f} s: {error}")
                return
            self._say(f"message {name} was not delivered within a day, and is dropped: {error}")
        self._tried.pop(name, None)
        path.unlink(missing_ok=True)


def deliver(message: Message, settings: QueueSettings, environment: Mapping[str, str]) -> None:
    """Deliver a message. Raises DeliveryError."""
    channel = message.channel
    if channel.kind == "mail":
        _mail(message, settings, environment)
        return
    url = environment.get(channel.target)
    if not url:
        raise DeliveryError(f"the environment variable {channel.target} is not set; it holds the webhook's address")
    _post(url, FORMS[channel.kind](message))


def subject(message: Message) -> str:
    """One line."""
    return f"{message.stack}: job {message.job.id} {TITLES[message.event]}: {message.job.submission.title}"


def details(message: Message) -> list[str]:
    """Further lines."""
    job = message.job
    lines = [job.why] if message.event == "waiting long" and job.why else []
    if job.started and job.ended:
        lines.append(f"It ran for {_hours(job.ended - job.started)}.")
    if message.event == "failed":
        lines += [f"Outcome: {job.outcome}.", *([job.message[:1000]] if job.message else [])]
        lines.append(f"Its output: ws job logs {job.id}. Retry: ws job retry {job.id}")
    return lines


def _hours(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def _text(message: Message) -> str:
    return "\n".join((f"{MARKS[message.event]} {subject(message)}", *details(message)))


def slack(message: Message) -> dict[str, Any]:
    """Slack's form."""
    return {"text": _text(message).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")[:3000]}


def discord(message: Message) -> dict[str, Any]:
    """Discord's form: it mentions nobody, whatever a job is called."""
    return {"content": _text(message)[:2000], "allowed_mentions": {"parse": []}}


def webhook(message: Message) -> dict[str, Any]:
    """All that is known, for programs."""
    told = {"stack": message.stack, "user": message.user, "event": message.event, "text": _text(message)}
    return {**told, "job": encode(message.job)}


FORMS: Mapping[str, Callable[[Message], dict[str, Any]]] = {"slack": slack, "discord": discord, "webhook": webhook}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Whoever is led elsewhere would be told there what is meant for here."""


def _post(url: str, body: dict[str, Any]) -> None:
    if not url.startswith(("https://", "http://")):
        raise DeliveryError("the webhook's address is no URL")
    try:
        request = urllib.request.Request(  # noqa: S310 - http(s)
            url, json.dumps(body).encode(), {"Content-Type": "application/json", "User-Agent": "cslr-queue"}
        )
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=SECONDS):
            return
    except urllib.error.HTTPError as error:
        error.close()
        raise DeliveryError(f"the webhook answers with HTTP {error.code}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None)
        raise DeliveryError(f"the webhook does not answer: {type(reason or error).__name__}") from None


def _mail(message: Message, settings: QueueSettings, environment: Mapping[str, str]) -> None:
    if not settings.smtp or not settings.mail_from:
        raise DeliveryError("the stack has no mail server: set queue.mail")
    mail = EmailMessage()
    mail["From"], mail["To"] = settings.mail_from, message.channel.target
    # A header's encoded words are decoded when it is set, line ends included: a job's name could add headers.
    mail["Subject"] = subject(message).replace("=?", "= ?")
    mail.set_content("\n\n".join((subject(message), *details(message))) + "\n")
    host, _, port = settings.smtp.rpartition(":")
    try:
        context = ssl.create_default_context()
        made = (
            smtplib.SMTP_SSL(host, int(port), timeout=SECONDS, context=context)
            if port == TLS_PORT
            else smtplib.SMTP(host, int(port), timeout=SECONDS)
        )
        with made as server:
            server.ehlo()
            if port != TLS_PORT and server.has_extn("starttls"):
                server.starttls(context=context)
            if settings.smtp_user:
                server.login(settings.smtp_user, environment.get(settings.smtp_password or "", ""))
            server.send_message(mail)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise DeliveryError(f"the mail server {settings.smtp}: {type(error).__name__}") from None
