#!/bin/sh
# test_table.sh: scripts/run-table and duo report --table on the embedded demo: what is missing is
# measured, once; a run that is killed half-way ends with the same table.
set -u
DUO=$(realpath "${DUO:-build/duo}") || exit 1
export DUO OMP_WAIT_POLICY=passive
run_table=$(realpath scripts/run-table) || exit 1
tables=$(realpath scripts/tables) || exit 1
work=$(mktemp -d /tmp/duo-test-table-XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
cd "$work" || exit 1

ok() { # NAME COMMAND...
	name=$1
	shift
	if "$@"; then
		echo "ok $name"
	else
		echo "not ok $name"
		tail -n 25 out err | cut -c1-200 | sed 's/^/# /'
	fi
}
has() { grep -qF -e "$1" out; }

cat >small.json <<'END'
{"title": "Small", "about": "For a test.", "command": "eval", "options": "--limit 3 --window 128",
 "tasks": "wikitext2,piqa,boolq", "mean": ["piqa", "boolq"], "paper_model": "P", "cells": [
  {"label": "dense", "options": "--method dense"},
  {"label": "magnitude", "options": "--method magnitude --sparsity 0.5"},
  {"label": "DuoGPT's score", "options": "--method duogpt --sparsity 0.5 --act-sparsity 0.5 --correct score --calib self:2x64"},
  {"label": "DuoGPT", "options": "--method duogpt --sparsity 0.5 --act-sparsity 0.5 --calib self:2x64"}]}
END

# Every table of the project can be read; without records all of it is missing.
for table in "$tables"/*.json; do
	name=$(basename "$table" .json)
	rows=$(grep -c '"label"' "$table")
	"$DUO" report --table "$name" --missing >out 2>err
	ok "table_$name" test "$(wc -l <out)" -eq "$rows"
done

# In one go; then nothing is left to do, and doing nothing changes nothing.
"$run_table" small.json --quiet --records whole.jsonl >whole.md 2>err
cp whole.md out
ok table_is_whole test "$(grep -c MISSING out)" -eq 0 -a "$(wc -l <whole.jsonl)" -eq 16
cp whole.jsonl before.jsonl
"$run_table" small.json --quiet --records whole.jsonl >out 2>err
ok nothing_is_measured_twice cmp -s whole.jsonl before.jsonl
ok same_table_again cmp -s whole.md out

# A limit on the command line makes a table of its own, which is not measured twice either.
sed 's/--limit 3//' small.json >open.json
"$run_table" open.json --quiet --limit 2 >out 2>err
cp build/tables/open-demo-limit-2.jsonl before.jsonl
"$run_table" open.json --quiet --limit=2 >out 2>err
ok limited_is_measured_once cmp -s build/tables/open-demo-limit-2.jsonl before.jsonl
ok limited_is_whole test "$(grep -c MISSING out)" -eq 0 -a "$(wc -l <before.jsonl)" -eq 16

"$run_table" small.json --quiet --limit 2 --records own.jsonl >out 2>err
ok limit_of_its_own grep -q "table 'small.json' has a --limit of its own" err

# What a cell's options may not be is one line with the file and the cell.
refused() { # NAME TEXT OPTIONS
	sed "s|--method magnitude --sparsity 0.5|$3|" small.json >bad.json
	"$DUO" report --table bad.json --missing >out 2>err
	ok "$1" test "$?" -eq 1 -a "$(wc -l <err)" -eq 1 -a ! -s out
	ok "$1_is_said" grep -qF "duo: bad.json: cell 'magnitude'$2" err
}
refused cell_asks_for_help ": a table does not ask for --help" --help
refused cell_of_unknown_option ": unknown option '--colour'" "--colour red"
refused cell_of_bad_number ": --sparsity: 'x' is not a number" "--method magnitude --sparsity x"
refused cell_is_two " is more than one cell" "--method magnitude --sparsity 0.5,0.6"

refused cell_that_writes ": a table does not say where files are written" "--method magnitude --sparsity 0.5 --log-samples x"
sed 's/"label": "DuoGPT"/"label": "Duo\\nGPT"/' small.json >bad.json
"$DUO" report --table bad.json --missing >out 2>err
ok control_character grep -qxF "duo: bad.json: field 'label' holds a control character" err

# A stranger's table is words to the shell, not programs.
sed 's|--method magnitude|--data $(touch${IFS}broke-1);touch${IFS}broke-2; `touch${IFS}broke-3` --method magnitude|' \
	small.json >evil.json
"$run_table" evil.json --quiet --limit 1 --records evil.jsonl >out 2>err
ok table_runs_nothing test ! -e broke-1 -a ! -e broke-2 -a ! -e broke-3
sed "s|--method magnitude|--data '\$(touch\${IFS}broke-1)' --method magnitude|" open.json >evil.json
"$DUO" report --table evil.json --missing >out 2>err
ok missing_is_quoted has "--data '\$(touch\${IFS}broke-1)' --method magnitude"
"$run_table" evil.json --quiet --limit 1 --records evil.jsonl >out 2>err
ok quoted_runs_nothing test ! -e broke-1 -a ! -e broke-2 -a ! -e broke-3

# What can go wrong at the start is a line.
"$run_table" small.json -m >out 2>err
ok option_without_value test "$?" -eq 1 -a "$(cat err)" = "run-table: -m needs a value"
flock whole.jsonl.lock "$run_table" small.json --quiet --records whole.jsonl >out 2>err
ok one_at_a_time test "$?" -eq 1 -a "$(cat err)" = "run-table: another run-table writes 'whole.jsonl'"
sed 's/--window 128//' open.json >wide.json
"$run_table" wide.json --quiet --limit 1 --window 64 --records wide.jsonl >out 2>err
ok option_of_another_table test "$?" -eq 1
ok option_of_another_table_is_said grep -q 'run-table: row 1 was measured and is missing still' err

# Killed when the second row has been written.
: >killed.jsonl
setsid "$run_table" small.json --quiet --records killed.jsonl >out 2>err &
pid=$!
n=0
while [ "$(wc -l <killed.jsonl)" -lt 8 ] && [ $n -lt 600 ]; do
	sleep 0.1
	n=$((n + 1))
done
kill -9 "-$pid"
wait $pid 2>/dev/null
"$DUO" report --table small.json killed.jsonl >out 2>err
ok missing_is_said has "MISSING from"
"$run_table" small.json --quiet --records killed.jsonl >out 2>err
ok killed_and_again_is_the_same cmp -s whole.md out

# Beside published numbers: the dense perplexity as it was measured, a mean far off.
value() { # TASK METRIC
	sed -n "s/.*\"method\": \"dense\".*\"task\": \"$1\".*\"metric\": \"$2\", \"value\": \([0-9.]*\).*/\1/p" whole.jsonl
}
published='"model": "P", "protocol": "published", "method": "dense", "weight_sparsity": 0, "act_sparsity": 0'
cat >paper.jsonl <<END
{$published, "task": "wikitext2", "metric": "perplexity", "value": $(value wikitext2 perplexity)}
{$published, "task": "mean", "metric": "acc", "value": 0.99, "source": "nowhere"}
END
"$DUO" report --table small.json whole.jsonl --paper paper.jsonl >out 2>err
ok published_within has "yes (0.0 se)"
ok published_beyond has "no ("
head -5 whole.jsonl | grep -v '"piqa"' >part.jsonl
"$DUO" report --table small.json part.jsonl --missing >out 2>err
ok missing_tasks_alone has "--method dense -t piqa"
sed 's/"seed": null/"seed": 3/; s/"run_id": "[0-9a-f]*", //' whole.jsonl >other.jsonl
"$DUO" report --table small.json other.jsonl --missing >out 2>err
ok other_recipe_is_missing has "--method dense -t wikitext2,piqa,boolq"
sed 's/--method dense/--method dense,wanda --sparsity 0.5 --calib self:2x64/' small.json >two.json
"$DUO" report --table two.json >out 2>&1
ok more_than_a_cell has "more than one cell"
"$DUO" report --table none >out 2>&1
ok no_table has "no table 'none'"
