<?php

// examples/middleware/Meter.php: limits and tracking for an API in Laravel.
//
// A middleware, app/Http/Middleware/Meter.php, for the routes of the API.
// Before a request is handled, one statement asks whether it may go on; after
// the response has been sent, another one tracks it.  It has a connection of its
// own, "meter" in config/database.php, so that it takes no part in transactions
// of the application.  laravel.php has that entry and shows it at work.

namespace App\Http\Middleware;

use Closure;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Cache;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Log;
use PDOException;

class Meter
{
    private const CHECK = <<<'SQL'
        SELECT d.allowed, d.reason, d.rule, meter_headers(d) AS headers
        FROM meter_check(?, left(?, 512), user_id => ?) AS d
        SQL;

    private const TRACK = <<<'SQL'
        SELECT meter_track(?, endpoint => ?, method => ?, status => ?,
                           latency_ms => ?, user_id => ?)
        SQL;

    // Whether requests go on when the database does not answer, or get 503.
    private const ALLOW_ON_ERROR = true;

    // Then it is left alone for so many seconds.
    private const PAUSE = 1;

    // Tenant and user of a request, or null for what is not metered.
    protected function caller(Request $request): ?array
    {
        $user = $request->user();

        return $user ? [(string) $user->tenant, (string) $user->id] : ['anonymous', $request->ip()];
    }

    public function handle(Request $request, Closure $next)
    {
        $caller = $this->caller($request);
        if ($caller === null) {
            return $next($request);
        }
        [$tenant, $user] = $caller;
        $endpoint = '/'.ltrim($request->route() ? $request->route()->uri() : $request->path(), '/');

        try {
            // the router answers HEAD with the route of GET
            $method = $request->isMethod('HEAD') ? 'GET' : $request->method();
            $decision = $this->ask(self::CHECK, [$tenant, "$method $endpoint", $user]);
            $headers = json_decode($decision->headers, true);
            if (! $decision->allowed) {
                $title = $decision->reason === 'quota' ? 'quota exceeded' : 'rate limit exceeded';

                return $this->refuse(429, $title, $headers, $decision->rule);
            }
        } catch (PDOException $e) {
            if ($this->isBadInput($e)) {
                return $this->refuse(400, 'this call cannot be counted');
            }
            if (! self::ALLOW_ON_ERROR) {
                return $this->refuse(503, 'limits cannot be checked', ['Retry-After' => '1']);
            }
            $headers = [];
        }

        $start = microtime(true);
        $response = $next($request);
        $response->headers->add($headers);
        $request->attributes->set('meter', [
            'tenant' => $tenant, 'endpoint' => $endpoint, 'method' => $request->method(),
            'status' => $response->getStatusCode(), 'latency_ms' => 1000 * (microtime(true) - $start),
            'user_id' => $user, 'at' => date(DATE_ATOM),
        ]);

        return $response;
    }

    // Called by Laravel after the response has been sent.  Never fails: an event
    // that could not be tracked is in the log, as meter_track_batch() takes it.
    public function terminate(Request $request, $response): void
    {
        $event = $request->attributes->get('meter');
        if ($event === null) {
            return;
        }
        try {
            $this->ask(self::TRACK, [$event['tenant'], $event['endpoint'], $event['method'],
                $event['status'], $event['latency_ms'], $event['user_id']]);
        } catch (PDOException $e) {
            Log::error('meter: lost '.json_encode($event, JSON_UNESCAPED_SLASHES));
        }
    }

    // The pause is in files, as requests have no memory in common.
    private function ask(string $sql, array $values)
    {
        if (Cache::store('file')->has('meter.paused')) {
            throw new PDOException('paused');
        }
        try {
            return DB::connection('meter')->selectOne($sql, $values);
        } catch (PDOException $e) {
            if (! $this->isBadInput($e)) {
                Cache::store('file')->put('meter.paused', true, self::PAUSE);
                Log::error('meter: '.$e->getMessage());
            }
            throw $e;
        }
    }

    // Errors of class 22 are about what was passed, such as a name that is too
    // long: no reason to let the request go on.
    private function isBadInput(PDOException $e): bool
    {
        return strncmp((string) $e->getCode(), '22', 2) === 0;
    }

    private function refuse(int $status, string $title, array $headers = [], ?string $rule = null)
    {
        return response()->json(['title' => $title, 'status' => $status, 'rule' => $rule], $status,
            $headers + ['Content-Type' => 'application/problem+json']);
    }
}
