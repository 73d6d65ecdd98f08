"""An FTP server for tests: pyftpdlib, a real implementation of the other side.

Settings come as JSON in the first argument, the port goes to standard output. The
server ends with its standard input. What it tells of data ports is the port of the
fault proxy in front, as a server behind a firewall does it.
"""

import json
import logging
import os
import re
import sys
import threading
import warnings

warnings.simplefilter("ignore")
from pyftpdlib.authorizers import DummyAuthorizer  # noqa: E402
from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler  # noqa: E402
from pyftpdlib.servers import FTPServer  # noqa: E402

settings = json.loads(sys.argv[1])
proxied = {int(k): v for k, v in settings["data_ports"].items()}
logging.disable(logging.CRITICAL)


def announce(text):
    text = re.sub(r"\|\|\|(\d+)\|", lambda m: "|||%d|" % proxied[int(m[1])], text)

    def pasv(m):
        port = proxied[int(m[1]) * 256 + int(m[2])]
        return "(127,0,0,1,%d,%d)" % divmod(port, 256)

    return re.sub(r"\(127,0,0,1,(\d+),(\d+)\)", pasv, text)


class Handler(TLS_FTPHandler if settings["tls"] else FTPHandler):
    passive_ports = list(proxied)
    use_sendfile = False
    auth_failed_timeout = 0

    def respond(self, resp, *args, **kwargs):
        if resp[:3] in ("227", "229"):
            resp = announce(resp)
        return super().respond(resp, *args, **kwargs)


if settings["tls"]:
    Handler.certfile = settings["certificate"]
    Handler.tls_control_required = True
    Handler.tls_data_required = True
if settings["tls"] == "implicit":

    def handle(self):
        self.secure_connection(self.ssl_context)
        TLS_FTPHandler.handle(self)

    def auth(self, line):
        self.respond("503 TLS began with the connection.")

    Handler.handle, Handler.ftp_AUTH = handle, auth
if settings["old"]:  # a server that knows neither machine-readable lists nor extended passive mode
    for name in ("EPSV", "MLSD", "MLST"):
        Handler.proto_cmds = {k: v for k, v in Handler.proto_cmds.items() if k != name}

users = DummyAuthorizer()
users.add_user("brand", settings["password"], settings["root"], perm="elradfmw")
Handler.authorizer = users
server = FTPServer(("127.0.0.1", 0), Handler)
print(server.address[1], flush=True)


def leave():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=leave, daemon=True).start()
server.serve_forever(handle_exit=False)
