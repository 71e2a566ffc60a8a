/*
 * test_secret.c
 *		Masking credentials: what is masked, what is left, and what holds for
 *		any input.
 *
 * The credentials are made up.  Those with the shape of a real one are put
 * together from pieces, so that scanners of repositories are not alarmed.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/secret.h"
#include "text_test.h"

/* Random text, long enough for each kind of key. */
#define R16 "4eC39HqLyjWDarjt"
#define R32 R16 "T1zdp7dcB5xG9mQ2"
#define AWS "AKIA" "IOSFODNN7EXAMPLE"
#define JWT_HEAD "eyJhbGciOiJIUzI1NiJ9"
#define JWT_BODY "eyJzdWIiOiIxMjM0NTY3ODkwIn0"
#define JWT JWT_HEAD "." JWT_BODY "." R32
#define PEM_BEGIN(label) "-----BEGIN " label "-----"
#define PEM_END(label) "-----END " label "-----"

/* Both on the heap and exactly as long as allowed, for the sanitizer. */
static void
assert_becomes(const char *original, size_t length, const char *expected,
			   size_t expected_length)
{
	char	   *in = malloc(length > 0 ? length : 1);
	char	   *out = malloc(SECRET_MASKED_SIZE(length));
	size_t		n;
	bool		same;

	memcpy(in, original, length);
	n = secret_mask(in, length, out);
	if (n != expected_length || memcmp(out, expected, n) != 0)
		fail_msg("\"%.*s\" became \"%.*s\", not \"%.*s\"", (int) length,
				 original, (int) n, out, (int) expected_length, expected);
	same = length == n && memcmp(in, out, n) == 0;
	if (secret_found(in, length) == same)
		fail_msg("secret_found disagrees about \"%.*s\"", (int) length,
				 original);
	free(out);
	free(in);
}

static void
test_names_of_secrets(void **state)
{
	static const char *const secret[] = {
		"password", "Password", "PASSWORD", "passwd", "pwd", "passphrase",
		"secret", "client_secret", "clientSecret", "client-secret",
		"token", "access_token", "refreshToken", "id.token", "X-Auth-Token",
		"api_key", "apiKey", "API-KEY", "x-api-key",
		"access_key", "secret_key", "private_key", "signing_key",
		"authorization", "Proxy-Authorization", "HTTP_AUTHORIZATION",
		"cookie", "Set-Cookie", "credential", "credentials",
		"connection_string",
		"db_password", "aws_secret_access_key", "OPENAI_API_KEY", "password2",
		"user.password", "__token__", "password_confirmation",
	};
	static const char *const other[] = {
		"", "_", "7", "key", "monkey", "keyboard", "keys", "api_keys",
		"tokens", "max_tokens", "token_count", "tokenizer", "secrets",
		"passwordless", "password_length", "cookies", "cookie_banner",
		"accept_cookie", "authorized", "preauthorization", "author",
		"access_key_id", "public_key", "primary_key", "model", "region",
		"risk", "task", "user_id", "wd", "n", "t",
	};

	for (size_t i = 0; i < COUNT(secret); i++)
	{
		if (!secret_key(secret[i], strlen(secret[i])))
			fail_msg("%s is not taken for a secret", secret[i]);
	}
	for (size_t i = 0; i < COUNT(other); i++)
	{
		if (secret_key(other[i], strlen(other[i])))
			fail_msg("%s is taken for a secret", other[i]);
	}
}

