// libcurl's multi interface, driven by epoll. One thread carries thousands of streams: what libcurl
// has read is handed on from its write callback with the time of that moment, nothing is kept.
#include "measure/client.h"
#include <curl/curl.h>
#include <errno.h>
#include <math.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

// Few events at a time: the times of the last of a batch are as good as those of the first, but
// what became readable meanwhile has to wait for its turn.
enum { MAX_EVENTS = 128, BUFFER_BYTES = 64 << 10 };

typedef struct transfer {
    struct transfer *next; // in the queue of those to be started, or of those to be used again
    measure_client *c;
    CURL *easy;
    struct curl_slist *headers;
    base_str body;
    base_str url;
    void (*on_data)(void *arg, const char *data, size_t len, int64_t at_ns);
    void (*on_end)(void *arg, const measure_end *end);
    void *arg;
    struct transfer *older; // of all there are
} transfer;

struct measure_client {
    CURLM *multi;
    int epoll, timer;
    char *url; // without a slash at its end
    char *key;
    char **headers;
    int n_headers;
    struct curl_slist *resolved; // the host's addresses, asked for once
    bool insecure;
    long timeout_ms;
    transfer *all, *unused;
    transfer *waiting, **waiting_end; // started, but not known to libcurl
    int running;
    int64_t due_ns;   // when libcurl wants to be called; INT64_MAX: never
    int64_t armed_ns; // what the timer is set to; 0: nothing
    bool did;         // a callback was called
};

// ---------------------------------------------------------------------------------------------
// libcurl's callbacks

static size_t take_bytes(char *bytes, size_t size, size_t count, void *arg) {
    transfer *t = arg;
    int64_t now = base_now_ns();
    t->c->did = true;
    t->on_data(t->arg, bytes, size * count, now);
    return size * count;
}

// `known`: the descriptor is in the epoll set already.
static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known) {
    (void)easy;
    measure_client *c = arg;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(c->epoll, EPOLL_CTL_DEL, fd, NULL);
        curl_multi_assign(c->multi, fd, NULL);
        return 0;
    }
    struct epoll_event event = {.data.fd = fd};
    if (what != CURL_POLL_OUT)
        event.events |= EPOLLIN;
    if (what != CURL_POLL_IN)
        event.events |= EPOLLOUT;
    if (epoll_ctl(c->epoll, known != NULL ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) != 0 &&
        errno == EEXIST)
        epoll_ctl(c->epoll, EPOLL_CTL_MOD, fd, &event);
    curl_multi_assign(c->multi, fd, c);
    return 0;
}

static int set_timer(CURLM *multi, long ms, void *arg) {
    (void)multi;
    measure_client *c = arg;
    c->due_ns = ms < 0 ? INT64_MAX : base_now_ns() + (int64_t)ms * 1000000;
    return 0;
}

// ---------------------------------------------------------------------------------------------
// Transfers

static const char *reason_of(CURLcode code) {
    switch (code) {
    case CURLE_OK:
        return "";
    case CURLE_OPERATION_TIMEDOUT:
        return "timed out";
    case CURLE_COULDNT_CONNECT:
        return "could not connect";
    case CURLE_COULDNT_RESOLVE_HOST:
        return "the host's name could not be resolved";
    case CURLE_GOT_NOTHING:
        return "the connection was closed without a reply";
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
        return "the connection broke";
    case CURLE_SEND_ERROR:
        return "the connection broke while the request was sent";
    default:
        return curl_easy_strerror(code);
    }
}

static void set_always(measure_client *c, transfer *t) {
    CURL *easy = t->easy;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, t);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)BUFFER_BYTES);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "abruzzi/" ABRUZZI_VERSION);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, c->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, c->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_RESOLVE, c->resolved);
    if (c->insecure) {
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
}

static transfer *take_unused(measure_client *c) {
    transfer *t = c->unused;
    if (t != NULL) {
        c->unused = t->next;
        t->next = NULL;
        return t;
    }
    t = base_calloc(1, sizeof *t);
    t->c = c;
    t->older = c->all;
    c->all = t;
    t->easy = curl_easy_init();
    if (t->easy != NULL)
        set_always(c, t);
    return t;
}

static void add_header(transfer *t, const char *name, const char *value) {
    base_str line = {0};
    base_str_printf(&line, "%s: %s", name, value);
    t->headers = curl_slist_append(t->headers, line.data);
    base_str_free(&line);
}

static void set_headers(measure_client *c, transfer *t, const measure_request *r) {
    curl_slist_free_all(t->headers);
    t->headers = curl_slist_append(NULL, "Accept: */*");
    if (r->body != NULL) {
        t->headers = curl_slist_append(t->headers, "Content-Type: application/json");
        // Without it libcurl waits for "100 Continue" before it sends long bodies.
        t->headers = curl_slist_append(t->headers, "Expect:");
    }
    if (c->key != NULL) {
        base_str bearer = {0};
        base_str_printf(&bearer, "Bearer %s", c->key);
        add_header(t, "Authorization", bearer.data);
        base_str_free(&bearer);
    }
    if (r->request_id != NULL)
        add_header(t, "X-Request-Id", r->request_id);
    for (int i = 0; i < c->n_headers; i++)
        t->headers = curl_slist_append(t->headers, c->headers[i]);
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
}

