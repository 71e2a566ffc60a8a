"""examples/middleware/meter.py: limits and tracking for an API in Python.

Before a request is handled, one statement asks whether it may go on; after it
has been answered, another one tracks it.  Two middlewares: Meter for WSGI
(Flask, Django, Bottle, ...) and AsyncMeter for ASGI (Starlette, FastAPI, ...);
app.py shows both.  Needs psycopg 3 and psycopg_pool.

    app.wsgi_app = Meter(app.wsgi_app, "dbname=... user=api_meter", identify)
"""

import asyncio
import json
import logging
import time
from datetime import datetime, timezone
from urllib.parse import quote

import psycopg
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

CHECK = """
    SELECT d.allowed, d.reason, d.rule, meter_headers(d) AS headers
    FROM meter_check(%s, left(%s, 512), user_id => %s) AS d"""

TRACK = """
    SELECT meter_track(%s, endpoint => %s, method => %s, status => %s,
                       latency_ms => %s, user_id => %s)"""

# reconnect_timeout is short because the pool waits longer after each attempt to
# connect that has failed, but begins anew when somebody asks
POOL = {"min_size": 1, "max_size": 4, "timeout": 0.5, "reconnect_timeout": 2}

log = logging.getLogger("meter")


class Paused(Exception):
    """The database is left alone for a moment, after an error."""


ERRORS = (psycopg.Error, PoolTimeout, asyncio.TimeoutError, OSError, Paused)


class Base:
    """What both middlewares have in common.

    identify gets what the server passes about the request (environ, scope) and
    returns tenant and user, or None for what is not metered.
    on_error: whether requests go on when the database does not answer ("allow")
    or get 503 ("deny").  Then it is left alone for pause seconds.
    prepare: False behind a pooler that knows no prepared statements.
    """

    def __init__(self, app, identify, on_error="allow", pause=1.0, prepare=True):
        self.app = app
        self.identify = identify
        self.on_error = on_error
        self.pause = pause
        self.paused_until = 0.0
        # a database that knows no encoding would give bytes for texts
        self.connection = {"autocommit": True, "prepare_threshold": 5 if prepare else None,
                           "client_encoding": "utf8"}

    def before(self):
        if time.monotonic() < self.paused_until:
            raise Paused

    def failed(self, error):
        """An error of class 22 is about what was passed, such as a name that is
        too long: no reason to let the request go on."""
        bad_input = isinstance(error, psycopg.DataError)
        if not bad_input and not isinstance(error, Paused):
            self.paused_until = time.monotonic() + self.pause
            log.error("%s: %s", type(error).__name__, error)
        return bad_input

    def decided(self, row):
        """Headers, and status and body if the request must not go on."""
        allowed, reason, rule, headers = row
        if allowed:
            return headers, None, None
        return refusal(429, "quota exceeded" if reason == "quota" else "rate limit exceeded", headers, rule)

    def undecided(self, error):
        if self.failed(error):
            return refusal(400, "this call cannot be counted")
        if self.on_error == "allow":
            return {}, None, None
        return refusal(503, "limits cannot be checked", {"Retry-After": "1"})

    def lost(self, error, event):
        """The event is in the log, as meter_track_batch() takes it."""
        self.failed(error)
        log.error("lost %s", json.dumps(event))


def is_dead(connection):
    """Has the server closed it while it was idle?  This asks nothing, but reads
    what has come in: the server's last words, and then the end."""
    try:
        connection.pgconn.consume_input()
        connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return True
    return False


def refusal(status, title, headers=None, rule=None):
    body = json.dumps({"title": title, "status": status, "rule": rule}).encode()
    return {**(headers or {}), "Content-Type": "application/problem+json"}, status, body


def resource(method, endpoint):
    """Routers answer HEAD with the route of GET."""
    return f"{'GET' if method == 'HEAD' else method} {endpoint}"


def new_event(caller, method, endpoint):
    tenant, user = caller
    return {"tenant": tenant, "endpoint": endpoint, "method": method, "status": 500, "latency_ms": 0.0,
            "user_id": user, "at": datetime.now(timezone.utc).isoformat()}


