#!/bin/sh
# duo report: tables and the page made of records of the demo model; names that try to be markup; and,
# where gnuplot and Chromium are, what a browser makes of the page. DUO names the binary.
set -u
duo=$(realpath "${DUO:-build/duo}") || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
export OMP_WAIT_POLICY=passive
probe=$(realpath tests/report_probe.js) || exit 1

check() { # NAME CONDITION...
	name=$1
	shift
	if "$@" >"$work/why" 2>&1; then echo "ok $name"; else
		echo "not ok $name"
		sed 's/^/# /' "$work/why" "$work/err" | cut -c1-300 | head -20
	fi
}

run() { # ARGS...: stdout in out, stderr in err, status in rc
	"$duo" "$@" >"$work/out" 2>"$work/err" </dev/null
	rc=$?
}

"$duo" bench -t wikitext2,piqa --limit 2 --window 96 --threads 1 --what linears,layer,decode --context 64 \
	--time-limit 0.02 --per-layer --baseline --calib self:2x32 --method magnitude,duogpt,sleb \
	--sparsity 0.3,0.5 --act-sparsity 0.5 --quiet -o jsonl --out "$work/run.jsonl" 2>"$work/err" ||
	{ echo "not ok records"; sed 's/^/# /' "$work/err"; exit 1; }

# The same by names from a bad place: a model, a device, a method, a warning.
evil='<script>alert(1)<\/script><img src=\\"http:\/\/evil.example\/x\\" onerror=alert(2)>|_$\\\\input{x}%\&`'
sed -e 's/"run_id": "[0-9a-f]*", //' -e "s/\"model\": \"[^\"]*\"/\"model\": \"$evil\"/" \
	-e "s/\"device\": \"[^\"]*\"/\"device\": \"$evil @T0@ rgb(2,0,1)\"/" \
	-e "s/\"method\": \"duogpt\"/\"method\": \"duo$evil\"/" \
	-e "s/\"warnings\": \[/&\"$evil\", /" "$work/run.jsonl" |
	sed 's/", \]/"]/' >"$work/evil.jsonl"

# ---- forms that need no other program

run report "$work/run.jsonl"
cp "$work/out" "$work/md"
check md_has_all_tables sh -c '[ $(grep -c "^|---" "$0") = 5 ]' "$work/md"
check md_knows_the_layers grep -q '^Layers:$' "$work/md"

run report "$work/run.jsonl" -o csv
csv_is_whole() { # every line of a table has as many fields as its head
	awk 'function n(s, i, q, k) { for (i = 1; i <= length(s); i++) { c = substr(s, i, 1)
		if (c == "\"") q = !q; if (c == "," && !q) k++ } return k }
		{ sub(/\r$/, "") } /^$/ { want = 0; next } !want { want = n($0); t++; next }
		n($0) != want { print NR ": " $0; bad = 1 } END { exit bad || t != 5 }' "$1"
}
check csv_is_whole csv_is_whole "$work/out"

run report "$work/run.jsonl" -o latex --out "$work/tables.tex"
latex_is_whole() { # as many columns in every row as are declared; environments closed
	[ "$(grep -c 'begin{tabular}' "$1")" = 5 ] && [ "$(grep -c 'end{tabular}' "$1")" = 5 ] &&
		[ "$(grep -c toprule "$1")" = 5 ] && [ "$(grep -c bottomrule "$1")" = 5 ] &&
		awk '/begin{tabular}/ { s = $0; sub(/.*{@{}/, "", s); sub(/@.*/, "", s); want = length(s) }
			/ \\\\$/ { s = $0; gsub(/\\&/, "", s); if (gsub(/&/, "", s) + 1 != want) exit 1 }' "$1"
}
check latex_is_whole latex_is_whole "$work/tables.tex"
check latex_writes_to_the_file sh -c '[ ! -s "$0" ]' "$work/out"

# What LaTeX itself says, where it is (Debian: texlive-latex-base, texlive-latex-recommended).
latex_compiles() { # FILE: with the packages that its first line asks for, and no other
	{
		printf '%s\n' '\documentclass[landscape]{article}'
		sed -n '1{s/^% needs //;s/, UTF-8$//;s/, /\n/g;p;}' "$1"
		printf '%s\n' '\begin{document}'
		cat "$1"
		printf '%s\n' '\end{document}'
	} >"$work/doc.tex"
	(cd "$work" && rm -f doc.pdf && pdflatex -no-shell-escape -interaction=nonstopmode -halt-on-error doc.tex) >"$work/doc.out" 2>&1 &&
		[ -s "$work/doc.pdf" ] && return 0
	grep -a -A3 '^!' "$work/doc.out"
	return 1
}
if command -v pdflatex >/dev/null && kpsewhich booktabs.sty >/dev/null; then
	check latex_compiles latex_compiles "$work/tables.tex"
	run report "$work/evil.jsonl" -o latex
	cp "$work/out" "$work/evil.tex"
	check latex_compiles_any_name latex_compiles "$work/evil.tex"
else
	echo "skip latex_compiles: no pdflatex with booktabs"
fi

