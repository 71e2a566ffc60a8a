// examples/middleware/meter.js: limits and tracking for an API in Node.
//
// Before a request is handled, one statement asks whether it may go on; after
// it has been answered, another one tracks it.  Works with Express, Connect and
// plain http (middleware) and with Fastify (fastify); server.js shows both.
// Needs the package pg.
//
//   const meter = new Meter({ connectionString, identify });
//   app.get('/api/users/:id', meter.middleware, handler);

'use strict';

const { Pool } = require('pg');

const CHECK = `
  SELECT d.allowed, d.reason, d.rule, meter_headers(d) AS headers
  FROM meter_check($1, left($2, 512), user_id => $3) AS d`;

const TRACK = `
  SELECT meter_track($1, endpoint => $2, method => $3, status => $4,
                     latency_ms => $5, user_id => $6)`;

class Meter {
  // identify(req) returns { tenant, user }, or null for what is not metered.
  // onError: whether requests go on when the database does not answer ('allow')
  // or get 503 ('deny').  Then it is left alone for pause milliseconds.
  // prepare: false behind a pooler that knows no prepared statements.
  // What is left goes to pg: connectionString, max, ssl and so on.
  constructor({ identify, onError = 'allow', pause = 1000, prepare = true, log = console.error, ...pg }) {
    Object.assign(this, { identify, onError, pause, prepare, log });
    this.pausedUntil = 0;
    this.pool = new Pool({ max: 4, connectionTimeoutMillis: 500, query_timeout: 1500, ...pg });
    // without a listener, a connection that breaks while idle ends the process
    this.pool.on('error', (err) => this.log(`meter: ${err.message}`));
    this.middleware = this.middleware.bind(this);
  }

  async query(name, text, values) {
    if (Date.now() < this.pausedUntil) throw new Error('paused');
    try {
      return await this.pool.query(this.prepare ? { name, text, values } : { text, values });
    } catch (err) {
      if (!isBadInput(err)) {
        this.pausedUntil = Date.now() + this.pause;
        this.log(`meter: ${err.message}`);
      }
      throw err;
    }
  }

  // What to answer: headers, and a status if the request must not go on.
  async check({ tenant, user = null }, resource) {
    try {
      const { rows: [d] } = await this.query('meter_check', CHECK, [tenant, resource, user]);
      if (d.allowed) return { headers: d.headers };
      return refusal(429, d.reason === 'quota' ? 'quota exceeded' : 'rate limit exceeded', d.headers, d.rule);
    } catch (err) {
      if (isBadInput(err)) return refusal(400, 'this call cannot be counted');
      if (this.onError === 'allow') return { headers: {} };
      return refusal(503, 'limits cannot be checked', { 'Retry-After': '1' });
    }
  }

  // Never fails: an event that could not be tracked is in the application's log,
  // as meter_track_batch() takes it.
  async track(event) {
    const { tenant, endpoint, method, status, latency_ms, user_id } = event;
    try {
      await this.query('meter_track', TRACK, [tenant, endpoint, method, status, latency_ms, user_id]);
    } catch (err) {
      this.log(`meter: lost ${JSON.stringify(event)}`);
    }
  }

  // When the answer has been sent, or the client has gone.
  trackWhenClosed(res, { tenant, user = null }, method, endpoint) {
    const start = performance.now();
    const at = new Date().toISOString();
    res.on('close', () => this.track({
      tenant, endpoint, method, status: res.writableFinished ? res.statusCode : 499,
      latency_ms: performance.now() - start, user_id: user, at,
    }));
  }

  // For Express, Connect and http: called with (req, res, next).
  async middleware(req, res, next) {
    try {
      const caller = this.identify(req);
      if (!caller) return next();
      const endpoint = route(req);
      const { headers, status, body } = await this.check(caller, resource(req.method, endpoint));
      for (const [name, value] of Object.entries(headers)) res.setHeader(name, value);
      if (status) {
        res.writeHead(status, { 'Content-Type': 'application/problem+json' });
        return res.end(body);
      }
      this.trackWhenClosed(res, caller, req.method, endpoint);
    } catch (err) {
      return next(err);
    }
    return next();
  }

  // For Fastify: meter.fastify(app) before its routes.
  fastify(app) {
    app.addHook('onRequest', async (request, reply) => {
      const endpoint = request.routeOptions.url ?? path(request.url);
      const caller = this.identify(request);
      if (!caller) return;
      const { headers, status, body } = await this.check(caller, resource(request.method, endpoint));
      reply.headers(headers);
      if (status) return reply.code(status).type('application/problem+json').send(body);
      this.trackWhenClosed(reply.raw, caller, request.method, endpoint);
    });
    app.addHook('onClose', () => this.close());
  }

  close() {
    return this.pool.end();
  }
}

// Errors of class 22 are about what was passed, such as a name that is too long:
// no reason to let the request go on.
function isBadInput(err) {
  return /^22/.test(err.code ?? '');
}

function refusal(status, title, headers = {}, rule = null) {
  return { status, headers, body: JSON.stringify({ title, status, rule }) };
}

// Routers answer HEAD with the route of GET.
function resource(method, endpoint) {
  return `${method === 'HEAD' ? 'GET' : method} ${endpoint}`;
}

// The route if the router has found one, otherwise the path as it was sent.
function route(req) {
  if (typeof req.route?.path === 'string') return req.baseUrl + req.route.path;
  return path(req.originalUrl ?? req.url);
}

function path(url) {
  return url.split('?', 1)[0];
}

module.exports = { Meter };