def track_values(event):
    return [event[key] for key in ("tenant", "endpoint", "method", "status", "latency_ms", "user_id")]


class Meter(Base):
    """For WSGI."""

    REASONS = {400: "400 Bad Request", 429: "429 Too Many Requests", 503: "503 Service Unavailable"}

    def __init__(self, app, conninfo, identify, **options):
        super().__init__(app, identify, **options)
        self.pool = ConnectionPool(conninfo, kwargs=self.connection, **POOL)

    def query(self, sql, values):
        self.before()
        while True:
            with self.pool.connection() as connection:
                if not is_dead(connection):
                    return connection.execute(sql, values).fetchone()
                connection.close()

    def check(self, tenant, user, resource):
        try:
            return self.decided(self.query(CHECK, [tenant, resource, user]))
        except ERRORS as error:
            return self.undecided(error)

    def track(self, event):
        try:
            self.query(TRACK, track_values(event))
        except ERRORS as error:
            self.lost(error, event)

    def __call__(self, environ, start_response):
        caller = self.identify(environ)
        if caller is None:
            return self.app(environ, start_response)
        method = environ["REQUEST_METHOD"]
        # the path as frameworks route it, which is decoded, with what is not
        # ASCII encoded again
        endpoint = quote((environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1"))
        headers, status, body = self.check(*caller, resource(method, endpoint))
        if status:
            start_response(self.REASONS[status], list(headers.items()))
            return [body]

        event = new_event(caller, method, endpoint)

        def start(status_line, response_headers, *exc_info):
            event["status"] = int(status_line.split(" ", 1)[0])
            return start_response(status_line, response_headers + list(headers.items()), *exc_info)

        return Answer(self, environ, start, event)


class Answer:
    """Passes on what the application answers; the server closes it in the end."""

    def __init__(self, meter, environ, start, event):
        self.meter = meter
        self.event = event
        self.started = time.perf_counter()
        try:
            self.parts = meter.app(environ, start)
        except BaseException:
            self.parts = ()
            self.close()
            raise

    def __iter__(self):
        return iter(self.parts)

    def close(self):
        try:
            if hasattr(self.parts, "close"):
                self.parts.close()
        finally:
            self.event["latency_ms"] = 1000 * (time.perf_counter() - self.started)
            self.meter.track(self.event)


class AsyncMeter(Base):
    """For ASGI."""

    def __init__(self, app, conninfo, identify, **options):
        super().__init__(app, identify, **options)
        self.pool = AsyncConnectionPool(conninfo, kwargs=self.connection, open=False, **POOL)

    async def query(self, sql, values):
        self.before()
        await self.pool.open()

        async def run():
            while True:
                async with self.pool.connection() as connection:
                    if not is_dead(connection):
                        return await (await connection.execute(sql, values)).fetchone()
                    await connection.close()

        return await asyncio.wait_for(run(), 1.5)

    async def check(self, tenant, user, resource):
        try:
            return self.decided(await self.query(CHECK, [tenant, resource, user]))
        except ERRORS as error:
            return self.undecided(error)

    async def track(self, event):
        try:
            await self.query(TRACK, track_values(event))
        except ERRORS as error:
            self.lost(error, event)

    async def __call__(self, scope, receive, send):
        caller = self.identify(scope) if scope["type"] == "http" else None
        if caller is None:
            await self.app(scope, receive, send)
            return
        method = scope["method"]
        endpoint = quote(scope["path"])
        headers, status, body = await self.check(*caller, resource(method, endpoint))
        raw_headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        if status:
            await send({"type": "http.response.start", "status": status, "headers": raw_headers})
            await send({"type": "http.response.body", "body": body})
            return

        event = new_event(caller, method, endpoint)
        started = time.perf_counter()

        async def send_with_headers(message):
            if message["type"] == "http.response.start":
                event["status"] = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), *raw_headers]}
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            event["latency_ms"] = 1000 * (time.perf_counter() - started)
            await self.track(event)