static void
test_values_of_names(void **state)
{
	static const Example examples[] = {
		{"api_key=abc", "api_key=***"},
		{"password=x", "password=***"},
		{"PASSWORD = x y", "PASSWORD = *** y"},
		{"password: hunter2 is wrong", "password: *** is wrong"},
		{"db_password=a!b$c#d user=e", "db_password=*** user=e"},
		{"f(password=abc), g", "f(password=***), g"},
		{"{password: abc, x: 1}", "{password: ***, x: 1}"},
		{"password => 'abc', x", "password => '***', x"},
		{"password := abc", "password := ***"},
		{"password=`abc`", "password=`***`"},
		{"Server=db;Password=abc;Port=1", "Server=db;Password=***;Port=1"},
		{"--token=abc -v", "--token=*** -v"},
		/* in quotes */
		{"{\"password\": \"abc def\", \"x\": 1}",
		"{\"password\": \"***\", \"x\": 1}"},
		{"{\"password\":\"a\\\"b\",\"x\":1}",
		"{\"password\":\"***\",\"x\":1}"},
		{"{\"password\":\"a\\\\\",\"x\":1}", "{\"password\":\"***\",\"x\":1}"},
		{"{\\\"token\\\": \\\"a\\\\\\\"b\\\", \\\"x\\\": 1}",
		"{\\\"token\\\": \\\"***\\\", \\\"x\\\": 1}"},
		{"{\"m\": \"password=abc\"}", "{\"m\": \"password=***\"}"},
		{"{\"m\": \"{\\\"m\\\": \\\"password=abc\\\"}\"}",
		"{\"m\": \"{\\\"m\\\": \\\"password=***\\\"}\"}"},
		{"{'secret': 'abc', 'x': 1}", "{'secret': '***', 'x': 1}"},
		{"secret='it''s', x", "secret='***', x"},
		{"'f(secret => ''abc'')'", "'f(secret => ''***'"},
		{"{\"token\": \"cut off in the", "{\"token\": \"***"},
		{"{\"token\": 12, \"x\": 1}", "{\"token\": ***, \"x\": 1}"},
		{"{\"token\": Bearer abc}", "{\"token\": Bearer ***}"},
		/* lists and objects */
		{"{'set-cookie': [ 'a=b', 'c=d' ], x: 1}",
		"{'set-cookie': [***], x: 1}"},
		{"{\"credentials\": {\"user\": \"a\"}, \"x\": 1}",
		"{\"credentials\": {***}, \"x\": 1}"},
		/* in URLs */
		{"/x?key=abc&limit=5", "/x?key=***&limit=5"},
		{"/x?limit=5&key=abc", "/x?limit=5&key=***"},
		{"/x?api_key=abc&limit=5", "/x?api_key=***&limit=5"},
		{"/x?access_token=a%26b", "/x?access_token=***"},
		{"/x?user[password]=abc&x=1", "/x?user[password]=***&x=1"},
		{"/x?user%5Bpassword%5D=abc&x=1", "/x?user%5Bpassword%5D=***&x=1"},
		{"/x?to=%2Fy%3Ftoken%3Dabc%26x%3D1",
		"/x?to=%2Fy%3Ftoken%3D***%26x%3D1"},
		{"%7B%22token%22%3A%22abc%22%7D", "%7B%22token%22%3A%22***%22%7D"},
		/* partly masked already */
		{"password=***, token=abc", "password=***, token=***"},
		{"password=***abc", "password=***"},
	};

	assert_examples(examples, COUNT(examples));
}

static void
test_headers(void **state)
{
	static const Example examples[] = {
		{"Authorization: abc", "Authorization: ***"},
		{"authorization: Bearer abc", "authorization: Bearer ***"},
		{"Authorization: Basic YTpi, Accept: */*",
		"Authorization: Basic ***, Accept: */*"},
		{"Proxy-Authorization: Token token=abc",
		"Proxy-Authorization: Token ***"},
		{"Authorization: Digest username=\"a\", response=\"b\"\r\nHost: c",
		"Authorization: Digest ***\r\nHost: c"},
		{"Authorization: Unknown a b\nHost: c", "Authorization: ***\nHost: c"},
		{"curl -H \"Authorization: Unknown a b\" c",
		"curl -H \"Authorization: ***\" c"},
		{"{\"Authorization\": \"Bearer abc\"}",
		"{\"Authorization\": \"Bearer ***\"}"},
		{"Cookie: a=b; c=d\nHost: e", "Cookie: ***\nHost: e"},
		{"Set-Cookie: a=b; Path=/", "Set-Cookie: ***"},
		{"X-Api-Key: abc", "X-Api-Key: ***"},
		/* outside of a header */
		{"got Bearer abc123 from", "got Bearer *** from"},
		{"Bearer x", "Bearer ***"},
		{"bearer " R32, "bearer ***"},
		{"Bearer abc123.", "Bearer ***."},
		{"-H 'Basic dXNlcjpwYXNz'", "-H 'Basic ***'"},
		{"Basic YTpi", "Basic ***"},
	};

	assert_examples(examples, COUNT(examples));
}

