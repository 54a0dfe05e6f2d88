// Listening sockets: every address of a name, and a unix socket.
//
// SO_REUSEPORT is left alone: with it a second server would start on a port that is in use, and the
// kernel would share the clients out between the two.
#include "http/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 4096 // the kernel cuts it to net.core.somaxconn

static void add_listener(http_server *s, int fd, bool tls, bool uds) {
    s->listeners[s->n_listeners++] = (http_listener){.server = s, .fd = fd, .tls = tls, .uds = uds};
}

// ---------------------------------------------------------------------------------------------
// TCP

static void set_port(struct sockaddr *address, int port) {
    if (address->sa_family == AF_INET)
        ((struct sockaddr_in *)(void *)address)->sin_port = htons((uint16_t)port);
    else
        ((struct sockaddr_in6 *)(void *)address)->sin6_port = htons((uint16_t)port);
}

static int port_of(int fd) {
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        return 0;
    return ntohs(address.ss_family == AF_INET6
                     ? ((struct sockaddr_in6 *)(void *)&address)->sin6_port
                     : ((struct sockaddr_in *)(void *)&address)->sin_port);
}

// Returns the socket, or -1 with errno.
static int listen_tcp(const struct addrinfo *a) {
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    const int one = 1, zero = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    // What accept gives has these too, at no cost. A peer that was unplugged sends nothing: probes
    // find it while its request waits.
    const int idle_s = 60, between_s = 15, probes = 4;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &between_s, sizeof between_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
    // "::" means every address, those of IPv4 too.
    if (a->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static bool seen_before(const struct addrinfo *first, const struct addrinfo *a) {
    for (; first != a; first = first->ai_next)
        if (first->ai_addrlen == a->ai_addrlen &&
            memcmp(first->ai_addr, a->ai_addr, a->ai_addrlen) == 0)
            return true;
    return false;
}

// A name may have addresses this machine lacks (localhost as ::1 in a container): one must do.
static int listen_host(http_server *s, const http_options *o, base_err *err) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;
    int code = getaddrinfo(o->host, "0", &hints, &found);
    if (code)
        return base_fail(err, BASE_ERR_RESOURCE, "%s: %s", o->host,
                         code == EAI_SYSTEM ? strerror(errno) : gai_strerror(code));
    int wrong = 0;
    s->port = o->port;
    for (struct addrinfo *a = found; a && s->n_listeners < HTTP_MAX_LISTENERS - 1; a = a->ai_next) {
        if ((a->ai_family != AF_INET && a->ai_family != AF_INET6) || seen_before(found, a))
            continue;
        set_port(a->ai_addr, s->port);
        int fd = listen_tcp(a);
        if (fd >= 0) {
            add_listener(s, fd, s->tls != NULL, false);
            if (s->port == 0)
                s->port = port_of(fd);
        } else {
            wrong = errno;
            if (wrong != EADDRNOTAVAIL && wrong != EAFNOSUPPORT)
                break;
        }
        set_port(a->ai_addr, 0); // for seen_before
    }
    freeaddrinfo(found);
    if (s->n_listeners > 0 && (wrong == 0 || wrong == EADDRNOTAVAIL || wrong == EAFNOSUPPORT))
        return 0;
    return base_fail(err, BASE_ERR_RESOURCE, "%s port %d: %s", o->host, o->port,
                     strerror(wrong ? wrong : EADDRNOTAVAIL));
}

void http_peer_print(char out[HTTP_PEER_SIZE], const struct sockaddr *address) {
    char text[INET6_ADDRSTRLEN] = "";
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)address;
        inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
        snprintf(out, HTTP_PEER_SIZE, "%s:%d", text, ntohs(v4->sin_port));
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)address;
        if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
            inet_ntop(AF_INET, v6->sin6_addr.s6_addr + 12, text, sizeof text);
            snprintf(out, HTTP_PEER_SIZE, "%s:%d", text, ntohs(v6->sin6_port));
        } else {
            inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
            snprintf(out, HTTP_PEER_SIZE, "[%s]:%d", text, ntohs(v6->sin6_port));
        }
    } else {
        snprintf(out, HTTP_PEER_SIZE, "unix:");
    }
}

// ---------------------------------------------------------------------------------------------
// The unix socket

static int unix_socket(void) {
    return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

// Removes a socket that nobody listens to any more. 0, or errno.
static int remove_stale(const char *path, const struct sockaddr_un *address) {
    struct stat st;
    if (lstat(path, &st) != 0)
        return errno == ENOENT ? 0 : errno;
    if (!S_ISSOCK(st.st_mode))
        return EEXIST;
    int fd = unix_socket();
    if (fd < 0)
        return errno;
    int code = connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ? 0 : errno;
    close(fd);
    if (code != ECONNREFUSED)
        return code == 0 || code == EAGAIN ? EADDRINUSE : code;
    return unlink(path) == 0 || errno == ENOENT ? 0 : errno;
}

// Nobody can connect before listen, so until then the mode may be the umask's.
static int bind_unix(int fd, const char *path, const struct sockaddr_un *address,
                     struct stat *made) {
    if (bind(fd, (const struct sockaddr *)address, sizeof *address) != 0)
        return errno;
    if (chmod(path, 0600) == 0 && lstat(path, made) == 0 && listen(fd, BACKLOG) == 0)
        return 0;
    int code = errno;
    unlink(path);
    return code;
}

static int listen_uds(http_server *s, const char *path, base_err *err) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof address.sun_path)
        return base_fail(err, BASE_ERR_RESOURCE, "%s: the path of a unix socket has 1 to %zu bytes",
                         path, sizeof address.sun_path - 1);
    memcpy(address.sun_path, path, len + 1);
    struct stat made = {0};
    int code = remove_stale(path, &address);
    int fd = code ? -1 : unix_socket();
    if (!code)
        code = fd < 0 ? errno : bind_unix(fd, path, &address, &made);
    if (code) {
        if (fd >= 0)
            close(fd);
        return base_fail(err, BASE_ERR_RESOURCE, "%s: %s", path,
                         code == EEXIST ? "exists and is not a socket" : strerror(code));
    }
    s->uds = base_strdup(path);
    s->uds_dev = made.st_dev;
    s->uds_ino = made.st_ino;
    add_listener(s, fd, false, true);
    return 0;
}

int http_listen(http_server *s, const http_options *o, base_err *err) {
    int code = o->host ? listen_host(s, o, err) : 0;
    return code || !o->uds ? code : listen_uds(s, o->uds, err);
}

static void close_listener(http_listener *l) {
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1; // epoll's last list of events may still name it
}

void http_unlisten(http_server *s) {
    for (int i = 0; i < s->n_listeners; i++)
        close_listener(&s->listeners[i]);
    // Only our own: another server may have taken the name over.
    struct stat st;
    if (s->uds && lstat(s->uds, &st) == 0 && st.st_dev == s->uds_dev && st.st_ino == s->uds_ino)
        unlink(s->uds);
    base_free(s->uds);
    s->uds = NULL;
}