void measure_client_start(measure_client *c, const measure_request *r) {
    transfer *t = take_unused(c);
    t->on_data = r->on_data;
    t->on_end = r->on_end;
    t->arg = r->arg;
    if (t->easy != NULL) {
        base_str_clear(&t->url);
        base_str_printf(&t->url, "%s%s", c->url, r->path);
        curl_easy_setopt(t->easy, CURLOPT_URL, t->url.data);
        base_str_clear(&t->body);
        if (r->body != NULL) {
            base_str_add(&t->body, r->body, r->len);
            curl_easy_setopt(t->easy, CURLOPT_POST, 1L);
            curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, t->body.data);
            curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->len);
        } else {
            curl_easy_setopt(t->easy, CURLOPT_HTTPGET, 1L);
        }
        set_headers(c, t, r);
    }
    *c->waiting_end = t;
    c->waiting_end = &t->next;
    c->running++;
}

static void end_transfer(measure_client *c, transfer *t, int status, const char *error) {
    const measure_end end = {.status = status, .error = error, .at_ns = base_now_ns()};
    void (*on_end)(void *arg, const measure_end *end) = t->on_end;
    void *arg = t->arg;
    t->next = c->unused;
    c->unused = t;
    c->running--;
    c->did = true;
    on_end(arg, &end);
}

// Hands libcurl what was started. It must not happen inside its callbacks.
static void add_waiting(measure_client *c) {
    while (c->waiting != NULL) {
        transfer *t = c->waiting;
        c->waiting = t->next;
        if (c->waiting == NULL)
            c->waiting_end = &c->waiting;
        t->next = NULL;
        if (t->easy == NULL || curl_multi_add_handle(c->multi, t->easy) != CURLM_OK)
            end_transfer(c, t, 0, "libcurl has no memory for it");
    }
}

static void end_finished(measure_client *c) {
    int left;
    for (const CURLMsg *m; (m = curl_multi_info_read(c->multi, &left)) != NULL;) {
        CURL *easy = m->easy_handle;
        CURLcode result = m->data.result;
        transfer *t = NULL;
        long status = 0;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&t);
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
        curl_multi_remove_handle(c->multi, easy);
        end_transfer(c, t, (int)status, reason_of(result));
    }
}

// ---------------------------------------------------------------------------------------------
// The loop

