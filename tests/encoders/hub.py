"""A stand-in for the hub's API: what an upload asks, on loopback, kept in memory."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub:
    """Repositories by id, each a mapping of paths to bytes; refuses tokens that are not ``secret``."""

    def __init__(self):
        self.repositories = {}
        self.private = {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": self}))
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def create(self, asked):
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        if name in self.repositories:
            return 409, {"error": "exists", "url": f"{self.address}/{name}"}
        self.repositories[name] = {}
        self.private[name] = asked.get("private") or asked.get("visibility") == "private"
        return 200, {"url": f"{self.address}/{name}", "name": name}

    def commit(self, name, lines):
        for row in map(json.loads, lines):
            if row["key"] == "file":
                self.repositories[name][row["value"]["path"]] = base64.b64decode(row["value"]["content"])
        made = {"commitUrl": f"{self.address}/{name}/commit/{'0' * 40}", "commitOid": "0" * 40}
        return 200, {"success": True} | made

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    hub = None

    def log_message(self, *arguments):
        pass

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def do_GET(self):
        name = "/".join(self.path.split("?")[0].split("/")[3:5])
        if name not in self.hub.repositories:
            return self.answer(404, {"error": "Repository not found"})
        siblings = [{"rfilename": path} for path in self.hub.repositories[name]]
        return self.answer(200, {"id": name, "modelId": name, "sha": "0" * 40, "siblings": siblings})

    def do_POST(self):
        body = self.body()
        name = "/".join(self.path.split("/")[3:5])
        if self.path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if self.headers.get("Authorization") != "Bearer secret":
            return self.answer(401, {"error": "Invalid username or password."})
        if self.path == "/api/repos/create":
            return self.answer(*self.hub.create(json.loads(body)))
        if "/preupload/" in self.path:
            files = [{"path": file["path"], "uploadMode": "regular"} for file in json.loads(body)["files"]]
            return self.answer(200, {"files": [file | {"shouldIgnore": False, "oid": None} for file in files]})
        return self.answer(*self.hub.commit(name, body.splitlines()))
