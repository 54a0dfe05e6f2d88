// What streams cost the server: opens N completions streams of a running server, reads them for
// some seconds, and prints the events that came and the CPU time and memory of the server process.
//
// usage: replay_streams PORT PID [STREAMS] [SECONDS]
// docs/PERFORMANCE.md has the script the server is to play.
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_STREAMS = 10000 };

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

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

static int open_stream(int port) {
    static const char body[] = "{\"prompt\":\"x\",\"stream\":true,\"max_tokens\":2000}";
    char request[512];
    int len = snprintf(request, sizeof request,
                       "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                       "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                       sizeof body - 1, body);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((unsigned short)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        send(fd, request, (size_t)len, 0) != len) {
        fprintf(stderr, "127.0.0.1:%d: %s\n", port, strerror(errno));
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

// Reads whatever comes until `until`; returns the events.
static long read_streams(int epoll, double until, int *closed) {
    static char buffer[1 << 16];
    struct epoll_event ready[256];
    long events = 0;
    for (double left; (left = until - now_s()) > 0.0;) {
        int n = epoll_wait(epoll, ready, 256, (int)(left * 1e3) + 1);
        for (int i = 0; i < n; i++) {
            ssize_t got = recv(ready[i].data.fd, buffer, sizeof buffer, MSG_DONTWAIT);
            if (got > 0) {
                events += count_events(buffer, (size_t)got);
            } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
                (*closed)++;
                close(ready[i].data.fd);
            }
        }
    }
    return events;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: %s PORT PID [STREAMS] [SECONDS]\n", argv[0]);
        return 64;
    }
    int port = atoi(argv[1]), pid = atoi(argv[2]);
    int n = argc > 3 ? atoi(argv[3]) : 1000;
    double seconds = argc > 4 ? atof(argv[4]) : 20.0;
    if (n < 1 || n > MAX_STREAMS)
        return 64;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int epoll = epoll_create1(0), closed = 0;
    for (int i = 0; i < n; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = open_stream(port)};
        epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event);
    }
    read_streams(epoll, now_s() + 3.0, &closed); // until all have begun
    double cpu = cpu_s(pid), start = now_s();
    long events = read_streams(epoll, start + seconds, &closed);
    double elapsed = now_s() - start;
    printf("streams %d (closed %d)  events/s %.0f  server CPU %.3f cores  RSS %.1f MiB\n", n,
           closed, (double)events / elapsed, (cpu_s(pid) - cpu) / elapsed,
           (double)rss_kib(pid) / 1024.0);
    return 0;
}