static void arm(measure_client *c, int64_t at_ns) {
    if (c->armed_ns == at_ns)
        return;
    c->armed_ns = at_ns;
    const struct itimerspec when = {
        .it_value = {.tv_sec = at_ns / 1000000000, .tv_nsec = at_ns % 1000000000}};
    timerfd_settime(c->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void act(measure_client *c, curl_socket_t fd, int what) {
    int running;
    curl_multi_socket_action(c->multi, fd, what, &running);
}

// What is due without waiting; new requests go out here.
static void work_due(measure_client *c) {
    add_waiting(c);
    if (c->due_ns <= base_now_ns()) {
        c->due_ns = INT64_MAX;
        act(c, CURL_SOCKET_TIMEOUT, 0);
    }
    end_finished(c);
}

// False: a signal came.
static bool wait_for_events(measure_client *c, int64_t until_ns) {
    struct epoll_event events[MAX_EVENTS];
    int64_t wake = until_ns < c->due_ns ? until_ns : c->due_ns;
    bool wait = c->waiting == NULL && wake > base_now_ns();
    if (wait && wake != INT64_MAX)
        arm(c, wake);
    int n = epoll_wait(c->epoll, events, MAX_EVENTS, wait ? -1 : 0);
    if (n < 0)
        return errno != EINTR;
    for (int i = 0; i < n; i++) {
        int what = (events[i].events & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0) |
                   (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                   (events[i].events & EPOLLERR ? CURL_CSELECT_ERR : 0);
        if (events[i].data.fd == c->timer)
            arm(c, 0);
        else
            act(c, events[i].data.fd, what);
    }
    end_finished(c);
    return true;
}

int measure_client_running(const measure_client *c) {
    return c->running;
}

void measure_client_run(measure_client *c, int64_t until_ns) {
    c->did = false;
    for (;;) {
        work_due(c);
        bool all_done = until_ns == 0 && (c->did || c->running == 0);
        if (all_done || !wait_for_events(c, until_ns == 0 ? INT64_MAX : until_ns))
            return;
        if (until_ns != 0 && base_now_ns() >= until_ns) {
            work_due(c);
            return;
        }
    }
}

// ---------------------------------------------------------------------------------------------

// libcurl starts a thread for each transfer that has to ask for the host's name. If the name is
// unknown here (a proxy may know it), libcurl is left to find that out.
static struct curl_slist *resolve(const char *url) {
    struct curl_slist *list = NULL;
    char *host = NULL, *port = NULL;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    CURLU *parts = curl_url();
    if (parts != NULL && curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl_url_get(parts, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
        host[0] != '[' && getaddrinfo(host, port, &hints, &found) == 0) {
        base_str entry = {0};
        base_str_printf(&entry, "%s:%s:", host, port);
        const char *separator = "";
        for (const struct addrinfo *a = found; a != NULL; a = a->ai_next) {
            char text[NI_MAXHOST];
            if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, NULL, 0,
                            NI_NUMERICHOST) != 0)
                continue;
            bool six = strchr(text, ':') != NULL;
            base_str_printf(&entry, six ? "%s[%s]" : "%s%s", separator, text);
            separator = ",";
        }
        list = curl_slist_append(NULL, entry.data);
        base_str_free(&entry);
        freeaddrinfo(found);
    }
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(parts);
    return list;
}

// A connection is a descriptor, and the usual soft limit is 1,024.
static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int check_options(const measure_client_options *o, base_err *err) {
    CURLU *parts = curl_url();
    bool http =
        strncasecmp(o->base_url, "http://", 7) == 0 || strncasecmp(o->base_url, "https://", 8) == 0;
    bool ok =
        http && parts != NULL && curl_url_set(parts, CURLUPART_URL, o->base_url, 0) == CURLUE_OK;
    curl_url_cleanup(parts);
    if (!ok)
        return base_fail(err, BASE_ERR_USAGE, "%s: not a URL that begins with http:// or https://",
                         o->base_url);
    if (o->key != NULL && strpbrk(o->key, "\r\n") != NULL)
        return base_fail(err, BASE_ERR_USAGE, "the API key has a line end in it");
    for (int i = 0; i < o->n_headers; i++) {
        if (strpbrk(o->headers[i], "\r\n") != NULL || strchr(o->headers[i], ':') == NULL)
            return base_fail(err, BASE_ERR_USAGE, "not a header: '%s'", o->headers[i]);
    }
    return 0;
}

static void copy_options(measure_client *c, const measure_client_options *o) {
    size_t len = strlen(o->base_url);
    while (len > 0 && o->base_url[len - 1] == '/')
        len--;
    c->url = base_strndup(o->base_url, len);
    c->key = o->key != NULL ? base_strdup(o->key) : NULL;
    c->headers = base_calloc((size_t)o->n_headers + 1, sizeof *c->headers);
    for (; c->n_headers < o->n_headers; c->n_headers++)
        c->headers[c->n_headers] = base_strdup(o->headers[c->n_headers]);
    c->insecure = o->insecure;
    // libcurl's limit is that of a signed 32-bit number of milliseconds, 0 is none.
    c->timeout_ms = (long)fmin(fmax(ceil(o->timeout_s * 1000.0), 0.0), 2147483647.0);
}

int measure_client_create(measure_client **out, const measure_client_options *options,
                          base_err *err) {
    *out = NULL;
    int rc = check_options(options, err);
    if (rc != 0)
        return rc;
    measure_client *c = base_calloc(1, sizeof *c);
    copy_options(c, options);
    c->waiting_end = &c->waiting;
    c->due_ns = INT64_MAX;
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    c->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    c->multi = curl_multi_init();
    struct epoll_event event = {.events = EPOLLIN, .data.fd = c->timer};
    if (c->epoll < 0 || c->timer < 0 || c->multi == NULL ||
        epoll_ctl(c->epoll, EPOLL_CTL_ADD, c->timer, &event) != 0) {
        rc = base_fail(err, BASE_ERR_RESOURCE, "no load can be made: %s", strerror(errno));
        measure_client_free(c);
        return rc;
    }
    raise_descriptor_limit();
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    if (options->max_open > 0)
        curl_multi_setopt(c->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)options->max_open);
    c->resolved = resolve(c->url);
    *out = c;
    return 0;
}

void measure_client_free(measure_client *c) {
    if (c == NULL)
        return;
    for (transfer *t = c->all, *older; t != NULL; t = older) {
        older = t->older;
        if (t->easy != NULL) {
            curl_multi_remove_handle(c->multi, t->easy); // no harm if it is not there
            curl_easy_cleanup(t->easy);
        }
        curl_slist_free_all(t->headers);
        base_str_free(&t->body);
        base_str_free(&t->url);
        base_free(t);
    }
    if (c->multi != NULL)
        curl_multi_cleanup(c->multi);
    if (c->epoll >= 0)
        close(c->epoll);
    if (c->timer >= 0)
        close(c->timer);
    curl_slist_free_all(c->resolved);
    for (int i = 0; i < c->n_headers; i++)
        base_free(c->headers[i]);
    base_free(c->headers);
    base_free(c->key);
    base_free(c->url);
    base_free(c);
}
