# ----------------------------------------------------------------------------------------------------------------------
# The rest is the same in every job. docs/launching.md describes the protocol.

log() { echo "== $(date '+%F %T') job $SLURM_JOB_ID, restart ${SLURM_RESTART_COUNT:-0}: $*"; }

# Set the traps first, because the default action of USR1 would kill this shell.
stop_requested='' job_ending='' ranks_pid='' attempts=0
trap 'stop_requested=1; log "stop requested"; [ -z "$ranks_pid" ] || signal_ranks &' USR1
trap 'job_ending=1; log "SLURM is ending this job"' TERM

# Repeat USR1, because ranks that are still starting ignore it. Wait first: USR1 would kill a srun that is starting.
signal_ranks() { sleep 1; while kill -USR1 "$ranks_pid" 2>/dev/null; do sleep 5; done; }

# Wait for process PID and return its exit code. A signal interrupts `wait` while the process still runs.
wait_for_process() {
    local code
    while wait "$1"; code=$?; kill -0 "$1" 2>/dev/null; do :; done
    return "$code"
}

# Nodes of this start of the job that failed the preflight, one per line; the nodes that the ranks run on.
failed_nodes='' nodes=()
usable_nodes() { scontrol show hostnames "$SLURM_JOB_NODELIST" | grep -vxF "${failed_nodes:-none}"; }
node_list() { scontrol show hostlist "$(printf '%s\n' "${nodes[@]}" | paste -sd,)"; }

newest_step() {
    local all=("$run_dir"/checkpoints/step[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9])
    [ -d "${all[-1]}" ] && echo $((10#${all[-1]##*/step})) || echo 0
}

# Append to the launch log, which `cmbert status` reads: EVENT [CODE REASON]
record() {
    printf '{"time": "%s", "event": "%s", "launcher": "slurm", "job": "%s", "nodes": "%s", "code": %s, "reason": "%s"}\n' \
        "$(date -u +%FT%T+00:00)" "$1" "$SLURM_JOB_ID" "$(node_list)" "${2:-null}" "${3:-}" >> "$run_dir/launches.jsonl"
}

# Whether SLURM still wants this start of the job to run: the job is not cancelled, and was not restarted elsewhere after
# a lost node. This queries SLURM, because its signal may arrive late or never.
job_info=''
is_current() {
    for _ in {1..360}; do job_info=$(scontrol -o show job "$SLURM_JOB_ID") && break; sleep 10; done
    [[ -z $job_ending && $job_info == *" JobState=RUNNING "* && $job_info == *" Restarts=${SLURM_RESTART_COUNT:-0} "* ]]
}

# Why this start is not current, according to the last query.
why_ended() {
    local state=unknown
    [[ ! $job_info =~ " JobState="([A-Z_]+) ]] || state=${BASH_REMATCH[1]}
    [[ $job_info == *" Restarts=${SLURM_RESTART_COUNT:-0} "* ]] || state=RESTARTED
    case $state in
        CANCELLED) echo "cancelled" ;;
        TIMEOUT | DEADLINE) echo "out of time" ;;
        PREEMPTED) echo "preempted" ;;
        NODE_FAIL) echo "a node was lost" ;;
        RESTARTED) echo "SLURM started the job again" ;;
        *) echo "ended by SLURM, cause unknown (job state $state)" ;;
    esac
}

# Whether this start is being preempted, according to the last query. SLURM sends TERM to job steps, not to this shell.
is_preempted() {
    local start='~'
    [[ $job_info =~ " StartTime="([0-9][^ ]*) ]] && start=${BASH_REMATCH[1]}
    [[ $job_info =~ " PreemptTime="([0-9][^ ]*) && ! ${BASH_REMATCH[1]} < $start ]]
}

# List the jobs of this run that wait for this one to end.
pending_jobs() { squeue --noheader --user="$(id -un)" --name="$SLURM_JOB_NAME" --states=PENDING --format=%i | paste -sd,; }

# While SLURM cancels, preempts or requeues a job, a script that exits by itself overrides the state SLURM would record.
wait_for_slurm() {
    log "waiting for SLURM to end this job"
    trap '' TERM USR1
    sleep 900 &
    wait $!
    exit "$1"
}

# End the run: neither this job nor another job of this launch starts again. CODE REASON
finish() {
    log "$2"
    echo "$2" > "$launch/over"
    exit "$1"
}

# `cmbert launch stop` writes `over` too: what has ended is not started again.
exit_if_over() {
    [ -e "$launch/over" ] || return 0
    log "nothing more to do: $(cat "$launch/over")"
    exit 0
}

# Continue the run in the next job of the chain, or by requeueing this job.
continue_later() {
    is_current || wait_for_slurm 85
    exit_if_over
    if [ -n "$(pending_jobs)" ]; then
        log "the next job of this run continues"
        exit 0
    fi
    log "requeueing this job"
    # Otherwise the traps would keep this shell alive when SLURM ends it.
    trap - TERM USR1
    scontrol requeue "$SLURM_JOB_ID" || finish 85 "SLURM does not requeue this job: submit the run again, or as a chain"
    sleep 900
    exit 85
}

