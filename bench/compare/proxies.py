"""The proxies and their configurations: one processor, connections kept on both sides, no log of requests, nothing else asked."""
from environments import program
from process import free_port


def start_floor_proxy(machine, upstreams):
    port = free_port()
    names = ",".join(f"127.0.0.1:{upstream}" for upstream in upstreams)
    return port, machine.start("floor-proxy", [machine.tools / "floor-proxy", "--listen", f"127.0.0.1:{port}", "--upstreams", names])


def start_nginx(machine, upstreams):
    port = free_port()
    folder = machine.folder / f"nginx-{port}"
    folder.mkdir()
    servers = " ".join(f"server 127.0.0.1:{upstream};" for upstream in upstreams)
    (folder / "nginx.conf").write_text(f"""
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
daemon off;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  client_body_buffer_size 1m; proxy_buffers 16 16k;
  upstream servers {{ {servers} keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://servers; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
""")
    return port, machine.start("nginx", [program("nginx"), "-c", folder / "nginx.conf", "-p", folder])


def start_haproxy(machine, upstreams):
    port = free_port()
    servers = "\n".join(f"  server s{number} 127.0.0.1:{upstream}" for number, upstream in enumerate(upstreams))
    path = machine.folder / f"haproxy-{port}.cfg"
    path.write_text(f"""
global
  nbthread 1
  maxconn 4000
defaults
  mode http
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend front
  bind 127.0.0.1:{port} backlog 4096
  default_backend servers
backend servers
  balance roundrobin
{servers}
""")
    return port, machine.start("haproxy", [program("haproxy"), "-db", "-f", path])


def start_caddy(machine, upstreams):
    port = free_port()
    path = machine.folder / f"Caddyfile-{port}"
    servers = " ".join(f"127.0.0.1:{upstream}" for upstream in upstreams)
    path.write_text(f"""{{
  admin off
  auto_https off
}}
http://:{port} {{
  bind 127.0.0.1
  reverse_proxy {servers} {{
    lb_policy round_robin
    transport http {{
      keepalive_idle_conns 2048
      keepalive_idle_conns_per_host 1024
    }}
  }}
}}
""")
    folders = {"GOMAXPROCS": "1", "XDG_DATA_HOME": str(machine.folder), "XDG_CONFIG_HOME": str(machine.folder)}
    return port, machine.start("caddy", [program("caddy"), "run", "--adapter", "caddyfile", "--config", path], environment=folders)
