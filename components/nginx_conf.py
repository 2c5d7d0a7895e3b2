"""The configuration of nginx in front of the stack's web services. Text from plain values; declares nothing."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stack import tls

FOLDER = "/run/tls"
PEM = f"{FOLDER}/{tls.PEM}"
# What every server has in common. HSTS is not set: it would hold for all ports of a host name, also those without TLS.
COMMON = f"""\
daemon off;
pid /tmp/nginx.pid;
error_log /dev/stderr crit;
worker_processes 2;

events {{
    worker_connections 2048;
}}

http {{
    server_tokens off;
    client_body_temp_path /tmp/client-body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    scgi_temp_path /tmp/scgi;
    uwsgi_temp_path /tmp/uwsgi;

    # What went well is of no interest. Only paths: queries may hold tokens, and lines of the error log have them.
    map $status $failed {{
        ~^[1-4] 0;
        default 1;
    }}
    log_format short '$remote_addr "$request_method $host:$server_port$uri" $status $request_time s';
    access_log /dev/stdout short if=$failed;

    # Chain and key are one file, so that the two change at once.
    ssl_certificate {PEM};
    ssl_certificate_key {PEM};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20;
    ssl_prefer_server_ciphers off;
    ssl_session_cache shared:tls:2m;
    ssl_session_timeout 1h;
    ssl_session_tickets off;
    http2 on;

    # Docker's own resolver: a service may start later, and have another address then.
    resolver 127.0.0.11 valid=5s ipv6=off;
    map $http_upgrade $connection_upgrade {{
        default upgrade;
        "" close;
    }}
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Host $http_host;
    proxy_set_header X-Forwarded-Proto https;
    proxy_redirect http://$http_host/ https://$http_host/;
    # Artifacts and media are larger than memory, and events must not wait.
    client_max_body_size 0;
    proxy_request_buffering off;
    proxy_buffering off;
    # What is passed on at once. With nginx's default, a page of memory, downloads take half as long again as with this.
    # nginx refuses so large a first buffer where the others, which are not used, are as small as by default.
    proxy_buffer_size 32k;
    proxy_buffers 8 16k;
    proxy_connect_timeout 5s;
    proxy_read_timeout 1d;
    proxy_send_timeout 1d;
    client_body_timeout 1h;
    send_timeout 1h;
"""


@dataclass(frozen=True, kw_only=True)
class FrontEnd:
    """A web service, and the port that people know."""

    service: str
    port: int  # inside its own container
    published: int  # of this host, and of nginx
    origins: tuple[str, ...] | None = None  # of the only pages that may use it; None: it sees to that itself


def configuration(front_ends: Sequence[FrontEnd], *, ping: int) -> str:
    """The whole file. ``ping`` is the port of the health check, on the container's loopback."""
    return "\n".join((COMMON, *_maps(front_ends), *map(_server, front_ends), _ping(ping), "}\n"))


def _maps(front_ends: Sequence[FrontEnd]) -> Iterator[str]:
    """For each service with origins, whether a request is of a foreign page: neither its own, nor of a known one."""
    for one in front_ends:
        if one.origins is not None:
            known = "".join(f'        "~^{re.escape(origin)} " 0;\n' for origin in one.origins)
            yield (
                f'    map "$http_origin $http_host" ${_foreign(one)} {{\n'
                '        "~^ " 0;\n'
                '        "~^https://(\\S+) \\1$" 0;\n'
                f"{known}"
                "        default 1;\n"
                "    }\n"
            )


def _foreign(one: FrontEnd) -> str:
    return f"foreign_{one.published}"


def _server(one: FrontEnd) -> str:
    refusal = "" if one.origins is None else f"        if (${_foreign(one)}) {{\n            return 403;\n        }}\n"
    return (
        f"    # {one.service}\n"
        "    server {\n"
        f"        listen {one.published} ssl;\n"
        "        # Plain HTTP on the port of TLS: old links and bookmarks.\n"
        "        error_page 497 =308 https://$http_host$request_uri;\n"
        f"        set $upstream http://{one.service}:{one.port};\n"
        f"{refusal}"
        "        location / {\n"
        "            proxy_pass $upstream;\n"
        "        }\n"
        "    }\n"
    )


def _ping(port: int) -> str:
    return (
        "    server {\n"
        f"        listen 127.0.0.1:{port};\n"
        "        location = /ping {\n"
        "            default_type text/plain;\n"
        '            return 200 "pong\\n";\n'
        "        }\n"
        "    }\n"
    )
