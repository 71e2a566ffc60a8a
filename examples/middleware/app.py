"""examples/middleware/app.py: a small API to try meter.py with.

    pip install flask psycopg psycopg_pool      (or: starlette uvicorn)
    PGHOST=... PGUSER=api_meter PGDATABASE=... python3 app.py [flask|wsgi|starlette]

On Debian: python3-flask or python3-starlette and python3-uvicorn,
python3-psycopg, python3-psycopg-pool.  It listens on port 3000 of this machine
(PORT).  The headers X-Tenant and X-User stand for what a real API knows after
it has checked a key or a token.
"""

import logging
import os
import sys

from meter import AsyncMeter, Meter

# which database and role, the variables of libpq say
CONNINFO = "connect_timeout=2 tcp_user_timeout=2000"
OPTIONS = {"on_error": os.environ.get("ON_ERROR", "allow"), "prepare": os.environ.get("PREPARE") != "off"}
PORT = int(os.environ.get("PORT", 3000))


def identify(environ):
    if environ["PATH_INFO"] == "/health":
        return None
    return environ.get("HTTP_X_TENANT", "anonymous"), environ.get("HTTP_X_USER")


def identify_async(scope):
    if scope["path"] == "/health":
        return None
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return headers.get("x-tenant", "anonymous"), headers.get("x-user")


def run_flask():
    from flask import Flask

    app = Flask("api")

    @app.get("/health")
    def health():
        return "ok"

    @app.get("/api/users/<user_id>")
    def user(user_id):
        return {"id": user_id}

    @app.post("/api/bulk")
    def bulk():
        return {"accepted": True}, 202

    @app.get("/api/fail")
    def fail():
        raise RuntimeError("a fault of the API")

    app.wsgi_app = Meter(app.wsgi_app, CONNINFO, identify, **OPTIONS)
    app.run("127.0.0.1", PORT)


def run_wsgi():
    from wsgiref.simple_server import make_server

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]

    make_server("127.0.0.1", PORT, Meter(app, CONNINFO, identify, **OPTIONS)).serve_forever()


def run_starlette():
    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def user(request):
        return JSONResponse({"id": request.path_params["user_id"]})

    async def bulk(request):
        return JSONResponse({"accepted": True}, 202)

    async def fail(request):
        raise RuntimeError("a fault of the API")

    app = Starlette(routes=[Route("/health", lambda request: JSONResponse("ok")), Route("/api/users/{user_id}", user),
                            Route("/api/bulk", bulk, methods=["POST"]), Route("/api/fail", fail)])
    uvicorn.run(AsyncMeter(app, CONNINFO, identify_async, **OPTIONS), host="127.0.0.1", port=PORT)


if __name__ == "__main__":
    logging.basicConfig()
    {"flask": run_flask, "wsgi": run_wsgi, "starlette": run_starlette}[(sys.argv[1:] or ["flask"])[0]]()
