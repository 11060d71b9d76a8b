/* A file system with the latency of a shared one: run a command whose calls for names below some directories wait.

    file_latency MICROSECONDS COUNT_FILE DIRECTORY[:DIRECTORY...] COMMAND [ARGUMENT...]

Calls for names are open, stat, access and readlink in all their forms, and reading a directory. The kernel hands each to
this process before it is executed (seccomp_unotify(2)), so those of the dynamic loader are seen too, which a preloaded
library would not see. The supervisor's own time, two switches of context, is the same with every latency. Contents are
read and mapped without a delay. Nothing is cached as a client of NFS would: every call waits.

At the end COUNT_FILE has the number of calls that waited. The exit code is that of the command. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WAITING_AT_ONCE 16 /* threads of all processes of the command */

/* A call, and which of its arguments are the directory and the path; -1: none. */
static const struct { int number, directory, path; } CALLS[] = {
#ifdef __NR_open
    {__NR_open, -1, 0}, {__NR_stat, -1, 0}, {__NR_lstat, -1, 0}, {__NR_access, -1, 0}, {__NR_readlink, -1, 0},
#endif
    {__NR_openat, 0, 1}, {__NR_openat2, 0, 1}, {__NR_newfstatat, 0, 1}, {__NR_statx, 0, 1}, {__NR_faccessat, 0, 1},
    {__NR_faccessat2, 0, 1}, {__NR_readlinkat, 0, 1}, {__NR_getdents64, 0, -1},
};
#define KINDS ((int)(sizeof CALLS / sizeof *CALLS))

static int listener;
static long microseconds;
static char *directories[16];
static atomic_long count;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int below(const char *path) {
    for (char **directory = directories; *directory; directory++) {
        size_t length = strlen(*directory);
        if (!strncmp(path, *directory, length) && (path[length] == '/' || !path[length]))
            return 1;
    }
    return 0;
}

/* Whether the call is for a name below the directories. */
static int waits(const struct seccomp_notif *call) {
    char path[PATH_MAX] = "", link[64], whole[2 * PATH_MAX];
    int kind = 0;
    while (kind < KINDS && CALLS[kind].number != call->data.nr)
        kind++;
    if (kind == KINDS)
        return 0;
    if (CALLS[kind].path >= 0) {
        /* Page by page: the one after the string may not exist. */
        unsigned long address = call->data.args[CALLS[kind].path];
        for (size_t read = 0; read < sizeof path - 1 && !memchr(path, 0, read);) {
            size_t part = 4096 - (address + read) % 4096;
            part = part < sizeof path - 1 - read ? part : sizeof path - 1 - read;
            struct iovec here = {path + read, part}, there = {(void *)(address + read), part};
            if (process_vm_readv(call->pid, &here, 1, &there, 1, 0) != (ssize_t)part)
                return 0;
            read += part;
        }
        if (!*path)
            return 0; /* of an open file, which a client knows */
        if (*path == '/')
            return below(path);
    }
    int directory = CALLS[kind].directory < 0 ? AT_FDCWD : (int)call->data.args[CALLS[kind].directory];
    if (directory == AT_FDCWD)
        snprintf(link, sizeof link, "/proc/%d/cwd", call->pid);
    else
        snprintf(link, sizeof link, "/proc/%d/fd/%d", call->pid, directory);
    ssize_t length = readlink(link, whole, PATH_MAX - 1);
    if (length < 0)
        return 0;
    snprintf(whole + length, sizeof whole - length, "/%s", path);
    return below(whole);
}

static void *serve(void *unused) {
    struct seccomp_notif call;
    struct seccomp_notif_resp answer;
    prctl(PR_SET_TIMERSLACK, 1UL);
    for (;;) {
        memset(&call, 0, sizeof call);
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call))
            continue; /* the process was killed before it was looked at */
        if (waits(&call)) {
            count++;
            struct timespec wait = {microseconds / 1000000, microseconds % 1000000 * 1000};
            if (microseconds)
                nanosleep(&wait, NULL);
        }
        memset(&answer, 0, sizeof answer);
        answer.id = call.id;
        answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
    return unused;
}

static int install(void) {
    struct sock_filter filter[KINDS + 3];
    int length = 0;
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int kind = 0; kind < KINDS; kind++)
        filter[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CALLS[kind].number, KINDS - kind, 0);
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    struct sock_fprog program = {length, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        fail("no_new_privs");
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

int main(int argc, char **argv) {
    int to_parent[2], to_child[2], number = -1, status;
    if (argc < 5) {
        fprintf(stderr, "usage: file_latency MICROSECONDS COUNT_FILE DIRECTORY[:...] COMMAND...\n");
        return 2;
    }
    microseconds = atol(argv[1]);
    char *part = strtok(argv[3], ":");
    for (int i = 0; part && i < 15; i++, part = strtok(NULL, ":"))
        directories[i] = part;
    if (pipe2(to_parent, O_CLOEXEC) || pipe2(to_child, O_CLOEXEC))
        fail("pipe");
    pid_t child = fork();
    if (!child) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        number = install();
        if (write(to_parent[1], &number, sizeof number) < 0 || number < 0)
            fail("seccomp");
        if (read(to_child[0], &number, 1) != 1)
            _exit(1);
        execvp(argv[4], argv + 4);
        fail(argv[4]);
    }
    if (read(to_parent[0], &number, sizeof number) != sizeof number || number < 0)
        return 1;
    listener = syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, child, 0), number, 0);
    if (listener < 0)
        fail("pidfd_getfd");
    for (int i = 0; i < WAITING_AT_ONCE; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, NULL))
            fail("thread");
    }
    if (write(to_child[1], "", 1) != 1)
        fail("pipe");
    waitpid(child, &status, 0);
    FILE *file = fopen(argv[2], "w");
    if (!file || fprintf(file, "%ld\n", (long)count) < 0 || fclose(file))
        fail(argv[2]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
