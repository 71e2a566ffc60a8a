// examples/middleware/server.js: a small API to try meter.js with.
//
//   npm install pg express fastify
//   PGHOST=... PGUSER=api_meter PGDATABASE=... node server.js [express|http|fastify]
//
// It listens on port 3000 of this machine (PORT).  The headers X-Tenant and
// X-User stand for what a real API knows after it has checked a key or a token.

'use strict';

const http = require('http');
const { Meter } = require('./meter');

const meter = new Meter({
  identify(req) {
    if (req.url === '/health') return null;
    return { tenant: req.headers['x-tenant'] ?? 'anonymous', user: req.headers['x-user'] };
  },
  onError: process.env.ON_ERROR ?? 'allow',
  prepare: process.env.PREPARE !== 'off',
});

const starters = {
  express(port) {
    const app = require('express')();

    app.get('/health', (req, res) => res.send('ok'));
    app.get('/api/users/:id', meter.middleware, (req, res) => res.json({ id: req.params.id }));
    app.post('/api/bulk', meter.middleware, (req, res) => res.status(202).json({ accepted: true }));
    app.get('/api/fail', meter.middleware, () => { throw new Error('a fault of the API'); });
    // what no route has taken is a call, too
    app.use(meter.middleware, (req, res) => res.status(404).json({ title: 'not found' }));
    app.listen(port, '127.0.0.1');
  },

  http(port) {
    http.createServer((req, res) => meter.middleware(req, res, (err) => {
      res.statusCode = err ? 500 : req.url.startsWith('/api/') ? 200 : 404;
      res.end();
    })).listen(port, '127.0.0.1');
  },

  fastify(port) {
    const app = require('fastify')();

    meter.fastify(app);
    app.get('/health', async () => 'ok');
    app.get('/api/users/:id', async (request) => ({ id: request.params.id }));
    app.post('/api/bulk', async (request, reply) => reply.code(202).send({ accepted: true }));
    app.listen({ port, host: '127.0.0.1' });
  },
};

starters[process.argv[2] ?? 'express'](Number(process.env.PORT ?? 3000));
