#!/bin/sh
# scripts/slurm against a real slurmctld and slurmd, of this machine alone: on the loopback, with files,
# key and ports of their own. Only what was started here is ended.
set -u
skip() {
	echo "skip slurm: $1"
	exit 0
}
PATH=$PATH:/usr/sbin
for program in slurmctld slurmd munged sbatch; do
	command -v $program >/dev/null || skip "no $program (Debian: slurmctld slurmd slurm-client munge)"
done
[ "$(id -u)" = 0 ] || skip "slurmd needs root"
dir=$(mktemp -d) || exit 1
started=
clean_up() {
	for pid in $started; do kill "$pid" 2>/dev/null; done
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		left=
		for pid in $started; do kill -0 "$pid" 2>/dev/null && left="$left $pid"; done
		[ -z "$left" ] && break
		sleep 0.3
	done
	for pid in $left; do kill -9 "$pid" 2>/dev/null; done
	rm -rf "$dir"
}
trap clean_up EXIT
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive

result() {
	if [ "$1" = 0 ]; then echo "ok $2"; else
		echo "not ok $2"
		tail -n 4 "$dir"/run/*.log "$dir/said" 2>/dev/null | sed 's/^/# /'
	fi
}

# ---- a cluster of one

start() { # NAME COMMAND...: in the background, its words to NAME.out
	name=$1
	shift
	"$@" >"$dir/$name.out" 2>&1 </dev/null &
	started="$started $!"
}
wait_for() { # SECONDS CONDITION...
	n=$(($1 * 5))
	shift
	while [ $n -gt 0 ]; do
		"$@" >/dev/null 2>&1 && return 0
		sleep 0.2
		n=$((n - 1))
	done
	return 1
}

chmod 755 "$dir" # munged insists on it
mkdir -m 755 "$dir/munge"
dd if=/dev/urandom of="$dir/munge/key" bs=64 count=1 2>/dev/null
chmod 600 "$dir/munge/key"
port=$((20000 + $$ % 20000))
host=$(uname -n)
cpus=$(nproc)
cat >"$dir/slurm.conf" <<-END
	ClusterName=duo-test
	SlurmctldHost=$host(127.0.0.1)
	SlurmctldPort=$port
	SlurmdPort=$((port + 1))
	SlurmUser=root
	AuthType=auth/munge
	AuthInfo=socket=$dir/munge/socket
	CredType=cred/munge
	StateSaveLocation=$dir/state
	SlurmdSpoolDir=$dir/spool
	SlurmctldPidFile=$dir/slurmctld.pid
	SlurmdPidFile=$dir/slurmd.pid
	SlurmctldLogFile=$dir/slurmctld.log
	SlurmdLogFile=$dir/slurmd.log
	ProctrackType=proctrack/linuxproc
	TaskPlugin=task/none
	SelectType=select/linear
	SwitchType=switch/none
	MpiDefault=none
	ReturnToService=2
	SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0
	MinJobAge=300
	KillWait=2
	NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus State=UNKNOWN
	PartitionName=test Nodes=$host Default=YES MaxTime=10 State=UP OverSubscribe=FORCE:4
END
mkdir "$dir/state" "$dir/spool"
export SLURM_CONF="$dir/slurm.conf"
start munged munged --foreground --force --socket="$dir/munge/socket" --key-file="$dir/munge/key" \
	--log-file="$dir/munge/log" --pid-file="$dir/munge/pid" --seed-file="$dir/munge/seed"
wait_for 10 test -S "$dir/munge/socket" || { tail -n 3 "$dir/munged.out" "$dir/munge/log" | sed 's/^/# /'; skip "munged does not start here"; }
start slurmctld slurmctld -D
start slurmd slurmd -D
wait_for 30 sh -c 'sinfo -h -o %t | grep -q idle' || {
	tail -n 3 "$dir"/slurm*.log "$dir"/slurm*.out | sed 's/^/# /'
	skip "slurmctld and slurmd do not start here"
}

# ---- a table of cells

# The third cell fails at first: its calibration set is not there yet.
mkdir "$dir/made"
"$DUO" eval -t wikitext2 --limit 1 --window 32 --method wanda --sparsity 0.5 --calib self:2x24 \
	--save-calib "$dir/made/calib.i32" --quiet >/dev/null 2>"$dir/said"
common="-t piqa,wikitext2 --limit 3 --window 64"
cat >"$dir/table" <<-END
	# method by method
	duo eval $common --method magnitude --sparsity 0.5
	eval $common --method magnitude --sparsity 0.6 --act-sparsity 0,0.5

	eval $common --method wanda --sparsity 0.5 --calib '$dir/made late/calib.i32'
	eval $common --method nosuch
END
slurm=$(dirname "$0")/../scripts/slurm
no_jobs() { [ -z "$(squeue -h)" ]; }

"$slurm" submit "$dir/run" --cells "$dir/table" --tries 2 --options "--threads 1" >"$dir/said" 2>&1 &&
	grep -q 'submitted as job [0-9]*: cells 1,2,3,4 of 4' "$dir/said"
result $? submitted
wait_for 200 no_jobs
result $? all_jobs_end
"$slurm" status "$dir/run" >"$dir/said" 2>&1
[ $? = 1 ] && grep -q '^2 of 4 cells are done' "$dir/said" &&
	grep -q '^cell 4, failed 2 times: duo eval.*nosuch' "$dir/said" && grep -q "no method 'nosuch'" "$dir/said"
result $? what_failed_is_told
[ "$(grep -c '^cell 4 of 4' "$dir/run/4.log")" = 2 ] && [ "$(grep -c '^cell 1 of 4' "$dir/run/1.log")" = 1 ]
result $? only_what_failed_is_tried_again
# 3 records of cell 1 (acc, acc_norm, perplexity), 6 of cell 2.
[ "$(wc -l <"$dir/run/records.jsonl")" = 9 ]
result $? records_are_merged

# The same command again, with what was missing there.
mv "$dir/made" "$dir/made late"
"$slurm" submit "$dir/run" --cells "$dir/table" >"$dir/said" 2>&1 && grep -q 'cells 3,4 of 4' "$dir/said"
result $? goes_on_with_what_is_missing
wait_for 200 no_jobs
[ "$(wc -l <"$dir/run/records.jsonl")" = 12 ] && [ "$(grep -c '^cell 1 of 4' "$dir/run/1.log")" = 1 ]
result $? the_rest_is_added

# The order and the values are those without Slurm.
cut_out() {
	sed -E 's/.*"method": ("[^"]*"), "weight_sparsity": ([^,]*).*"metric": ("[^"]*"), "value": ([^,]*),.*/\1 \2 \3 \4/' "$1"
}
sed -n '1,3p' "$dir/run/cells" | while read -r line; do
	eval "\"\$DUO\" $line -o jsonl" 2>/dev/null
