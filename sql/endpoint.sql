SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS meter CASCADE;
RESET client_min_messages;

-- Route templates.  The rules case by case are in test/unit/test_endpoint.c;
-- here is what a caller in SQL sees.

SELECT e AS endpoint, meter_normalize_endpoint(e) AS template
FROM unnest(ARRAY[
  '/v2/54fadb412c4e40cdbaed9335e4c35a9e/servers/detail',
  '/v2/54fadb412c4e40cdbaed9335e4c35a9e/servers/38101a0b-2096-447d-96ea-a692162415ae',
  '/v2/54fadb412c4e40cdbaed9335e4c35a9e/flavors/2',
  '/openstack/2013-10-17/vendor_data.json',
  '/latest/meta-data/',
  'https://user:pass@api.example.com/v1/users/123?limit=5#top',
  '/img/123.png',
  '/things/123:cancel',
  '/customers/cus_9s6XKzkNRiz8i3/mail/jane.doe@example.com',
  '/s3/oauth2/v1beta1/:id/{id}/***',
  '//',
  'database',
  '日本語/12/',
  ''
]) WITH ORDINALITY AS t (e, i)
ORDER BY i;

SELECT meter_normalize_endpoint(NULL) IS NULL AS strict;

-- idempotent
SELECT count(*) AS changed_again
FROM generate_series(1, 1000) AS i,
     LATERAL (SELECT meter_normalize_endpoint('/v' || i % 3 || '/' || md5(i::text)
                                              || '/x' || i || '/' || i || '?q=' || i)) AS o (once)
WHERE meter_normalize_endpoint(once) <> once;

-- bounded, in bytes, and cut between characters
SELECT octet_length(meter_normalize_endpoint('/' || repeat('x', 100000))) AS ascii,
       octet_length(meter_normalize_endpoint('/' || repeat('é', 100000))) AS two_bytes,
       octet_length(meter_normalize_endpoint('/' || repeat('日', 100000))) AS three_bytes,
       octet_length(meter_normalize_endpoint(repeat('/1', 100000))) AS placeholders;

-- stored in any form: short header, long header, compressed, out of line
CREATE TABLE endpoint_stored (e text);
INSERT INTO endpoint_stored VALUES ('/a/1'), ('/b/1?' || repeat('x', 200)), ('/c/1?' || repeat('x', 9000));
INSERT INTO endpoint_stored SELECT '/d/1?' || string_agg(md5(i::text), '') FROM generate_series(1, 300) AS i;
SELECT meter_normalize_endpoint(e), length(e) FROM endpoint_stored ORDER BY e COLLATE "C";

-- immutable, so that it can be indexed
CREATE INDEX ON endpoint_stored (meter_normalize_endpoint(e));
DROP TABLE endpoint_stored;

SELECT provolatile, proisstrict, proparallel FROM pg_proc
WHERE oid = 'meter_normalize_endpoint(text)'::regprocedure;