static void
test_shapes(void **state)
{
	static const char *const keys[] = {
		"sk_live_" R16, "sk_test_" R16, "rk_live_" R16, "whsec_" R32,
		"sk-" R32, "sk-proj-" R16 "_" R16 "-" R16, "sk-ant-api03-" R32,
		AWS, "ASIA" "IOSFODNN7EXAMPLE",
		"ghp_" R32, "gho_" R32, "ghs_" R32, "ghr_" R32, "github_pat_" R32,
		"glpat-" R32, "xoxb-" "1234567890-abcdef", "xoxp-" "1234567890-abcdef",
		"xoxa-" "1234567890-abcdef", "xoxr-" "1234567890-abcdef",
		"xoxs-" "1234567890-abcdef", "AIza" "Sy-" R32, "SG." R16 "." R32,
		JWT, JWT_HEAD "." JWT_BODY ".",
	};
	static const char *const frames[] = {
		"%s", "used %s twice", "key %s.", "(%s)", "'%s',", "/a/%s/b",
		"x=%s&y", "a-%s", "%%22%s%%22", "\\n%s\\n", "*%s*",
		"\xC3\xA9%s\xC3\xA9",
	};

	for (size_t i = 0; i < COUNT(keys); i++)
	{
		for (size_t k = 0; k < COUNT(frames); k++)
		{
			char		original[256];
			char		expected[256];
			Example		example = {original, expected};

			/* Some may hold '/', '=', '.' and '-'. */
			if (strncmp(keys[i], "whsec_", 6) == 0 && frames[k][0] == '/')
				continue;
			if ((strncmp(keys[i], "glpat-", 6) == 0 ||
				 keys[i][strlen(keys[i]) - 1] == '.') &&
				strstr(frames[k], "%s.") != NULL)
				continue;
			snprintf(original, sizeof(original), frames[k], keys[i]);
			snprintf(expected, sizeof(expected), frames[k], "***");
			assert_examples(&example, 1);
		}
	}
}

static void
test_private_keys(void **state)
{
	static const Example examples[] = {
		{PEM_BEGIN("RSA PRIVATE KEY") "\nMIIE\nabc=\n"
			PEM_END("RSA PRIVATE KEY") "\nx",
		PEM_BEGIN("RSA PRIVATE KEY") "***" PEM_END("RSA PRIVATE KEY") "\nx"},
		{"x " PEM_BEGIN("PRIVATE KEY") "\\nMIIE",
		"x " PEM_BEGIN("PRIVATE KEY") "***"},
		{PEM_BEGIN("PGP PRIVATE KEY BLOCK") "\n\nlQ\n"
			PEM_END("PGP PRIVATE KEY BLOCK"),
			PEM_BEGIN("PGP PRIVATE KEY BLOCK") "***"
		PEM_END("PGP PRIVATE KEY BLOCK")},
		{"private_key=" PEM_BEGIN("EC PRIVATE KEY") "\nMIIE\n"
			PEM_END("EC PRIVATE KEY"),
			"private_key=" PEM_BEGIN("EC PRIVATE KEY") "***"
		PEM_END("EC PRIVATE KEY")},
	};
	static const char *const kept[] = {
		PEM_BEGIN("CERTIFICATE") "\nMIIE\n" PEM_END("CERTIFICATE"),
		PEM_BEGIN("PUBLIC KEY") "\nMIIE\n" PEM_END("PUBLIC KEY"),
		"-----BEGIN PRIVATE KEY", "-----BEGIN", "-----BEGIN ",
	};

	assert_examples(examples, COUNT(examples));
	assert_kept(kept, COUNT(kept));
}

static void
test_passwords_in_urls(void **state)
{
	static const Example examples[] = {
		{"postgres://user:abc@db:5432/x", "postgres://user:***@db:5432/x"},
		{"redis://:abc@db", "redis://:***@db"},
		{"at https://user:a:b@c@db/x?y=z.", "at https://user:***@db/x?y=z."},
		{"a://token:abc@b", "a://token:***@b"},
		{"a://" AWS ":abc@b", "a://***:***@b"},
		{"a://b:!!!@c and d://e:f@g", "a://b:***@c and d://e:***@g"},
		{"a://b?token=c/d:e@f", "a://b?token=***"},
	};
	static const char *const kept[] = {
		"https://db:5432/x@y", "https://user@db/x", "https://db/a:b@c",
		"https://user:@db", "://a:b", "http://", "see https://db: a@b",
	};

	assert_examples(examples, COUNT(examples));
	assert_kept(kept, COUNT(kept));
}

