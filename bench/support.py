"""What several measures need: where things are, free ports, servers that are ready, and nginx's configuration."""
import os
import pathlib
import re
import socket
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "millrace"
LENGTH = re.compile(rb"content-length: (\d+)", re.I)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def is_whole(answer):
    """Whether these bytes hold an HTTP answer to its end, which its content-length tells."""
    head, end, body = answer.partition(b"\r\n\r\n")
    length = LENGTH.search(head) if end else None
    return length is not None and len(body) >= int(length[1])


def wait_until_ready(url, seconds=20):
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{url} did not become ready within {seconds} s")


def nginx_config(folder, port, upstreams, method=""):
    """The path of a configuration over these upstreams; `method` holds the directives that choose among them."""
    servers = "\n".join(f"    server 127.0.0.1:{upstream};" for upstream in upstreams)
    path = folder / f"nginx-{port}.conf"
    path.write_text(f"""
worker_processes 2;
pid {folder}/nginx-{port}.pid;
error_log {folder}/error.log;
daemon off;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  upstream workers {{
    {method}
{servers}
    keepalive 128; keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://workers; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
""")
    return path
