// When the chunks of N completions streams arrive, taken with bare epoll and recv(2): what a client
// that does nothing else sees of a server. Beside it stands what abruzzi bench serve measures
// (bench/measure_accuracy.py), so that a late server can be told from a late client.
//
// usage: stream_times PORT STREAMS RATE TOKENS       prints JSON, in ms
#include "base/base.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_STREAMS = 10000 };

typedef struct stream {
    int fd, events;
    double start, first, last; // first and last token
    char tail;                 // the last byte read
} stream;

static stream streams[MAX_STREAMS];

static void begin(stream *s, int port, int tokens, int number, int epoll) {
    char body[128], request[512];
    int one = 1;
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((unsigned short)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int len =
        snprintf(body, sizeof body, "{\"prompt\":\"Prompt %d\",\"stream\":true,\"max_tokens\":%d}",
                 number, tokens);
    len = snprintf(request, sizeof request,
                   "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                   "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                   len, body);
    s->start = base_now_s();
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (s->fd < 0 || connect(s->fd, (const struct sockaddr *)&to, sizeof to) != 0 ||
        send(s->fd, request, (size_t)len, 0) != len) {
        perror("a stream cannot be opened");
        exit(1);
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};
    epoll_ctl(epoll, EPOLL_CTL_ADD, s->fd, &event);
}

// An event ends with an empty line ("\n\n"); the tokens come first, then "[DONE]". Returns whether
// all of them have come.
static bool take(stream *s, int tokens) {
    char buffer[1 << 16];
    ssize_t got = recv(s->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    double now = base_now_s();
    if (got <= 0) {
        fprintf(stderr, "a stream ended after %d events\n", s->events);
        exit(1);
    }
    for (ssize_t i = 0; i < got; i++) {
        if (buffer[i] == '\n' && s->tail == '\n') {
            s->events++;
            if (s->events == 1)
                s->first = now;
            if (s->events == tokens)
                s->last = now;
        }
        s->tail = buffer[i];
    }
    return s->events > tokens;
}

static void print(int n, int tokens) {
    double ttft = 0, e2el = 0, worst = 0;
    for (int i = 0; i < n; i++) {
        double t = streams[i].first - streams[i].start;
        ttft += t / n;
        e2el += (streams[i].last - streams[i].start) / n;
        worst = t > worst ? t : worst;
    }
    double gap = tokens > 1 ? (e2el - ttft) / (tokens - 1) : 0;
    printf("{\"mean_ttft_ms\": %.3f, \"max_ttft_ms\": %.3f, \"mean_tpot_ms\": %.4f, "
           "\"mean_itl_ms\": %.4f, \"mean_e2el_ms\": %.3f}\n",
           ttft * 1e3, worst * 1e3, gap * 1e3, gap * 1e3, e2el * 1e3);
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: %s PORT STREAMS RATE TOKENS\n", argv[0]);
        return 64;
    }
    int port = atoi(argv[1]), n = atoi(argv[2]), tokens = atoi(argv[4]);
    double rate = atof(argv[3]); // "inf" is read, too
    if (n < 1 || n > MAX_STREAMS || !(rate > 0) || tokens < 1)
        return 64;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    static struct epoll_event ready[MAX_STREAMS];
    int epoll = epoll_create1(0);
    double start = base_now_s();
    for (int sent = 0, done = 0; done < n;) {
        while (sent < n && base_now_s() >= start + sent / rate) {
            begin(&streams[sent], port, tokens, sent, epoll);
            sent++;
        }
        int count = epoll_wait(epoll, ready, MAX_STREAMS, sent < n ? 1 : -1);
        for (int i = 0; i < count; i++) {
            stream *s = ready[i].data.ptr;
            if (take(s, tokens)) {
                epoll_ctl(epoll, EPOLL_CTL_DEL, s->fd, NULL);
                close(s->fd);
                done++;
            }
        }
    }
    print(n, tokens);
    return 0;
}
