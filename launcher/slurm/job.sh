# ----------------------------------------------------------------------------------------------------------------------
# What follows is the same in every job; docs/launching.md tells the whole protocol.

say() { echo "== $(date '+%F %T') job $SLURM_JOB_ID, restart ${SLURM_RESTART_COUNT:-0}: $*"; }

# First of all, because what USR1 does by default is to kill this shell.
asked='' ended='' ranks='' tries=0
trap 'asked=1; say "asked to stop"; [ -z "$ranks" ] || remind &' USR1
trap 'ended=1; say "SLURM ends this job"' TERM

# A rank that is still starting does not hear USR1, so it is told again; a srun that is, would be killed by it.
remind() { sleep 1; while kill -USR1 "$ranks" 2>/dev/null; do sleep 5; done; }

# Until process PID ends; returns its code. A signal ends `wait`, not the process.
await() {
    local code
    while wait "$1"; code=$?; kill -0 "$1" 2>/dev/null; do :; done
    return "$code"
}

newest_step() {
    local all=("$run_dir"/checkpoints/step[0-9]*)
    [ -d "${all[-1]}" ] && echo $((10#${all[-1]##*/step})) || echo 0
}

# For `cmbert status`, which reads it after the job is gone: EVENT [CODE REASON]
note() {
    printf '{"time": "%s", "event": "%s", "launcher": "slurm", "job": "%s", "nodes": "%s", "code": %s, "reason": "%s"}\n' \
        "$(date -u +%FT%T+00:00)" "$1" "$SLURM_JOB_ID" "$SLURM_JOB_NODELIST" "${2:-null}" "${3:-}" >> "$run_dir/launches.jsonl"
}

# Whether this start of the job is the one that SLURM wants to run: not cancelled, nor lost with its node and started
# again elsewhere. Asked of SLURM itself, because its signal may come late or never.
facts=''
is_wanted() {
    for _ in {1..360}; do facts=$(scontrol -o show job "$SLURM_JOB_ID") && break; sleep 10; done
    [[ -z $ended && $facts == *" JobState=RUNNING "* && $facts == *" Restarts=${SLURM_RESTART_COUNT:-0} "* ]]
}

# Whether this start was told to make room, by what SLURM said when it was last asked. Its steps had a TERM, this shell not.
is_preempted() {
    local start='~'
    [[ $facts =~ " StartTime="([0-9][^ ]*) ]] && start=${BASH_REMATCH[1]}
    [[ $facts =~ " PreemptTime="([0-9][^ ]*) && ! ${BASH_REMATCH[1]} < $start ]]
}

# Numbers of the jobs of this run that wait for this one to end.
waiting_jobs() { squeue --noheader --user="$(id -un)" --name="$SLURM_JOB_NAME" --states=PENDING --format=%i | paste -sd,; }

# A script that ends itself while SLURM cancels, preempts or requeues its job decides for SLURM how it ended.
await_slurm() {
    say "left to SLURM"
    trap '' TERM USR1
    sleep 900 &
    wait $!
    exit "$1"
}

# For good: neither this job nor another one of this launch starts again. CODE REASON
finish() {
    say "$2"
    echo "$2" > "$launch/over"
    exit "$1"
}

# To whoever goes on: the next job in the chain, or this one again.
hand_over() {
    is_wanted || await_slurm 85
    if [ -n "$(waiting_jobs)" ]; then
        say "the next job of this run goes on"
        exit 0
    fi
    say "back to the queue"
    # Or the traps would keep this shell alive when SLURM ends it.
    trap - TERM USR1
    scontrol requeue "$SLURM_JOB_ID" || finish 85 "SLURM does not requeue this job: submit the run again, or as a chain"
    sleep 900
    exit 85
}

# Left to the next job of the chain, or to a new submission: a running job cannot be moved away from its nodes.
go_on_without() {
    printf '%s\n' "$@" >> "$launch/excluded"
    local nodes waiting
    nodes=${always_excluded:+$always_excluded,}$(sort -u "$launch/excluded" | paste -sd,)
    waiting=$(waiting_jobs)
    if [ -n "$waiting" ]; then
        scontrol update JobId="$waiting" ExcNodeList="$nodes"
    else
        sbatch --exclude="$nodes" "$launch/job.sbatch"
    fi || finish 90 "preflight failed on $*, and SLURM does not let the run go on without"
    say "goes on without $nodes"
    exit 90
}

check_nodes() {
    [ -n "$preflight" ] || return 0
    local all passed failed answers=$launch/preflight.$SLURM_JOB_ID
    all=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
    # --ntasks as well: inside a job of more tasks, --ntasks-per-node alone is ignored without a word. Each node by itself,
    # as if it were no part of a step (containers may add torch's variables): one that hangs must not take the others along.
    srun --export=ALL --label --nodes="$SLURM_NNODES" --ntasks="$SLURM_NNODES" --ntasks-per-node=1 \
        --kill-on-bad-exit=0 --time=$((preflight_seconds / 60 + 2)) "${srun_options[@]}" \
        bash -c 'said=$(timeout -k 10 "$1" env -u SLURM_NTASKS -u RANK -u WORLD_SIZE -u LOCAL_RANK bash -c "$2" 2>&1) &&
            echo "passed $SLURMD_NODENAME" || echo "$said" >&2' preflight "$preflight_seconds" "$preflight" > "$answers" &
    await $!
    passed=$(sed -n 's/^ *[0-9]*: passed //p' "$answers")
    failed=$(grep -vxF "${passed:-none}" <<< "$all") || return 0
    is_wanted || await_slurm 90
    ! is_preempted || hand_over
    say "preflight failed on:" $failed
    note preflight 90 "preflight failed on $(paste -sd, <<< "$failed")"
    [ -n "$passed" ] || finish 90 "preflight failed on every node, so it is no node's fault"
    [ "$(cat "$launch/excluded" - 2>/dev/null <<< "$failed" | sort -u | wc -l)" -le "$max_excluded" ] ||
        finish 90 "preflight failed on $(paste -sd, <<< "$failed")"
    go_on_without $failed
}

run_ranks() {
    note started
    # srun returns the highest code of all tasks, 137 for those it killed itself, and 0 when a node was lost. So the
    # first rank to fail writes down its code, and rank 0 that all went well.
    export CMBERT_EXIT_FILE="$launch/exit.$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}.$((++tries))"
    # Below the ports that systems give away by themselves; another one each time, should this one be taken.
    export MASTER_PORT=$((20000 + (SLURM_JOB_ID + 97 * (${SLURM_RESTART_COUNT:-0} + tries)) % 12768))
    # One task a rank: signals and exit codes pass srun, and are lost in any launcher between it and a rank.
    # --wait=0: rank 0 may still be copying a checkpoint away when the others are done.
    # USR1 is ignored until a rank listens to it: what it does by default is to kill.
    srun --export=ALL --label --kill-on-bad-exit=1 --wait=0 "${srun_options[@]}" \
        bash -c 'trap "" USR1; exec "$@"' rank "${command[@]}" &
    ranks=$!
    [ -z "$asked" ] || remind &
    await "$ranks"
    code=$? ranks='' reason=''
    if [ -s "$CMBERT_EXIT_FILE" ]; then
        read -r code reason < "$CMBERT_EXIT_FILE"
    elif [ "$code" -eq 0 ]; then
        code=1 reason="ended without a word"
    fi
    say "the ranks ended with $code${reason:+ ($reason)}, the newest checkpoint is of step $(newest_step)"
}

count_failures() {
    local count=0 at=-1
    [ ! -e "$launch/failures" ] || read -r count at < "$launch/failures"
    [ "$at" = "$(newest_step)" ] || count=0
    echo "$((++count)) $(newest_step)" > "$launch/failures"
    [ "$count" -lt "$max_failures" ] || finish "$code" "gave up: $count crashes without a new checkpoint"
}

if [ -e "$launch/over" ]; then
    say "nothing is left to do: $(cat "$launch/over")"
    exit 0
fi
set_up

# As SLURM itself reaches the node: its name, unless that does not resolve everywhere.
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_ADDR=$(scontrol -o show node "$first" | grep -oP ' NodeAddr=\K\S+')
export MASTER_ADDR=${MASTER_ADDR:-$first}

while :; do
    [ -z "$asked" ] || hand_over
    check_nodes
    [ -z "$asked" ] || hand_over
    run_ranks
    if [ "$code" -eq 0 ]; then
        note ended 0 "complete"
        finish 0 "the run is complete"
    fi
    if ! is_wanted; then
        note ended "$code" "ended by SLURM: cancelled, preempted, out of time, or a node lost"
        await_slurm "$code"
    fi
    if is_preempted; then
        note ended "$code" "preempted"
        hand_over
    fi
    case $code in
        2)
            note ended 2 "refused: its output says why"
            finish 2 "a mistake in the settings, told above, which starting again does not mend"
            ;;
        85)
            note ended 85 "stopped as asked"
            hand_over
            ;;
        86) note ended 86 "rewound after a jump of the loss" ;;
        *)
            note ended "$code" "crashed${reason:+: $reason}"
            count_failures
            ;;
    esac
done