run report "$work/evil.jsonl" -o latex
check latex_obeys_no_name sh -c '[ '$rc' = 0 ] && ! grep -qF "\\input{" "$0" && grep -qF "textbackslash{}input" "$0"' "$work/out"
run report "$work/evil.jsonl"
check md_obeys_no_name sh -c '[ '$rc' = 0 ] && ! grep -q "[^\\\\]<script" "$0" && grep -qF "\<script>" "$0"' "$work/out"

run report "$work/nowhere.jsonl"
check no_file sh -c '[ '$rc' = 1 ] && grep -q "nowhere.jsonl" "$0"' "$work/err"
run report
check no_argument sh -c '[ '$rc' = 2 ]'
run report "$work/run.jsonl" -o pdf
check no_such_form sh -c '[ '$rc' = 2 ] && grep -q "known: md, csv, latex, html" "$0"' "$work/err"

mkdir "$work/bin"
PATH=$work/bin run report "$work/run.jsonl" -o html --out "$work/none.html"
check without_gnuplot sh -c '[ '$rc' = 1 ] && grep -q "gnuplot-nox" "$0" && [ ! -e "$1" ]' "$work/err" \
	"$work/none.html"

# ---- the page

if ! command -v gnuplot >/dev/null; then
	echo "skip page: gnuplot is not there (Debian package gnuplot-nox)"
	exit 0
fi
mkdir "$work/tmp"
export TMPDIR="$work/tmp"
run report "$work/run.jsonl" -o html --out "$work/run.html" --title "a <b> & c"
check page_is_made sh -c '[ '$rc' = 0 ] && [ ! -s "$0" ]' "$work/err"
check page_is_small sh -c '[ $(wc -c <"$0") -lt 2000000 ] && [ $(wc -c <"$0") -gt 20000 ]' "$work/run.html"
check nothing_is_left_behind sh -c '[ -z "$(ls -A "$0")" ]' "$work/tmp"
figures_are_there() {
	for f in pareto perplexity zeros layer-error stream-error breakdown roofline; do
		[ "$(grep -c "<figure class=\"$f\">" "$1")" = 1 ] || { echo "no $f"; return 1; }
	done
	for t in same-speed scores stderr against-dense layers speeds; do
		[ "$(grep -c "<div class=\"table $t\"" "$1")" = 1 ] || { echo "no $t"; return 1; }
	done
}
check page_has_all_figures_and_tables figures_are_there "$work/run.html"
# An address may name a language of markup alone.
no_address() {
	! grep -oE '(https?:)?//[a-z][^ "'"'"'<>]*|@import|url\([^#]' "$1" | grep -v '//www.w3.org/'
}
check page_has_no_address no_address "$work/run.html"
check page_has_no_script sh -c '! grep -qi "<script\|javascript:\| on[a-z]*=" "$0"' "$work/run.html"
check colours_are_variables sh -c '! grep -q "@T[0-9]\|rgb(\|#020[0-9]" "$0"' "$work/run.html"
run report "$work/evil.jsonl" -o html --out "$work/evil.html"
check page_obeys_no_name sh -c '[ '$rc' = 0 ] && ! grep -qi "<script\|<img" "$0" && grep -q "&lt;script&gt;" "$0"' \
	"$work/evil.html"

# ---- in a browser

browser=
for b in chromium chromium-browser google-chrome; do
	[ -n "$browser" ] || browser=$(command -v $b)
done
if [ -z "$browser" ]; then
	echo "skip browser: Chromium is not there (Debian package chromium)"
	exit 0
fi
# The page with the probe behind it; what the probe found is in the title, a line each.
look() { # PAGE WIDTH [OPTION...]: found, console
	page=$1 width=$2
	shift 2
	{ cat "$page"; echo "<script>"; cat "$probe"; echo "</script>"; } >"$work/probed.html"
	timeout 100 "$browser" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
		--user-data-dir="$work/profile" --disable-background-networking --disable-component-update \
		--host-resolver-rules='MAP * ~NOTFOUND' --enable-logging=stderr --window-size="$width,900" \
		--virtual-time-budget=2000 "$@" --dump-dom "file://$work/probed.html" >"$work/dom" 2>"$work/console"
	tr '\n' ' ' <"$work/dom" | sed 's/.*<pre id="found">//; s/<\/pre>.*//' | tr ';' '\n' >"$work/found"
	grep -i "CONSOLE" "$work/console" >"$work/said"
}
found_nothing_wrong() {
	cat "$work/found" "$work/said"
	grep -q '^looked$' "$work/found" && [ "$(grep -c . "$work/found")" = 1 ] && [ ! -s "$work/said" ]
}
look "$work/run.html" 1280 
if ! grep -q '</html>' "$work/dom"; then
	echo "skip browser: $browser does not start here"
	exit 0
fi
check browser_wide_light found_nothing_wrong
look "$work/run.html" 500 --blink-settings=preferredColorScheme=0
check browser_narrow_dark found_nothing_wrong
check browser_is_dark grep -q 'data-dark="1"' "$work/dom"
look "$work/evil.html" 1280
check browser_obeys_no_name found_nothing_wrong
