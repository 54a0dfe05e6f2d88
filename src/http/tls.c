// TLS by OpenSSL over a non-blocking socket.
//
// Renegotiation is off, so that SSL_write never has to wait for bytes of the client. SSL_read may
// have to write (the answer to a key update): tls_wants_out says so. The I/O threads block SIGPIPE,
// which OpenSSL's plain write(2) could raise.
#include "http/internal.h"

#include <openssl/err.h>
#include <unistd.h>

// Clients that would also speak HTTP/2 are told to speak HTTP/1.1.
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *arg) {
    (void)ssl;
    (void)arg;
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof ours - 1, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

// There is nobody to ask for a passphrase.
static int no_passphrase(char *out, int size, int writing, void *arg) {
    (void)out;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

static int bad_file(const char *path, const char *what, base_err *err) {
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    base_fail(err, BASE_ERR_USAGE, "%s: %s (%s)", path, what, reason ? reason : "OpenSSL");
    ERR_clear_error();
    return BASE_ERR_USAGE;
}

// OpenSSL's messages do not name what is wrong with a file that cannot be opened.
static int check_file(const char *path, base_err *err) {
    uint64_t size;
    int fd = base_file_open(path, BASE_ERR_USAGE, &size, err);
    if (fd < 0)
        return BASE_ERR_USAGE;
    close(fd);
    return 0;
}

static int use_files(SSL_CTX *context, const char *certfile, const char *keyfile, base_err *err) {
    if (check_file(certfile, err) || check_file(keyfile, err))
        return BASE_ERR_USAGE;
    if (SSL_CTX_use_certificate_chain_file(context, certfile) != 1)
        return bad_file(certfile, "not a PEM certificate chain", err);
    // This also compares the two.
    if (SSL_CTX_use_PrivateKey_file(context, keyfile, SSL_FILETYPE_PEM) != 1)
        return bad_file(keyfile, "not the PEM private key of the certificate", err);
    return 0;
}

int http_tls_open(SSL_CTX **out, const char *certfile, const char *keyfile, base_err *err) {
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (!context)
        return base_fail(err, BASE_ERR_RESOURCE, "TLS: no memory");
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF); // tickets need no memory
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
    int code = use_files(context, certfile, keyfile, err);
    if (code) {
        SSL_CTX_free(context);
        return code;
    }
    *out = context;
    return 0;
}

SSL *http_tls_accept(SSL_CTX *context, int fd) {
    SSL *ssl = SSL_new(context);
    if (!ssl)
        return NULL;
    if (SSL_set_fd(ssl, fd) != 1) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_accept_state(ssl);
    return ssl;
}

int http_tls_handshake(http_conn *c) {
    ERR_clear_error();
    int result = SSL_do_handshake(c->tls);
    int why = SSL_get_error(c->tls, result);
    c->tls_wants_out = why == SSL_ERROR_WANT_WRITE;
    if (result == 1)
        return 0;
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? HTTP_AGAIN : HTTP_FAILED;
}

ssize_t http_tls_read(http_conn *c, void *bytes, size_t len) {
    ERR_clear_error();
    size_t n = 0;
    int result = SSL_read_ex(c->tls, bytes, len, &n);
    int why = SSL_get_error(c->tls, result);
    c->tls_wants_out = why == SSL_ERROR_WANT_WRITE;
    if (result == 1)
        return (ssize_t)n;
    if (why == SSL_ERROR_ZERO_RETURN)
        return 0;
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? HTTP_AGAIN : HTTP_FAILED;
}

ssize_t http_tls_write(http_conn *c, const void *bytes, size_t len) {
    ERR_clear_error();
    size_t n = 0;
    int result = SSL_write_ex(c->tls, bytes, len, &n);
    if (result == 1)
        return (ssize_t)n;
    return SSL_get_error(c->tls, result) == SSL_ERROR_WANT_WRITE ? HTTP_AGAIN : HTTP_FAILED;
}