done >"$dir/direct"
cut_out "$dir/direct" >"$dir/a"
cut_out "$dir/run/records.jsonl" >"$dir/b"
[ "$(sort -u "$dir/a" | wc -l)" -ge 9 ] && cmp -s "$dir/a" "$dir/b"
result $? the_records_are_those_without_slurm

# ---- a job that is cut short goes on from its journal

cat >"$dir/long" <<-END
	eval -t wikitext2 --window 128 --batch-tokens 128 --method magnitude --sparsity 0.5
END
"$slurm" submit "$dir/cut" --cells "$dir/long" --options "--threads 1" >"$dir/said" 2>&1
job=$(sed -n 's/submitted as job \([0-9]*\).*/\1/p' "$dir/said")
has_begun() { [ "$(stat -c %s "$dir/cut/1.journal-wal" 2>/dev/null || echo 0)" -gt 20000 ]; }
wait_for 60 has_begun
scontrol requeue "${job}_1" >>"$dir/said" 2>&1
result $? requeued_in_the_middle
# Slurm lets two minutes pass before it starts such a job again. It may be told to at once, but not before
# the first start has ended, which sets the time anew, nor in the second in which it did: the node takes a
# credential of that second for the one of the job that has ended.
is_pending() { [ "$(squeue -h -j "${job}_1" -o %t)" = PD ]; }
wait_for 60 is_pending
sleep 2
scontrol update JobId="${job}_1" StartTime=now
wait_for 200 no_jobs
[ "$(grep -c '^cell 1 of 1, ' "$dir/cut/1.log")" = 2 ] && [ -s "$dir/cut/1.jsonl" ] && [ ! -e "$dir/cut/1.tries" ]
result $? a_requeued_job_is_no_failed_try
eval "\"\$DUO\" $(cat "$dir/long") -o jsonl" >"$dir/direct" 2>"$dir/said"
cut_out "$dir/direct" >"$dir/a"
cut_out "$dir/cut/records.jsonl" >"$dir/b"
[ -s "$dir/a" ] && cmp -s "$dir/a" "$dir/b"
result $? with_the_value_of_one_in_one_go
all=$(sed -n 's/^wikitext2: \([0-9.]* *[kM]*\) tokens,.*s$/\1/p' "$dir/said" | tail -1)
rest=$(sed -n 's/^wikitext2: \([0-9.]* *[kM]*\) tokens,.*s$/\1/p' "$dir/cut/1.log" | tail -1)
echo "# $all tokens, $rest after the cut"
[ -n "$all" ] && [ -n "$rest" ] && [ "$all" != "$rest" ]
result $? from_its_journal

# ---- mistakes

"$slurm" submit "$dir/run" --cells "$dir/long" >"$dir/said" 2>&1
[ $? = 1 ] && grep -q 'has other cells than' "$dir/said"
result $? other_cells_are_refused
