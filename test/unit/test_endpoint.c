/*
 * test_endpoint.c
 *		Route templates: the rules by example, and what holds for any input.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/endpoint.h"
#include "text_test.h"

/* Both on the heap and exactly as long as allowed, for the sanitizer. */
static void
assert_becomes(const char *original, size_t length, const char *expected,
			   size_t expected_length)
{
	char	   *in = malloc(length + 1);
	char	   *out = malloc(ENDPOINT_MAX_LENGTH);
	size_t		n;

	memcpy(in, original, length);
	in = realloc(in, length > 0 ? length : 1);
	n = endpoint_normalize(in, length, out);
	if (n != expected_length || memcmp(out, expected, n) != 0)
		fail_msg("\"%.*s\" became \"%.*s\", not \"%.*s\"", (int) length,
				 original, (int) n, out, (int) expected_length, expected);
	free(out);
	free(in);
}

static void
test_rest_of_url_is_dropped(void **state)
{
	static const Example examples[] = {
		{"https://api.example.com/v1/users", "/v1/users"},
		{"https://user:pass@api.example.com:8443/v1/users", "/v1/users"},
		{"https://api.example.com", "/"},
		{"https://api.example.com/", "/"},
		{"https://api.example.com?limit=5", "/"},
		{"git+ssh://host/repo", "/repo"},
		{"/users?limit=5&at=2017-05-16T05%3A55", "/users"},
		{"/users#top", "/users"},
		{"/users/?a=b#c", "/users"},
		{"/users#a?b", "/users"},
		{"?limit=5", ""},
		{"/?limit=5", "/"},
	};

	assert_examples(examples, COUNT(examples));
}

static void
test_slashes(void **state)
{
	static const Example examples[] = {
		{"", ""},
		{"/", "/"},
		{"///", "/"},
		{"//users///list//", "/users/list"},
		{"/latest/meta-data/", "/latest/meta-data"},
		{"users/", "users"},
		{"/redirect/http://x", "/redirect/http:/x"},
	};

	assert_examples(examples, COUNT(examples));
}

static void
test_identifiers(void **state)
{
	static const Example examples[] = {
		/* digits */
		{"/users/9", "/users/:id"},
		{"/users/0", "/users/:id"},
		{"/users/12345678901234567890", "/users/:id"},
		{"9", ":id"},
		/* UUIDs */
		{"/x/38101a0b-2096-447d-96ea-a692162415ae", "/x/:id"},
		{"/x/38101A0B-2096-447D-96EA-A692162415AE", "/x/:id"},
		{"/x/38101a0b2096447d96eaa692162415ae", "/x/:id"},
		{"/x/aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa", "/x/:id"},
		/* hexadecimal digits, an ObjectId, a git commit */
		{"/x/0123456789abcdef", "/x/:id"},
		{"/x/deadbeefdeadbeef", "/x/:id"},
		{"/x/507f1f77bcf86cd799439011", "/x/:id"},
		{"/x/e83c5163316f89bfbde7d9ab23ca2e25604af290", "/x/:id"},
		/* ULID, KSUID */
		{"/x/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/x/:id"},
		{"/x/0ujtsYcgvSTl8PAuAdqWYSMnLOv", "/x/:id"},
		/* with a prefix */
		{"/x/req-38101a0b-2096-447d-96ea-a692162415ae", "/x/:id"},
		{"/x/cus_9s6XKzkNRiz8i3", "/x/:id"},
		{"/x/cus_NffrFeUfNV2Hib", "/x/:id"},
		{"/x/pi_3MtwBwLkdIwHu7ix28a3tqPa", "/x/:id"},
		{"/x/user_12345", "/x/:id"},
		{"/x/order-123", "/x/:id"},
		{"/x/usr_abc123", "/x/:id"},
		{"/x/urn:isbn:0451450523", "/x/:id"},
		/* random text */
		{"/x/abcdefghij0123456789", "/x/:id"},
		{"/x/dQw4w9WgXcQ", "/x/:id"},
		{"/x/1a2b-3c4d-5e6f-7a8b", "/x/:id"},
		{"/x/Zm9vYmFy-Zm9vYmFyMTIz_Zm8", "/x/:id"},
		/* e-mail addresses */
		{"/x/jane.doe@example.com", "/x/:id"},
		{"/x/jane.doe+tag@mail.example.co.uk", "/x/:id"},
		{"/x/jane.doe%40example.com", "/x/:id"},
		/* numbers in groups */
		{"/x/10.0.0.1", "/x/:id"},
		{"/x/123-456-789", "/x/:id"},
		{"/x/1,2,3", "/x/:id"},
		{"/x/52.5200,13.4050", "/x/:id"},
		{"/x/2017-05-16T05:55:11", "/x/:id"},
		{"/x/2013-13-45", "/x/:id"},
	};

	assert_examples(examples, COUNT(examples));
}

