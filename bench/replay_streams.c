// What streams cost the server: opens N completions streams of a running server, reads them for
// some seconds, and prints the events that came and the CPU time and memory of the server process.
// Beside it the roofline: what the bare send(2) calls cost, of as many bytes at the same rate.
//
// usage: replay_streams PORT|SOCKET PID [STREAMS] [SECONDS]
// docs/PERFORMANCE.md has the script the server is to play.
#include "base/base.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_STREAMS = 10000 };

// Seconds of CPU that a process has used.
static double cpu_s(int pid) {
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL || fgets(line, sizeof line, file) == NULL) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(1);
    }
    fclose(file);
    const char *at = strrchr(line, ')');
    unsigned long user = 0, system = 0;
    if (at == NULL ||
        sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        exit(1);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static long rss_kib(int pid) {
    char path[64], line[256];
    long kib = -1;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        sscanf(line, "VmRSS: %ld", &kib);
    if (file != NULL)
        fclose(file);
    return kib;
}

typedef struct target {
    union {
        struct sockaddr any;
        struct sockaddr_in tcp;
        struct sockaddr_un unix_socket;
    };
    socklen_t len;
} target;

// A port on the loopback address, or the path of a socket.
static target find_target(const char *text) {
    target t = {.len = sizeof t.tcp};
    if (text[0] == '/') {
        t.unix_socket.sun_family = AF_UNIX;
        snprintf(t.unix_socket.sun_path, sizeof t.unix_socket.sun_path, "%s", text);
        t.len = sizeof t.unix_socket;
    } else {
        t.tcp.sin_family = AF_INET;
        t.tcp.sin_port = htons((unsigned short)strtol(text, NULL, 10));
        t.tcp.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    }
    return t;
}

static int connect_to(const target *t) {
    int fd = socket(t->any.sa_family, SOCK_STREAM, 0);
    if (fd >= 0 && connect(fd, &t->any, t->len) == 0)
        return fd;
    perror("connect");
    exit(1);
}

static int open_stream(const target *t) {
    static const char body[] = "{\"prompt\":\"x\",\"stream\":true,\"max_tokens\":2000}";
    char request[512];
    int len = snprintf(request, sizeof request,
                       "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                       "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                       sizeof body - 1, body);
    int fd = connect_to(t);
    if (send(fd, request, (size_t)len, 0) != len) {
        perror("send");
        exit(1);
    }
    return fd;
}

// The number of "data: " in the bytes; one that two reads cut apart is not counted.
static long count_events(const char *bytes, size_t len) {
    long n = 0;
    for (const char *at = bytes, *end = bytes + len;
         (at = memmem(at, (size_t)(end - at), "data: ", 6)) != NULL; at += 6)
        n++;
    return n;
}

typedef struct reading {
    int epoll, closed;
    long events;
    double bytes;
} reading;

static void add_reader(reading *r, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(r->epoll, EPOLL_CTL_ADD, fd, &event);
}

// Reads whatever comes until `until`.
static void read_streams(reading *r, double until) {
    static char buffer[1 << 16];
    static struct epoll_event ready[MAX_STREAMS];
    while (base_now_s() < until) {
        // Looking every few milliseconds: on loopback, waking a reader is charged to the sender,
        // and readers are elsewhere in earnest.
        nanosleep(&(struct timespec){.tv_nsec = 5 * 1000 * 1000}, NULL);
        int n = epoll_wait(r->epoll, ready, MAX_STREAMS, 0);
        for (int i = 0; i < n; i++) {
            ssize_t got = recv(ready[i].data.fd, buffer, sizeof buffer, MSG_DONTWAIT);
            if (got > 0) {
                r->events += count_events(buffer, (size_t)got);
                r->bytes += (double)got;
            } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
                r->closed++;
                close(ready[i].data.fd);
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------
// The roofline

enum { TICKS = 500 }; // a second; the server, too, sends what is due together

// A child that reads n connections until they are closed.
static void start_reader(const target *t, int n) {
    if (fork() != 0)
        return;
    reading r = {.epoll = epoll_create1(0)};
    for (int i = 0; i < n; i++)
        add_reader(&r, connect_to(t));
    while (r.closed < n)
        read_streams(&r, base_now_s() + 0.1);
    _exit(0);
}

static int listen_like(const target *like, target *bound) {
    *bound = *like;
    if (like->any.sa_family == AF_UNIX) {
        memset(bound->unix_socket.sun_path, 0, sizeof bound->unix_socket.sun_path);
        bound->len = sizeof bound->unix_socket.sun_family; // the kernel finds a name
    } else {
        bound->tcp.sin_port = 0;
    }
    int fd = socket(bound->any.sa_family, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, &bound->any, bound->len) != 0 || listen(fd, SOMAXCONN) != 0) {
        perror("listen");
        exit(1);
    }
    bound->len = sizeof bound->unix_socket;
    getsockname(fd, &bound->any, &bound->len);
    return fd;
}

// Cores that `rate` sends of `len` bytes a second to n connections take.
static double bare_sends(const target *like, int n, double rate, size_t len, double seconds) {
    static int fds[MAX_STREAMS];
    static char bytes[1 << 16];
    target bound;
    int listener = listen_like(like, &bound), one = 1;
    start_reader(&bound, n);
    for (int i = 0; i < n; i++) {
        fds[i] = accept(listener, NULL, NULL);
        setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    double cpu = cpu_s(getpid()), start = base_now_s(), sent = 0.0;
    for (double at; (at = base_now_s() - start) < seconds;) {
        for (; sent < at * rate; sent += 1.0)
            (void)!send(fds[(long)sent % n], bytes, len < sizeof bytes ? len : sizeof bytes, 0);
        nanosleep(&(struct timespec){.tv_nsec = 1000000000 / TICKS}, NULL);
    }
    cpu = cpu_s(getpid()) - cpu;
    for (int i = 0; i < n; i++)
        close(fds[i]);
    close(listener);
    wait(NULL);
    return cpu / seconds;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: %s PORT PID [STREAMS] [SECONDS]\n", argv[0]);
        return 64;
    }
    const target t = find_target(argv[1]);
    int pid = atoi(argv[2]), n = argc > 3 ? atoi(argv[3]) : 1000;
    double seconds = argc > 4 ? atof(argv[4]) : 20.0;
    if (n < 1 || n > MAX_STREAMS)
        return 64;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    reading r = {.epoll = epoll_create1(0)};
    static int fds[MAX_STREAMS];
    for (int i = 0; i < n; i++)
        add_reader(&r, fds[i] = open_stream(&t));
    read_streams(&r, base_now_s() + 3.0); // until all have begun
    r.events = 0;
    r.bytes = 0.0;
    double cpu = cpu_s(pid), start = base_now_s();
    read_streams(&r, start + seconds);
    double elapsed = base_now_s() - start, rate = (double)r.events / elapsed;
    double cores = (cpu_s(pid) - cpu) / elapsed;
    printf("streams %d (closed %d)  events/s %.0f of %.0f B  server CPU %.3f cores  RSS %.1f MiB\n",
           n, r.closed, rate, r.bytes / (double)r.events, cores, (double)rss_kib(pid) / 1024.0);
    if (r.events == 0)
        return 1;
    close(r.epoll);
    for (int i = 0; i < n; i++)
        close(fds[i]); // one that the server has closed is closed already: an error, no harm
    double bare = bare_sends(&t, n, rate, (size_t)(r.bytes / (double)r.events), seconds);
    printf("the bare sends: %.3f cores; the server takes %.2f times that\n", bare, cores / bare);
    return 0;
}