# Exclude nodes from the next job of the chain, or submit a new job: the nodes of a running job cannot be changed.
continue_without() {
    printf '%s\n' "$@" >> "$launch/excluded"
    local nodes pending
    nodes=${always_excluded:+$always_excluded,}$(sort -u "$launch/excluded" | paste -sd,)
    pending=$(pending_jobs)
    if [ -n "$pending" ]; then
        scontrol update JobId="$pending" ExcNodeList="$nodes"
    else
        sbatch --exclude="$nodes" "$launch/job.sbatch"
    fi || finish 90 "preflight failed on $*, and SLURM rejects a job without these nodes"
    log "continuing without $nodes"
    exit 90
}

# Run the preflight on each of these nodes by itself, not as a rank of a step (containers may set torch's variables): one
# that hangs must not block the others. Print whether it passed.
preflight_on() {
    # --ntasks is required: inside a job with more tasks, --ntasks-per-node alone is silently ignored.
    srun --export=ALL --label --nodelist="$(printf '%s\n' "$@" | paste -sd,)" --nodes=$# --ntasks=$# --ntasks-per-node=1 \
        --kill-on-bad-exit=0 --time=$((preflight_seconds / 60 + 2)) "${srun_options[@]}" \
        bash -c 'output=$(timeout -k 10 "$1" env -u SLURM_NTASKS -u RANK -u WORLD_SIZE -u LOCAL_RANK bash -c "$2" 2>&1) &&
            echo "passed $SLURMD_NODENAME" || { echo "$output" >&2; echo "failed $SLURMD_NODENAME"; }' \
        preflight "$preflight_seconds" "$preflight"
}

check_nodes() {
    [ -n "$preflight" ] || return 0
    local usable node silent pids=() passed failed results=$launch/preflight.$SLURM_JOB_ID
    mapfile -t usable < <(usable_nodes)
    preflight_on "${usable[@]}" > "$results" &
    wait_for_process $!
    # A node that srun cannot reach ends the step on all nodes, so those without a result are asked again, each in a step of
    # its own.
    silent=$(usable_nodes | grep -vxF "$(sed -nE 's/^ *[0-9]+: (passed|failed) //p' "$results")")
    for node in $silent; do
        preflight_on "$node" >> "$results" &
        pids+=($!)
    done
    for node in "${pids[@]}"; do wait_for_process "$node"; done
    passed=$(sed -n 's/^ *[0-9]*: passed //p' "$results")
    failed=$(usable_nodes | grep -vxF "${passed:-none}") || return 0
    leave_out "$failed"
}

# Go on without these nodes, which failed the preflight: in this job if enough others are left, otherwise in another one.
leave_out() {
    is_current || wait_for_slurm 90
    ! is_preempted || continue_later
    log "preflight failed on:" $1
    record preflight 90 "preflight failed on $(paste -sd, <<< "$1")"
    failed_nodes=${failed_nodes:+$failed_nodes$'\n'}$1
    if [ "$(usable_nodes | wc -l)" -ge "$min_nodes" ]; then
        log "continuing in this job without:" $1
        return 0
    fi
    [ -n "$(usable_nodes)" ] || finish 90 "preflight failed on every node, so the cause is not a single node"
    [ "$(cat "$launch/excluded" - 2>/dev/null <<< "$failed_nodes" | sort -u | wc -l)" -le "$max_excluded" ] ||
        finish 90 "preflight failed on $(paste -sd, <<< "$failed_nodes")"
    continue_without $failed_nodes
}