static void
test_what_follows_an_identifier_stays(void **state)
{
	static const Example examples[] = {
		{"/img/123.png", "/img/:id.png"},
		{"/img/38101a0b-2096-447d-96ea-a692162415ae.json", "/img/:id.json"},
		{"/img/user_12345.m3u8", "/img/:id.m3u8"},
		{"/backup/123.tar.gz", "/backup/:id.tar.gz"},
		{"/js/app.9f86d081884c7d65.js", "/js/:id.js"},
		{"/things/123:cancel", "/things/:id:cancel"},
		{"/things/123:batch_get", "/things/:id:batch_get"},
		{"/things/123.json:cancel", "/things/:id.json:cancel"},
		{"/x/jane@example.com:cancel", "/x/:id:cancel"},
		{"/img/38101a0b-2096-447d-96ea-a692162415ae-s.jpg", "/img/:id.jpg"},
	};

	assert_examples(examples, COUNT(examples));
}

static void
test_words_stay(void **state)
{
	static const char *const kept[] = {
		"database",
		"openai",
		"GetItems",
		/* versions */
		"/v1/x", "/v2.1/x", "/v1beta1/x", "/v1p1alpha2/x", "/v2.0.1-/x",
		"/v20240131/x", "/V1/x", "/1.2.3/x", "/v1:predict",
		/* dates */
		"/openstack/2013-10-17/vendor_data.json",
		"/admin/api/2024-01/products.json",
		"/subscriptions/2023-05-01-preview",
		/* words with digits */
		"/s3/oauth2/ipv4/base64/sha256/i18n/k8s/h264/mp3/2fa/3d/4k",
		"/latest/meta-data/local-ipv4",
		"/x86_64/utf-8/us-east-1/sha-256/get_ipv4address/list-k8sclusters",
		"/gpt-4/gpt-3.5-turbo/jquery-3.6.0.min.js",
		"/DescribeInstanceTypesV2",
		"/package.v1.Service/GetItems",
		"/@babel/core/react@18.2.0",
		"/how-to-use-postgres-15-for-metering",
		/* hexadecimal words */
		"/decade/facade/feedface",
		/* placeholders */
		"/:id/:user_id/{id}/{order_id}/<id>/<int:id2>/***/*",
		"/:id.png/:id:cancel",
		/* other text */
		"GET /users",
		"/日本語/café",
	};

	assert_kept(kept, COUNT(kept));
}

static void
test_openstack(void **state)
{
	static const Example examples[] = {
		{"/v2/54fadb412c4e40cdbaed9335e4c35a9e/servers/detail",
		"/v2/:id/servers/detail"},
		{"/v2/54fadb412c4e40cdbaed9335e4c35a9e/servers/"
			"38101a0b-2096-447d-96ea-a692162415ae",
		"/v2/:id/servers/:id"},
		{"/v2/54fadb412c4e40cdbaed9335e4c35a9e/flavors/2",
		"/v2/:id/flavors/:id"},
		{"/v2/54fadb412c4e40cdbaed9335e4c35a9e/os-server-external-events",
		"/v2/:id/os-server-external-events"},
		{"/v2/54fadb412c4e40cdbaed9335e4c35a9e/servers/detail?all_tenants=True"
			"&changes-since=2017-05-16T05%3A55%3A11.521167%2B00%3A00",
		"/v2/:id/servers/detail"},
		{"/openstack/2013-10-17", "/openstack/2013-10-17"},
		{"/openstack/2012-08-10/meta_data.json",
		"/openstack/2012-08-10/meta_data.json"},
		{"/latest/meta-data/block-device-mapping/",
		"/latest/meta-data/block-device-mapping"},
	};

	assert_examples(examples, COUNT(examples));
}

