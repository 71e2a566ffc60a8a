<?php

// examples/middleware/laravel.php: a small API to try Meter.php with.
//
// It is a Laravel application in one file, for Debian's packages
// (php-laravel-framework, php-pgsql); an application made with Laravel's
// installer has its parts in config, app/Http and routes.
//
//   PGHOST=... PGUSER=api_meter PGDATABASE=... php -S 127.0.0.1:3000 laravel.php
//
// The headers X-Tenant and X-User stand for what a real API knows after it has
// checked a key or a token.

use App\Http\Middleware\Meter;
use Illuminate\Config\Repository;
use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Foundation\Application;
use Illuminate\Foundation\Bootstrap;
use Illuminate\Foundation\Exceptions\Handler;
use Illuminate\Foundation\Http\Kernel;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Route;

require_once 'Illuminate/autoload.php';
require_once __DIR__.'/Meter.php';

$base = sys_get_temp_dir().'/meter-laravel';
@mkdir("$base/bootstrap/cache", 0700, true);

$config = [
    'app' => ['debug' => false, 'locale' => 'en', 'fallback_locale' => 'en', 'providers' => [
        Illuminate\Cache\CacheServiceProvider::class,
        Illuminate\Database\DatabaseServiceProvider::class,
        Illuminate\Filesystem\FilesystemServiceProvider::class,
        Illuminate\Translation\TranslationServiceProvider::class,
        Illuminate\View\ViewServiceProvider::class,
    ]],
    'cache' => ['stores' => ['file' => ['driver' => 'file', 'path' => "$base/cache"]]],
    'logging' => ['default' => 'stderr', 'channels' => ['stderr' => [
        'driver' => 'monolog', 'handler' => Monolog\Handler\StreamHandler::class, 'with' => ['stream' => 'php://stderr'],
    ]]],
    'view' => ['paths' => [], 'compiled' => $base],

    // config/database.php: as the role of setup.sql, with a connection that is
    // kept from one request to the next and no prepared statements, which would
    // take another round trip and which some poolers do not know
    'database' => ['connections' => ['meter' => [
        'driver' => 'pgsql',
        'host' => getenv('PGHOST'),
        'port' => getenv('PGPORT') ?: '5432',
        'database' => getenv('PGDATABASE'),
        'username' => getenv('PGUSER'),
        'password' => getenv('PGPASSWORD') ?: null,
        'options' => [
            PDO::ATTR_TIMEOUT => 2,
            PDO::ATTR_PERSISTENT => true,
            PDO::PGSQL_ATTR_DISABLE_PREPARES => true,
        ],
    ]]],
];

// What the configuration files and .env do otherwise.
class OneFileKernel extends Kernel
{
    protected $bootstrappers = [
        Bootstrap\HandleExceptions::class,
        Bootstrap\RegisterFacades::class,
        Bootstrap\RegisterProviders::class,
        Bootstrap\BootProviders::class,
    ];
}

// Stands for the API's authentication.
class HeaderAuthentication
{
    public function handle(Request $request, Closure $next)
    {
        $request->setUserResolver(fn () => $request->headers->has('X-Tenant') ? (object) [
            'tenant' => $request->header('X-Tenant'), 'id' => $request->header('X-User', '1'),
        ] : null);

        return $next($request);
    }
}

$app = new Application($base);
$app->instance('config', new Repository($config));
$app->detectEnvironment(fn () => 'production');
$app->singleton(ExceptionHandler::class, Handler::class);

// routes/api.php
$app->booted(function () {
    Route::get('/health', fn () => 'ok');
    Route::middleware([HeaderAuthentication::class, Meter::class])->group(function () {
        Route::get('/api/users/{id}', fn (string $id) => ['id' => $id]);
        Route::post('/api/bulk', fn () => response()->json(['accepted' => true], 202));
        Route::get('/api/fail', fn () => throw new RuntimeException('a fault of the API'));
        // what no route has taken is a call, too
        Route::fallback(fn () => response()->json(['title' => 'not found'], 404));
    });
});

$kernel = new OneFileKernel($app, $app['router']);
$request = Request::capture();
$response = $kernel->handle($request);
$response->send();
$kernel->terminate($request, $response);
