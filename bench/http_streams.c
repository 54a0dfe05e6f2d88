// What event streams cost the server: STREAMS clients, each sent an event of the usual size every
// 50 ms (20 tokens a second each). Prints the cores the server's process used and its memory.
//   http_streams [STREAMS [SECONDS [THREADS]]]
// The clients are a process of their own. Then the same connections are left idle, for their
// memory.
#include "http/http.h"
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { EVENT_BYTES = 155, PERIOD_MS = 50, MAX_THREADS = 64 };

typedef struct streams {
    http_exchange **at; // [n] of one thread
    int n, cap;
} streams;

static streams of_thread[MAX_THREADS];
static atomic_int n_open;
static atomic_bool ending;
static char event[EVENT_BYTES];

static bool on_head(void *arg, http_exchange *x) {
    (void)arg;
    (void)x;
    return true;
}

static void on_request(void *arg, http_exchange *x) {
    (void)arg;
    streams *s = &of_thread[http_thread(x)];
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 64;
        s->at = base_realloc(s->at, (size_t)s->cap * sizeof(http_exchange *));
    }
    s->at[s->n++] = x;
    http_stream_start(x, NULL);
    atomic_fetch_add(&n_open, 1);
}

static void on_gone(void *arg, http_exchange *x) {
    (void)arg;
    streams *s = &of_thread[http_thread(x)];
    for (int i = 0; i < s->n; i++)
        if (s->at[i] == x)
            s->at[i--] = s->at[--s->n];
    atomic_fetch_sub(&n_open, 1);
}

static void on_wake(void *arg, int thread) {
    (void)arg;
    streams *s = &of_thread[thread];
    for (int i = 0; i < s->n; i++) {
        if (atomic_load(&ending))
            http_stream_end(s->at[i]);
        else
            http_stream_send(s->at[i], event, EVENT_BYTES);
    }
    if (atomic_load(&ending))
        s->n = 0;
}

// Opens the streams and reads until it is killed.
static void run_clients(int port, int n) {
    static char bytes[65536], request[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int epoll = epoll_create1(0);
    for (int i = 0; i < n; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
        if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0 ||
            write(fd, request, sizeof request - 1) < 0 ||
            epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) != 0) {
            perror("client");
            _exit(1);
        }
    }
    struct epoll_event events[256];
    for (;;) {
        int ready = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < ready; i++)
            if (read(events[i].data.fd, bytes, sizeof bytes) <= 0)
                _exit(0);
    }
}

static double cpu_seconds(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
           1e-6 * (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

static double resident_mb(void) {
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%*d %ld", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / 1e6;
}

static void send_for(http_server *server, int threads, double seconds) {
    for (int i = 0; i < (int)(seconds * 1000 / PERIOD_MS); i++) {
        struct timespec period = {.tv_nsec = PERIOD_MS * 1000000L};
        nanosleep(&period, NULL);
        for (int t = 0; t < threads; t++)
            http_server_wake(server, t);
    }
}

int main(int argc, char **argv) {
    int n = argc > 1 ? atoi(argv[1]) : 1000;
    double seconds = argc > 2 ? atof(argv[2]) : 10;
    int threads = argc > 3 ? atoi(argv[3]) : 1;
    if (n < 1 || seconds <= 0 || threads < 1 || threads > MAX_THREADS) {
        fprintf(stderr, "usage: http_streams [STREAMS [SECONDS [THREADS]]]\n");
        return BASE_ERR_USAGE;
    }
    memset(event, 'e', sizeof event);
    memcpy(event, "data: ", 6);
    memcpy(event + sizeof event - 2, "\n\n", 2);
    http_options o = {.host = "127.0.0.1", .n_threads = threads};
    o.handler = (http_handler){
        .on_head = on_head, .on_request = on_request, .on_gone = on_gone, .on_wake = on_wake};
    http_limits_init(&o.limits);
    http_server *server;
    base_err err;
    double memory = resident_mb();
    if (http_server_start(&server, &o, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return err.code;
    }
    pid_t clients = fork();
    if (clients == 0)
        run_clients(http_server_port(server), n);
    while (atomic_load(&n_open) < n && waitpid(clients, NULL, WNOHANG) == 0)
        usleep(10000);
    send_for(server, threads, 0.5);
    double cpu = cpu_seconds(), start = base_now_s();
    send_for(server, threads, seconds);
    double elapsed = base_now_s() - start;
    printf("%d streams, %d bytes each %d ms, %d threads: %.3f cores, %.1f MB more resident\n",
           atomic_load(&n_open), EVENT_BYTES, PERIOD_MS, threads, (cpu_seconds() - cpu) / elapsed,
           resident_mb() - memory);
    atomic_store(&ending, true);
    send_for(server, threads, 0.1);
    cpu = cpu_seconds();
    usleep(1000000);
    printf("%d connections idle: %.4f cores, %.1f MB more resident\n",
           http_server_connections(server), cpu_seconds() - cpu, resident_mb() - memory);
    kill(clients, SIGKILL);
    waitpid(clients, NULL, 0);
    http_server_stop(server, 0);
    for (int t = 0; t < threads; t++)
        base_free(of_thread[t].at);
    return 0;
}
