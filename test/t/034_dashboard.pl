# 034_dashboard.pl: the dashboard in a real browser.
#
# A page of the demo's data, and of names that are markup, is opened in headless
# Chromium: that of the variable CHROMIUM, or one in the PATH.  What the browser
# has made of it has the figures of the views, and no other elements than ours;
# nothing is loaded, nothing is said on the console; light and dark, wide and as
# narrow as a phone, nothing is wider than the window and all text can be read.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use MeterTest qw(ask start_node);
use PostgreSQL::Test::Utils;
use Test::More;

my ($chromium) = grep { -x $_ } $ENV{CHROMIUM} || (),
  map { ("$_/chromium", "$_/chromium-browser", "$_/google-chrome") } split(/:/, $ENV{PATH});
plan skip_all => 'there is no Chromium' if !$chromium;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $script = '<script>alert(1)</script>';

# What the browser makes of a file, and what it says on the console.
sub browse
{
	my ($file, @options) = @_;
	my ($dom, $console) = ('', '');
	IPC::Run::run([ $chromium, '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage',
			'--no-first-run', '--disable-background-networking', '--disable-component-update',
			"--user-data-dir=$dir/profile", '--allow-file-access-from-files', '--enable-logging=stderr',
			'--virtual-time-budget=3000', @options, '--dump-dom', "file://$file" ],
		'<', \undef, '>', \$dom, '2>', \$console, IPC::Run::timeout(120));
	return ($dom, join("\n", grep { /CONSOLE/ } split(/\n/, $console)));
}

# --- the data: the demo's, and names that are markup --------------------------

my $node = start_node('dashboard', q{shared_preload_libraries = 'meter'
meter.flush_interval = 0
meter.rollup_interval = 0
timezone = 'UTC'
});
ask('CREATE EXTENSION meter CASCADE');

sub run_demo
{
	my ($file) = @_;
	my ($status, $stdout, $stderr) = $node->psql('postgres', undef, on_error_stop => 1,
		extra_params => [ '-f', "$FindBin::RealBin/../../examples/demo/$file.sql" ]);
	is($status, 0, "the demo's $file.sql runs") or diag $stderr;
	return;
}

run_demo('traffic');
# busy enough to be among the first ten
ask(q{
	SELECT count(meter_track($$<img src=x onerror=alert(2)>"'&$$, service => $$"><svg onload=alert(3)>$$, method => 'GET',
		endpoint => '<script>alert(1)</script>', status => 200, latency_ms => 5, user_id => $$</title><script>alert(4)</script>$$,
		at => now() - interval '2 minutes' - (i % 4) * interval '1 day'))
	FROM generate_series(1, 9000) AS i;
	SELECT count(meter_track('acme', endpoint => '/' || repeat('very-long-name/', 15), method => 'GET', status => 200, user_id => repeat('w', 128),
		at => now() - interval '2 minutes')) FROM generate_series(1, 4000) AS i;
	SELECT meter_flush(); SELECT meter_rollup()});
run_demo('limit');
run_demo('watch');
ask(q{INSERT INTO meter.rate_limit (tenant, resource, per, kind, max) VALUES ('hooli', 'import', 'month', 'window', 16);
	SELECT meter_allow('hooli', 'import') FROM generate_series(1, 15)});
ask('SELECT meter_flush(); SELECT meter_rollup()');

# --- the page, and what it should say -----------------------------------------

