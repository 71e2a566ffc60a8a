-- dashboard_style.sql: how the dashboard looks
--
-- Colours are those of the reader's system, light or dark, and on paper light.
-- Text has a contrast of 4.5 to 1 at least to what it stands on.

CREATE FUNCTION meter.dashboard_style() RETURNS text
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN $css$
:root {
	color-scheme: light;
	--page: #f4f6f9; --card: #ffffff; --line: #e2e7ee; --grid: #e9edf3; --ink: #131a26; --soft: #5a6577;
	--hover: rgba(19, 26, 38, .06); --track: #e9edf3; --mark: #7d8899;
	--blue: #2f6fed; --blue-ink: #1d54c4; --amber: #f0a020; --violet: #8b5cf6; --red: #e5484d; --green: #2aa567;
	--p50: #1746a2; --p95: #2f6fed; --p99: #8fb6f9; --band95: rgba(47, 111, 237, .30); --band99: rgba(47, 111, 237, .13);
	--good: #17744a; --good-bg: #e2f5eb; --warn: #8a5300; --warn-bg: #fdf1da; --bad: #b4232b; --bad-bg: #fdeaea; --info-bg: #e8effd;
}
@media (prefers-color-scheme: dark) {
	:root {
		color-scheme: dark;
		--page: #0b0f16; --card: #131a24; --line: #233042; --grid: #1f2a3a; --ink: #e9eef6; --soft: #9aa8bb;
		--hover: rgba(233, 238, 246, .08); --track: #222e3f; --mark: #8493a8;
		--blue: #5b93ff; --blue-ink: #8db5ff; --amber: #f2b03d; --violet: #a78bfa; --red: #f26669; --green: #46c583;
		--p50: #b4d0ff; --p95: #5b93ff; --p99: #37598f; --band95: rgba(91, 147, 255, .34); --band99: rgba(91, 147, 255, .15);
		--good: #6fdba4; --good-bg: #12301f; --warn: #f5c163; --warn-bg: #35270d; --bad: #ff9a9c; --bad-bg: #3a1719; --info-bg: #16264a;
	}
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink); font: 14px/1.45 Inter, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; font-variant-numeric: tabular-nums; font-feature-settings: "cv11", "ss03"; }
main { max-width: 1360px; margin: 0 auto; padding: 28px 28px 20px; display: grid; grid-template-columns: repeat(12, minmax(0, 1fr)); gap: 16px; }
body > header { max-width: 1360px; margin: 0 auto; padding: 30px 28px 0; display: flex; flex-wrap: wrap; align-items: flex-end; justify-content: space-between; gap: 12px 24px; }
h1 { margin: 0; font-size: 26px; line-height: 1.2; font-weight: 650; letter-spacing: -.02em; overflow-wrap: anywhere; }
h1 small { display: block; margin-bottom: 4px; font-size: 13px; font-weight: 600; letter-spacing: .01em; color: var(--blue-ink); }
.when { margin: 0; color: var(--soft); text-align: right; }
.when b { color: var(--ink); font-weight: 600; }
.card { grid-column: span 12; min-width: 0; display: flex; flex-direction: column; background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 18px 20px; box-shadow: 0 1px 2px rgba(16, 24, 40, .04); }
.card > header { display: flex; flex-wrap: wrap; align-items: baseline; justify-content: space-between; gap: 4px 16px; margin-bottom: 14px; }
h2 { margin: 0; font-size: 15px; font-weight: 620; letter-spacing: -.005em; }
.note, .soft { color: var(--soft); }
.note { margin: 0; font-size: 12.5px; }
.s2 { grid-column: span 2; } .s4 { grid-column: span 4; } .s5 { grid-column: span 5; } .s6 { grid-column: span 6; } .s7 { grid-column: span 7; } .s8 { grid-column: span 8; }
.figure { padding: 15px 18px 0; overflow: hidden; }
.figure h2 { font-size: 13px; font-weight: 500; color: var(--soft); }
.figure p { margin: 0; }
.figure .value { margin-top: 2px; font-size: 27px; line-height: 1.25; font-weight: 640; letter-spacing: -.025em; white-space: nowrap; }
.figure .change { font-size: 12.5px; color: var(--soft); min-height: 18px; }
.up, .down { font-weight: 600; color: var(--ink); } .worse { color: var(--bad); } .better { color: var(--good); }
.spark { display: block; margin: auto -18px 0; padding-top: 8px; width: calc(100% + 36px); height: 46px; }
svg path { vector-effect: non-scaling-stroke; }
.spark .line { fill: none; stroke: var(--blue); stroke-width: 1.5; stroke-linejoin: round; }
.spark .under { fill: var(--band99); }
.plot { position: relative; margin-left: 46px; padding-bottom: 24px; flex: 1; display: flex; flex-direction: column; }
.plot svg { display: block; width: 100%; height: 210px; flex: 1 0 auto; overflow: visible; }
.tall .plot svg { height: 250px; }
.grid { fill: none; stroke: var(--grid); stroke-width: 1; }
.y span { position: absolute; right: calc(100% + 10px); transform: translateY(50%); white-space: nowrap; font-size: 11.5px; line-height: 1; color: var(--soft); }
.y { position: absolute; top: 0; bottom: 24px; left: 0; width: 0; }
.x { position: relative; height: 0; }
.x span { position: absolute; top: 9px; font-size: 11.5px; line-height: 1; color: var(--soft); white-space: nowrap; padding-left: 5px; }
.x span::before { content: ""; position: absolute; left: 0; top: -9px; height: 18px; border-left: 1px solid var(--line); }
.hit { fill: transparent; } .hit:hover { fill: var(--hover); }
.b-ok { fill: var(--blue); } .b-client { fill: var(--amber); } .b-refused { fill: var(--violet); } .b-server { fill: var(--red); }
.b-mute { fill: var(--track); }
.l { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.l-error { stroke: var(--red); } .f-error { fill: var(--red); opacity: .14; }
.l-p50 { stroke: var(--p50); } .l-p95 { stroke: var(--p95); } .l-p99 { stroke: var(--p99); } .f-95 { fill: var(--band95); } .f-99 { fill: var(--band99); }
.l-cost { stroke: var(--blue); } .f-cost { fill: var(--band99); } .l-expected { stroke: var(--blue); stroke-dasharray: 5 5; } .f-expected { fill: var(--band95); opacity: .7; }
.l-now { stroke: var(--mark); stroke-width: 1; stroke-dasharray: 2 3; } .l-budget { stroke: var(--red); stroke-width: 1.5; stroke-dasharray: 7 4; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 0; padding: 0; list-style: none; font-size: 12.5px; color: var(--soft); }
.legend i { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 6px; }
.k-ok { background: var(--blue); } .k-client { background: var(--amber); } .k-refused { background: var(--violet); } .k-server, .k-error { background: var(--red); }
.k-p50 { background: var(--p50); } .k-p95 { background: var(--p95); } .k-p99 { background: var(--p99); } .k-expected { background: var(--band95); } .k-good { background: var(--green); } .k-warn { background: var(--amber); } .k-bad { background: var(--red); }
table { width: 100%; border-collapse: collapse; table-layout: fixed; }
th { text-align: right; font-size: 12px; font-weight: 500; color: var(--soft); padding: 0 0 8px 12px; border-bottom: 1px solid var(--line); white-space: nowrap; }
td { text-align: right; padding: 8px 0 8px 12px; border-bottom: 1px solid var(--grid); white-space: nowrap; }
tr:last-child td { border-bottom: 0; padding-bottom: 2px; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.n { width: 76px; } .nn { width: 92px; } .share { width: 22%; }
td.share i, .split { display: block; height: 6px; border-radius: 3px; background: var(--track); overflow: hidden; }
td.share i u { display: block; height: 100%; background: var(--blue); border-radius: 3px; }
.name { unicode-bidi: isolate; font-weight: 520; overflow: hidden; text-overflow: ellipsis; display: block; white-space: nowrap; }
.under { font-size: 12.5px; color: var(--soft); overflow: hidden; text-overflow: ellipsis; display: block; white-space: nowrap; unicode-bidi: isolate; }
.of { margin-left: 4px; font-weight: 400; color: var(--soft); unicode-bidi: isolate; }
.mono { font-family: ui-monospace, "SF Mono", "Cascadia Mono", "JetBrains Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 12.5px; font-weight: 400; }
.high { color: var(--bad); font-weight: 600; }
.pill { display: inline-block; padding: 2px 9px; border-radius: 999px; font-size: 12px; line-height: 1.5; font-weight: 600; white-space: nowrap; background: var(--info-bg); color: var(--blue-ink); }
.pill.good { background: var(--good-bg); color: var(--good); } .pill.warn { background: var(--warn-bg); color: var(--warn); } .pill.bad { background: var(--bad-bg); color: var(--bad); }
.list { margin: 0; padding: 0; list-style: none; }
.list li { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: 2px 12px; align-items: baseline; padding: 10px 0; border-bottom: 1px solid var(--grid); }
.list li:first-child { padding-top: 0; } .list li:last-child { border-bottom: 0; padding-bottom: 0; }
.list .level, .list .wide-row { grid-column: 1 / -1; }
.list .wrap { overflow-wrap: anywhere; white-space: normal; }
.list .wrap::first-letter { text-transform: uppercase; }
.dots li { padding: 8px 0 8px 18px; position: relative; }
.dots li::before { content: ""; position: absolute; left: 1px; top: 15px; width: 8px; height: 8px; border-radius: 50%; background: var(--blue); }
.dots li:first-child::before { top: 7px; }
.dots .critical::before { background: var(--red); } .dots .warning::before { background: var(--amber); }
.level { position: relative; height: 10px; margin: 5px 0 3px; border-radius: 5px; background: var(--track); overflow: hidden; }
.level i, .level u { position: absolute; left: 0; top: 0; bottom: 0; border-radius: 5px; }
.level.good i { background: var(--green); } .level.warn i { background: var(--amber); } .level.bad i { background: var(--red); }
.level u { opacity: .28; background: repeating-linear-gradient(135deg, var(--ink) 0 2px, transparent 2px 5px); }
.level b { position: absolute; top: 0; bottom: 0; width: 2px; margin-left: -1px; background: var(--ink); opacity: .45; }
.sums { display: flex; flex-wrap: wrap; gap: 10px 32px; margin: 0 0 16px; }
.sums div { min-width: 0; }
.sums dt { font-size: 12.5px; color: var(--soft); }
.k-budget { display: inline-block; width: 22px; margin-left: 4px; vertical-align: 3px; border-top: 2px dashed var(--red); }
.sums dd { margin: 0; font-size: 20px; font-weight: 620; letter-spacing: -.015em; white-space: nowrap; }
.sums dd small { font-size: 12.5px; font-weight: 400; letter-spacing: 0; color: var(--soft); }
.pipe { display: grid; grid-template-columns: repeat(6, minmax(0, 1fr)); gap: 14px 20px; margin: 0; }
.pipe dt { font-size: 12.5px; color: var(--soft); } .pipe dd { margin: 1px 0 0; font-size: 17px; font-weight: 600; } .pipe dd small { display: block; font-size: 12.5px; font-weight: 400; color: var(--soft); }
.split { display: flex; height: 10px; border-radius: 5px; margin-bottom: 10px; } .split i { display: block; }
.score { display: inline-block; min-width: 34px; text-align: center; }
.empty { margin: auto 0; padding: 26px 0; text-align: center; color: var(--soft); }
.empty::before { content: ""; display: block; width: 30px; height: 6px; margin: 0 auto 10px; border-radius: 3px; background: var(--track); }
.more { padding-top: 10px; border-top: 1px solid var(--grid); margin-top: 10px; }
h3 { margin: 18px 0 8px; font-size: 12.5px; font-weight: 600; color: var(--soft); }
.alarm { margin: 14px 0 0; padding: 9px 12px; border-radius: 8px; background: var(--warn-bg); color: var(--warn); overflow-wrap: anywhere; }
footer { max-width: 1360px; margin: 0 auto; padding: 4px 28px 34px; font-size: 12.5px; color: var(--soft); }
@media (max-width: 1100px) {
	.s2 { grid-column: span 4; } .s4, .s5, .s6, .s7, .s8 { grid-column: span 12; }
	.pipe { grid-template-columns: repeat(3, minmax(0, 1fr)); }
}
@media (max-width: 640px) {
	main { padding: 18px 14px; gap: 12px; } body > header { padding: 20px 16px 0; } footer { padding: 4px 16px 24px; }
	.s2 { grid-column: span 6; } .card { padding: 16px; border-radius: 10px; } .figure { padding: 13px 14px 0; }
	.figure .value { font-size: 22px; } .spark { margin: auto -14px 0; width: calc(100% + 28px); height: 38px; }
	.when { text-align: left; } .wide, .minor { display: none; } .plot svg, .tall .plot svg { height: 180px; } .share { width: 18%; }
	.pipe { grid-template-columns: repeat(2, minmax(0, 1fr)); } .n { width: 62px; } .nn { width: 74px; } th, td { padding-left: 8px; } .name.mono { white-space: normal; overflow-wrap: anywhere; line-height: 1.35; }
}
@media print {
	:root { color-scheme: light; --page: #ffffff; --card: #ffffff; --line: #d5dbe4; --grid: #e9edf3; --ink: #131a26; --soft: #4a5567;
		--track: #e9edf3; --mark: #7d8899; --blue: #2f6fed; --blue-ink: #1d54c4; --amber: #f0a020; --violet: #8b5cf6; --red: #e5484d; --green: #2aa567;
		--p50: #1746a2; --p95: #2f6fed; --p99: #8fb6f9; --band95: rgba(47, 111, 237, .30); --band99: rgba(47, 111, 237, .13);
		--good: #17744a; --good-bg: #e2f5eb; --warn: #8a5300; --warn-bg: #fdf1da; --bad: #b4232b; --bad-bg: #fdeaea; --info-bg: #e8effd; }
	* { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
	.card { break-inside: avoid; box-shadow: none; } main, body > header, footer { padding-left: 0; padding-right: 0; }
}
$css$;
COMMENT ON FUNCTION meter.dashboard_style() IS
'The style sheet of the dashboard';