static void
test_other_text_stays(void **state)
{
	static const char *const kept[] = {
		"",
		"monkey=5", "tokens=12", "max_tokens=100", "token_count: 5",
		"task-123", "disk_usage", "risk-free", "keyboard",
		"/api/v1/keys/list", "/oauth/token", "/oauth/token?x=1",
		"key=abc", "/x?monkey=1&keyboard=2",
		"connection to upstream timed out after 30 seconds",
		"relation \"token\" does not exist",
		"password authentication failed for user \"meter\"",
		"invalid password", "the token has expired", "Unexpected token: {",
		"Unexpected token < in JSON at position 0",
		"Bearer token missing", "Bearer authentication is required",
		"the bearer of bad news", "Basic plan", "Basic Authentication",
		"basic information", "Basic HTML5",
		"{\"token\": null, \"password\": \"\"}", "password=", "password=&x=1",
		"SELECT token::text", "if (token == null)", "password != x",
		"secret://vault",
		"sk-learn-something-with-very-long-words", "sk_live_", "task_test_1",
		"eyJhbGciOiJIUzI1NiJ9", "eyJ.eyJ.x", "AKIAIOSFODNN7EXAMPLEX",
		"NAKIAIOSFODNN7EXAMPLE", "SG.x.y", "ghp_short",
		"2017-05-16 05:55:11.521 UTC", "/v2/54fadb412c4e40cdbaed9335e4c35a9e",
	};

	assert_kept(kept, COUNT(kept));
}

static void
test_masked_twice_is_the_same(void **state)
{
	static const char *const seeds[] = {
		"Authorization: Bearer abc123", "Cookie: a=b; c=d",
		"Basic dXNlcjpwYXNz",
		"{\"password\": \"a\\\"b\", \"x\": 1, \"token\": null}",
		"{\\\"secret\\\": \\\"abc\\\"}", "'f(secret => ''abc'')'",
		"/x?key=abc&api_key=def#g", "user%5Bpassword%5D=abc%3D",
		"{'set-cookie': [ 'a=b' ], credentials: {a: 1}}",
		"sk_live_" R16, "sk-proj-" R32, AWS, "ghp_" R32, "whsec_" R32 "/+=",
		"xoxb-" "1234567890-abcdef", "SG." R16 "." R32, JWT, "***",
		"a://user:pass@host/x", "://", PEM_BEGIN("RSA PRIVATE KEY"),
		PEM_END("RSA PRIVATE KEY"), "token%3D", "bearer ", "digest ",
	};
	char		in[MUTATE_MAX_LENGTH];

	random_state = 20170516;
	for (int i = 0; i < MUTATIONS; i++)
	{
		size_t		length = mutate(seeds, COUNT(seeds), in);
		char	   *out = malloc(SECRET_MASKED_SIZE(length) + 1);
		size_t		n;

		out[SECRET_MASKED_SIZE(length)] = '!';
		n = secret_mask(in, length, out);
		assert_true(n <= SECRET_MASKED_SIZE(length));
		assert_true(out[SECRET_MASKED_SIZE(length)] == '!');
		assert_true(secret_found(in, length) ==
					(n != length || memcmp(in, out, n) != 0));
		assert_becomes(out, n, out, n);
		free(out);
	}
}

/* Text made to be searched again and again takes no longer than other text. */
static void
test_time_is_linear(void **state)
{
	static const char *const pieces[] = {
		"eyJ-", "eyJabcde.", "sk-", "SG.", "a://", "a://b:", "-", "\\", "'",
		"token:{", "token:[", "token ", "token=\\", "password:'", "bearer a",
		"basic a", "-----BEGIN ", PEM_BEGIN("PRIVATE KEY"), "xoxb-", "AKIA",
		"%", "***", "token:***,", "a:", " ", "cookie: ",
		"Authorization: digest ", "a://token=x/", "a://token:{x/",
		"a://cookie:x/", "a://u:p@token=/", "a://whsec_" R16 "/",
	};
	size_t		length = 1 << 20;
	char	   *in = malloc(length);
	char	   *out = malloc(SECRET_MASKED_SIZE(length));

	for (size_t i = 0; i < COUNT(pieces); i++)
	{
		clock_t		start = clock();
		size_t		n = strlen(pieces[i]);

		for (size_t k = 0; k < length; k++)
			in[k] = pieces[i][k % n];
		secret_mask(in, length, out);
		if (clock() - start > 2 * CLOCKS_PER_SEC)
			fail_msg("\"%s\", repeated, takes too long", pieces[i]);
	}
	free(out);
	free(in);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_of_secrets),
		cmocka_unit_test(test_values_of_names),
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_private_keys),
		cmocka_unit_test(test_passwords_in_urls),
		cmocka_unit_test(test_other_text_stays),
		cmocka_unit_test(test_masked_twice_is_the_same),
		cmocka_unit_test(test_time_is_linear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