# in one transaction, so that both are of the same time
$node->safe_psql('postgres', qq{
	BEGIN ISOLATION LEVEL REPEATABLE READ;
	\\pset format unaligned
	\\pset tuples_only on
	\\o $dir/page.html
	SELECT meter_dashboard();
	\\o $dir/tenant.html
	SELECT meter_dashboard(tenant => 'globex');
	\\o $dir/nothing.html
	SELECT meter_dashboard('2001-01-01', '2001-01-02', 'nobody');
	\\o $dir/figures
	CREATE TEMP VIEW recent AS SELECT * FROM meter.usage_hourly
	WHERE hour > date_trunc('hour', now() - interval '1 microsecond', 'UTC') - interval '168 hours' AND hour < now();
	SELECT 'requests', sum(events) FROM recent WHERE metric = 'api_requests';
	SELECT 'error_rate', trim_scale(round(100.0 * sum(errors) / sum(events), 2)) FROM recent WHERE metric = 'api_requests';
	SELECT 'refused', sum(errors_429) FROM recent WHERE metric = 'api_requests';
	SELECT 'p95', meter_percentile(meter_sketch_merge(latency), 0.95)::numeric FROM recent WHERE metric = 'api_requests';
	SELECT 'tenants', count(DISTINCT tenant) FROM recent;
	SELECT 'cost', trim_scale(current) FROM meter_project(NULL);
	\\o $dir/rows
	SELECT 'endpoints', string_agg(requests::text, ' ' ORDER BY requests DESC) FROM (SELECT sum(requests) AS requests FROM meter.endpoint_stats
		WHERE hour > date_trunc('hour', now() - interval '1 microsecond', 'UTC') - interval '168 hours'
		GROUP BY service, endpoint, method ORDER BY 1 DESC LIMIT 10) AS e;
	SELECT 'tenants', string_agg(requests::text, ' ' ORDER BY requests DESC) FROM (SELECT sum(requests) AS requests FROM meter.endpoint_stats
		WHERE hour > date_trunc('hour', now() - interval '1 microsecond', 'UTC') - interval '168 hours'
		GROUP BY tenant ORDER BY 1 DESC LIMIT 10) AS t;
	SELECT 'users', string_agg(requests::text, ' ' ORDER BY requests DESC) FROM (SELECT sum(requests) AS requests FROM meter.top_users
		WHERE day >= ((date_trunc('hour', now() - interval '1 microsecond', 'UTC') - interval '167 hours') AT TIME ZONE 'UTC')::date
		GROUP BY tenant, user_id ORDER BY 1 DESC LIMIT 10) AS u;
	SELECT 'budgets', string_agg(trim_scale(spent)::text, ' ' ORDER BY percent DESC, tenant, service)
	FROM (SELECT * FROM meter.budget_status ORDER BY percent DESC, tenant, service LIMIT 6) AS b;
	\\o $dir/endpoints
	SELECT count(DISTINCT (service, endpoint, method)) FROM recent WHERE metric = 'api_requests' AND tenant = 'globex';
	\\o $dir/firing
	SELECT count(*) FROM meter.alert WHERE state = 'firing';
	SELECT count(*) FROM meter.incident WHERE status <> 'resolved';
	COMMIT});

my ($dom, $console) = browse("$dir/page.html");
like($dom, qr{^<!DOCTYPE html>.*<h1><small>meter</small>API dashboard</h1>.*</html>\s*$}s, 'the browser has the page');
is($console, '', 'and says nothing on its console');

my %shown = $dom =~ /<data id="(\w+)" value="([^"]*)"/g;
for (split /\n/, slurp_file("$dir/figures"))
{
	my ($id, $value) = split /\|/;
	is($shown{$id}, $value, "$id is that of the views");
}

# The rows of a section.
sub section
{
	my ($page, $class) = @_;
	my ($section) = $page =~ m{<section class="card [^"]*\b$class">(.*?)</section>}s;
	return $section // '';
}
for (split /\n/, slurp_file("$dir/rows"))
{
	my ($class, $values) = split /\|/;
	is(join(' ', section($dom, $class) =~ /<data value="([^"]*)"/g), $values // '', "$class are those of the views");
}
my ($firing, $open) = split /\n/, slurp_file("$dir/firing");
cmp_ok($firing, '>', 0, 'alerts fire');
like(section($dom, 'alerts'), qr{>$firing firing<.*Open incidents: $open<}s, 'and the page tells of all, and of the incidents');
like(section($dom, 'limits'), qr{hooli[^\n]*93\.8%[^\n]*15 of 16 requests per month}, 'a limit that is nearly exhausted is on the page');
like(section($dom, 'health'), qr{umbrella.*may leave}s, 'the tenant whose usage has fallen may leave');
like(section($dom, 'pipeline'), qr{<data value="0">0</data> events behind}, 'the pipeline is up to date');

# --- what data must not bring in ----------------------------------------------