# Let all nodes exchange, spares too, and leave out those that do not (docs/doctor.md): they pass by themselves.
check_network() {
    mapfile -t nodes < <(usable_nodes)
    [ ${#network_check[@]} -gt 0 ] && [ ${#nodes[@]} -gt 1 ] || return 0
    local silent=$launch/silent.$SLURM_JOB_ID
    rm -f "$silent"
    set_address
    srun --export=ALL --label --kill-on-bad-exit=0 --wait=60 --time=$((preflight_seconds / 60 + 2)) \
        --nodelist="$(node_list)" --nodes=${#nodes[@]} --ntasks=$((${#nodes[@]} * ranks_per_node)) \
        --ntasks-per-node="$ranks_per_node" "${srun_options[@]}" \
        timeout -k 10 "$preflight_seconds" "${network_check[@]}" "$silent" &
    wait_for_process $!
    [ ! -s "$silent" ] || leave_out "$(cat "$silent")"
}

# The address under which SLURM reaches the first node; its name, unless that does not resolve on all nodes.
set_address() {
    MASTER_ADDR=$(scontrol -o show node "${nodes[0]}" | grep -oP ' NodeAddr=\K\S+')
    export MASTER_ADDR=${MASTER_ADDR:-${nodes[0]}}
}

# Choose the nodes of the ranks: the first max_nodes that pass the preflight. Those beyond them are spare.
choose_nodes() {
    check_nodes
    check_network
    mapfile -t nodes < <(usable_nodes | head -n "$max_nodes")
    set_address
}

# The tasks of a srun that was killed run on. Their wardens (launcher/ranks/warden.py) end them; wait until they have.
end_steps() {
    local steps seconds=0
    while steps=$(squeue --noheader --steps --job="$SLURM_JOB_ID" --format=%i | grep -E '\.[0-9]+$'); do
        [ "$seconds" -ne 2 ] || { log "ranks are left: they are requested to stop"; scancel --signal=TERM $steps; }
        [ "$seconds" -lt "$stop_seconds" ] || scancel $steps
        sleep 1
        ((++seconds))
    done
}

run_ranks() {
    record started
    # srun returns the highest exit code of all tasks, 137 for tasks that it killed, and 0 if a node was lost. So the first
    # rank that fails writes its exit code to this file, or rank 0 writes 0 on success.
    export CMBERT_EXIT_FILE="$launch/exit.$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}.$((++attempts))"
    # SLURM may give this start other nodes than the recipe was checked for.
    export CMBERT_RANKS_VARY=1
    # Below the ephemeral ports, and different for each attempt in case one is in use.
    export MASTER_PORT=$((20000 + (SLURM_JOB_ID + 97 * (${SLURM_RESTART_COUNT:-0} + attempts)) % 12768))
    # One task per rank: srun passes on signals and exit codes; a launcher between srun and the ranks would lose them.
    # --wait=0: rank 0 may still copy a checkpoint when the other ranks have ended.
    # Ignore USR1 until a rank installs its handler, because the default action is to kill the process.
    srun --export=ALL --label --kill-on-bad-exit=1 --wait=0 --nodelist="$(node_list)" --nodes=${#nodes[@]} \
        --ntasks=$((${#nodes[@]} * ranks_per_node)) --ntasks-per-node="$ranks_per_node" "${srun_options[@]}" \
        bash -c 'trap "" USR1; exec "$@"' rank "${command[@]}" &
    ranks_pid=$!
    [ -z "$stop_requested" ] || signal_ranks &
    wait_for_process "$ranks_pid"
    code=$? ranks_pid='' reason=''
    end_steps
    if [ -s "$CMBERT_EXIT_FILE" ]; then
        read -r code reason < "$CMBERT_EXIT_FILE"
    elif [[ $code =~ ^(0|2|8[5-7]|143)$ ]]; then
        # Not from a rank: 0 if a node was lost, 2 from a Python that did not find its file or a shell, 143 if srun ended the
        # other ranks before they failed too.
        code=1 reason="no rank wrote an exit code"
    fi
    log "the ranks ended with exit code $code${reason:+ ($reason)}; the newest checkpoint is of step $(newest_step)"
}

count_failures() {
    local count=0 at=-1
    [ ! -e "$launch/failures" ] || read -r count at < "$launch/failures"
    [ "$at" = "$(newest_step)" ] || count=0
    echo "$((++count)) $(newest_step)" > "$launch/failures"
    [ "$count" -lt "$max_failures" ] || finish "$code" "gave up: $count crashes without a new checkpoint"
}

mapfile -t nodes < <(usable_nodes)
exit_if_over
set_up

# Copy the Python environment to the local disk of every node (stage.sh).
if [ ${#stage[@]} -gt 0 ]; then
    srun --export=ALL --label --nodes="$SLURM_NNODES" --ntasks="$SLURM_NNODES" --ntasks-per-node=1 --kill-on-bad-exit=0 \
        "${srun_options[@]}" "${stage[@]}" unpack &
    wait_for_process $!
fi

while :; do
    exit_if_over
    [ -z "$stop_requested" ] || continue_later
    choose_nodes
    [ -z "$stop_requested" ] || continue_later
    run_ranks
    # The reasons are those of launcher/runs/launch_log.py.
    if [ "$code" -eq 0 ]; then
        record ended 0 "complete"
        finish 0 "the run is complete"
    fi
    if ! is_current; then
        record ended "$code" "$(why_ended)"
        wait_for_slurm "$code"
    fi
    if is_preempted; then
        record ended "$code" "preempted"
        continue_later
    fi
    case $code in
        2)
            record ended 2 "configuration error, see its output"
            finish 2 "configuration error (see above); not retrying"
            ;;
        85)
            record ended 85 "stopped on request"
            continue_later
            ;;
        86) record ended 86 "rewound after a loss spike" ;;
        87)
            # The next start may have another number of nodes.
            record ended 87 "waiting for a number of ranks that fits the run"
            log "the run does not fit ${#nodes[@]} nodes (see above); waiting for another number of nodes"
            continue_later
            ;;
        *)
            record ended "$code" "crashed${reason:+: $reason}"
            count_failures
            ;;
    esac
done