/* A long endpoint of one character, with what begins it. */
static void
assert_cut(const char *begin, const char *character, size_t expected)
{
	char		in[2 * ENDPOINT_MAX_LENGTH];
	size_t		n = strlen(begin);

	memcpy(in, begin, n);
	while (n + strlen(character) <= sizeof(in))
	{
		memcpy(in + n, character, strlen(character));
		n += strlen(character);
	}
	assert_becomes(in, n, in, expected);
}

static void
test_cut_at_a_character(void **state)
{
	char		in[4 * ENDPOINT_MAX_LENGTH];
	char		out[ENDPOINT_MAX_LENGTH];

	assert_cut("/", "x", 512);
	assert_cut("/", "\xC3\xA9", 511);
	assert_cut("/x", "\xC3\xA9", 512);
	assert_cut("/", "\xE2\x82\xAC", 511);
	assert_cut("/x", "\xE2\x82\xAC", 512);
	assert_cut("/xx", "\xE2\x82\xAC", 510);
	assert_cut("/", "\xF0\x9F\x98\x80", 509);
	/* Without a boundary the length is all that counts. */
	assert_cut("/", "\x80", 512);
	assert_cut("/xx", "/x", 511);

	/* Placeholders are not cut: 128 times "/:id" is 512 bytes. */
	for (size_t i = 0; i < sizeof(in); i += 2)
		memcpy(in + i, "/1", 2);
	assert_int_equal(endpoint_normalize(in, sizeof(in), out), 512);
	assert_memory_equal(out + 508, "/:id", 4);
	in[0] = 'x';
	in[1] = 'y';
	assert_int_equal(endpoint_normalize(in, sizeof(in), out), 510);

	/* What the cut leaves of a word must not look like an identifier. */
	memset(in, 'x', 490);
	in[0] = '/';
	strcpy(in + 490, "/deadbeefdeadbeefdeadbeef-or-not");
	memcpy(out, in, 490);
	memcpy(out + 490, "/:id", 4);
	assert_becomes(in, strlen(in), out, 494);
}

static void
test_normalized_twice_is_the_same(void **state)
{
	static const char *const seeds[] = {
		"https://user:pass@api.example.com/v1/users/123?limit=5#top",
		"/v2/54fadb412c4e40cdbaed9335e4c35a9e/servers/"
		"38101a0b-2096-447d-96ea-a692162415ae",
		"/openstack/2013-10-17/vendor_data.json",
		"/c/cus_9s6XKzkNRiz8i3/req-38101a0b-2096-447d-96ea-a692162415ae.json",
		"/things/123:cancel", "/x/jane.doe@example.com", ":id.png", "{id}",
		"/v1beta1/v2.1/s3/oauth2/x86_64/1.2.3/10.0.0.1", "/日本語/café",
		"/01ARZ3NDEKTSV4RRFFQ69G5FAV/abcdefghij0123456789", "://", "%40",
		"/2017-05-16T05:55:11/52.5200,13.4050/1a2b-3c4d-5e6f-7a8b",
	};
	char		in[MUTATE_MAX_LENGTH];

	random_state = 20170516;
	for (int i = 0; i < MUTATIONS; i++)
	{
		size_t		length = mutate(seeds, COUNT(seeds), in);
		char		once[ENDPOINT_MAX_LENGTH + 1];
		size_t		n;

		once[ENDPOINT_MAX_LENGTH] = '!';
		n = endpoint_normalize(in, length, once);
		assert_true(n <= ENDPOINT_MAX_LENGTH);
		assert_true(once[ENDPOINT_MAX_LENGTH] == '!');
		assert_true(memchr(once, '?', n) == NULL);
		assert_true(memchr(once, '#', n) == NULL);
		assert_true(n < 2 || once[n - 1] != '/');
		for (size_t k = 1; k < n; k++)
			assert_false(once[k - 1] == '/' && once[k] == '/');
		assert_becomes(once, n, once, n);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rest_of_url_is_dropped),
		cmocka_unit_test(test_slashes),
		cmocka_unit_test(test_identifiers),
		cmocka_unit_test(test_what_follows_an_identifier_stays),
		cmocka_unit_test(test_words_stay),
		cmocka_unit_test(test_openstack),
		cmocka_unit_test(test_cut_at_a_character),
		cmocka_unit_test(test_normalized_twice_is_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
