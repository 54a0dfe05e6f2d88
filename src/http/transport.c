// Bytes from and to a socket, plain or through TLS.
#include "http/internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <sys/socket.h>

static ssize_t outcome(ssize_t n) {
    if (n >= 0)
        return n;
    return errno == EAGAIN || errno == EWOULDBLOCK ? HTTP_AGAIN : HTTP_FAILED;
}

ssize_t http_transport_read(http_conn *c, void *bytes, size_t len) {
    if (c->tls)
        return http_tls_read(c, bytes, len);
    ssize_t n;
    do {
        n = recv(c->fd, bytes, len, 0);
    } while (n < 0 && errno == EINTR);
    return outcome(n);
}

ssize_t http_transport_write(http_conn *c, const void *bytes, size_t len) {
    if (c->tls)
        return http_tls_write(c, bytes, len);
    ssize_t n;
    do {
        n = send(c->fd, bytes, len, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return outcome(n);
}

void http_transport_shut(http_conn *c) {
    // One close_notify; what the client answers is of no interest.
    if (c->tls && !c->broken && c->state != HTTP_HANDSHAKE) {
        ERR_clear_error();
        SSL_shutdown(c->tls);
    }
    shutdown(c->fd, SHUT_WR);
}
