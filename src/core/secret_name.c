/*
 * secret_name.c
 *		Names that hold secrets: of JSON keys, parameters and headers.
 *
 * See secret.c.  A name is compared without its joints and its case, so that
 * apiKey, api-key and API_KEY are one.
 */
#include "core/hot.h"
#include "core/secret_scan.h"

#define d DIGIT
#define l LOWER
#define F (LOWER | FIRST)
#define U UPPER
#define G (UPPER | FIRST)
#define s (SPACE | STOP)

HOT_CONST const unsigned char secret_class[256] = {
	['\t'] = s,['\n'] = STOP,['\r'] = STOP,[' '] = s,
	['"'] = STOP,['&'] = STOP,['\''] = STOP,[','] = STOP,[';'] = STOP,
	['<'] = STOP,['>'] = STOP,['`'] = STOP,
	['+'] = BASE64,['/'] = BASE64,['='] = BASE64,
	['-'] = JOINT,['.'] = JOINT,['_'] = JOINT,
	['0'] = d,['1'] = d,['2'] = d,['3'] = d,['4'] = d,['5'] = d,['6'] = d,
	['7'] = d,['8'] = d,['9'] = d,
	['A'] = G,['B'] = U,['C'] = U,['D'] = U,['E'] = U,['F'] = U,['G'] = U,
	['H'] = U,['I'] = U,['J'] = U,['K'] = U,['L'] = U,['M'] = U,['N'] = U,
	['O'] = U,['P'] = U,['Q'] = U,['R'] = U,['S'] = G,['T'] = U,['U'] = U,
	['V'] = U,['W'] = U,['X'] = U,['Y'] = U,['Z'] = U,
	['a'] = l,['b'] = l,['c'] = l,['d'] = l,['e'] = F,['f'] = l,['g'] = F,
	['h'] = l,['i'] = l,['j'] = l,['k'] = l,['l'] = l,['m'] = l,['n'] = l,
	['o'] = l,['p'] = l,['q'] = l,['r'] = F,['s'] = F,['t'] = l,['u'] = l,
	['v'] = l,['w'] = F,['x'] = F,['y'] = l,['z'] = l,
};

#undef d
#undef l
#undef F
#undef U
#undef G
#undef s

/* Names that hold secrets, with anything before them: db_password. */
static const Word endings[] = {
	WORD("accesskey"), WORD("apikey"), WORD("connectionstring"),
	WORD("credential"), WORD("credentials"), WORD("passphrase"),
	WORD("passwd"), WORD("password"), WORD("passwordconfirmation"),
	WORD("privatekey"), WORD("pwd"), WORD("secret"), WORD("secretkey"),
	WORD("signingkey"), WORD("token"),
};

/* Names that hold secrets only as they are. */
static const Word headers[] = {
	WORD("authorization"), WORD("proxyauthorization"),
	WORD("httpauthorization"), WORD("cookie"), WORD("setcookie"),
	WORD("httpcookie"),
};

/*
 * Does a name, but for its joints and its case, end with the word?  Goes from
 * the end, as that is where most names differ.  With whole, it must be the
 * word.
 */
static inline bool
ends_with(const char *name, size_t length, const Word *word, bool whole)
{
	size_t		left = word->length;

	while (left > 0)
	{
		while (length > 0 && (CLASS(name[length - 1]) & JOINT))
			length--;
		if (length == 0 || lower(name[length - 1]) != word->s[left - 1])
			return false;
		length--;
		left--;
	}
	while (whole && length > 0 && (CLASS(name[length - 1]) & JOINT))
		length--;
	return !whole || length == 0;
}

/* Is it the name of a header whose whole value is a secret? */
bool
secret_header(const char *name, size_t length)
{
	for (size_t i = 0; i < COUNT(headers); i++)
	{
		if (ends_with(name, length, &headers[i], true))
			return true;
	}
	return false;
}

bool
secret_key(const char *key, size_t length)
{
	/* password2 */
	while (length > 0 && (CLASS(key[length - 1]) & (DIGIT | JOINT)))
		length--;
	for (size_t i = 0; i < COUNT(endings); i++)
	{
		if (ends_with(key, length, &endings[i], false))
			return true;
	}
	return secret_header(key, length);
}