unlike($dom, qr{<(?:script|img|svg onload|iframe|object)}i, 'no name has become an element');
# outside of quotes
unlike($dom, qr{<\w(?:[^<>"]|"[^"]*")*\son\w+=}i, 'nor an attribute that is called');
(my $escaped = $script) =~ s/</&lt;/g;
$escaped =~ s/>/&gt;/g;
like(section($dom, 'endpoints'), qr{>GET \Q$escaped\E<}, 'an endpoint that is a script is text');
like(section($dom, 'tenants'), qr{>&lt;img src=x onerror=alert\(2\)&gt;"'&amp;<}, 'so is a tenant');
like(section($dom, 'users'), qr{&lt;/title&gt;&lt;script&gt;alert\(4\)}, 'and a user');
my $page = slurp_file("$dir/page.html");
unlike($page, qr{<\w(?:[^<>"]|"[^"]*")*\s(?:src|srcset|data|href)=(?!"data:,")}i, 'the page loads nothing');
unlike($page, qr{url\(|\@import|https?:}i, 'nor does its style');
unlike($page, qr{[^\x0a\x09\x20-\x7e]}, 'it is ASCII');
cmp_ok(length($page), '<', 400_000, 'and not large');

my ($of_tenant) = browse("$dir/tenant.html");
like($of_tenant, qr{<h1><small>meter</small>globex</h1>}, 'a page of one tenant');
my ($endpoints) = $of_tenant =~ /<data id="endpoints" value="(\d+)">/;
is($endpoints, slurp_file("$dir/endpoints") =~ s/\s+$//r, 'has the number of its endpoints, also of those beyond the table');
cmp_ok($endpoints, '>', 10, 'of which there are more');
unlike($of_tenant, qr{acme|initech|umbrella|alert\(}, 'has nothing of others');
is(join(' ', section($of_tenant, 'budgets') =~ /<data value="([^"]*)"/g),
	ask(q{SELECT coalesce(string_agg(trim_scale(spent)::text, ' ' ORDER BY percent DESC), '') FROM meter.budget_status WHERE tenant = 'globex'}),
	'its budgets are on it');

# --- how it looks -------------------------------------------------------------

# In frames, which can be narrower than a window: the width that is needed, the
# background, and the least contrast of any text to what is behind it.
append_to_file("$dir/look.html", q{<!DOCTYPE html><html><body><script>
function channels(text) { return (text.match(/[\d.]+/g) || []).map(Number); }
function luminance(c) {
	const l = c.slice(0, 3).map(v => { v /= 255; return v <= 0.03928 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4); });
	return 0.2126 * l[0] + 0.7152 * l[1] + 0.0722 * l[2];
}
function behind(element, view) {
	for (let e = element; e; e = e.parentElement) {
		const c = channels(view.getComputedStyle(e).backgroundColor);
		if (c.length == 3 || c[3] == 1) return c;
	}
	return [255, 255, 255];
}
function look(frame) {
	const view = frame.contentWindow, page = frame.contentDocument;
	let least = 99, where = '', texts = 0, small = 0;
	const walker = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
	while (walker.nextNode()) {
		const e = walker.currentNode.parentElement;
		if (!walker.currentNode.data.trim() || !e.getClientRects().length || e.closest('svg')) continue;
		const style = view.getComputedStyle(e), a = luminance(channels(style.color)), b = luminance(behind(e, view));
		const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		texts++;
		if (parseFloat(style.fontSize) < 11) small++;
		if (contrast < least) { least = contrast; where = e.className + ' ' + walker.currentNode.data.trim().slice(0, 20); }
	}
	return [frame.name, 'needs', page.documentElement.scrollWidth, view.getComputedStyle(page.body).backgroundColor,
		'texts', texts, 'small', small, 'contrast', least.toFixed(2), where.replace(/[<>&]/g, '')].join(' ');
}
addEventListener('load', () => {
	const found = [...document.querySelectorAll('iframe')].map(look);
	document.body.innerHTML = '';
	found.forEach(f => { const p = document.createElement('p'); p.textContent = f; document.body.append(p); });
});
</script>} . join('', map { my $file = $_; map { qq{<iframe name="$file-$_" src="$file.html" width="$_" height="900" style="border:0"></iframe>} } 320, 390, 1280 }
		qw(page tenant nothing)) . '</body></html>');

for my $scheme ([ 'light', 1, 'rgb(244, 246, 249)' ], [ 'dark', 0, 'rgb(11, 15, 22)' ])
{
	my ($name, $setting, $background) = @$scheme;
	my ($looks, $said) = browse("$dir/look.html", "--blink-settings=preferredColorScheme=$setting");
	is($said, '', "$name: the console stays empty");
	my @frames = $looks =~ m{<p>([^<]*)</p>}g;
	is(scalar(@frames), 9, "$name: three pages, each 320, 390 and 1280 wide");
	for (@frames)
	{
		my ($frame, $width, $needs, $color, $texts, $small, $contrast, $where) =
		  /^(\w+-(\d+)) needs (\d+) (rgb\([^)]*\)) texts (\d+) small (\d+) contrast ([\d.]+)(.*)$/
		  or fail("$name: $_"), next;
		ok($needs <= $width && $color eq $background && $texts > 30 && $small == 0 && $contrast >= 4.5,
			"$name: $frame fits and can be read") or diag $_;
	}
}

# as the manual says
IPC::Run::run([ 'psql', '-X', '-At', '-c', 'select meter_dashboard()', $node->connstr('postgres') ], '>', "$dir/again.html")
  or die 'psql failed';
like(slurp_file("$dir/again.html"), qr{^<!DOCTYPE html>.*</html>\n$}s, 'psql -At writes the page');

done_testing();
