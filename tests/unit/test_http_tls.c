// The server through TLS: certificates of the test's own, clients by OpenSSL.
#include "http_bench.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

typedef struct keys {
    char folder[32], cert[64], key[64], other_key[64], locked_key[64];
} keys;

// `secret`: the passphrase, or NULL.
static void write_key(const char *path, EVP_PKEY *key, char *secret) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    const EVP_CIPHER *cipher = secret ? EVP_aes_128_cbc() : NULL;
    assert_int_equal(PEM_write_PrivateKey(f, key, cipher, NULL, 0, NULL, secret), 1);
    fclose(f);
}

static keys keys_make(void) {
    keys k = {.folder = "/tmp/http-tls-XXXXXX"};
    assert_non_null(mkdtemp(k.folder));
    snprintf(k.cert, sizeof k.cert, "%s/cert.pem", k.folder);
    snprintf(k.key, sizeof k.key, "%s/key.pem", k.folder);
    snprintf(k.other_key, sizeof k.other_key, "%s/other.pem", k.folder);
    snprintf(k.locked_key, sizeof k.locked_key, "%s/locked.pem", k.folder);
    EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    assert_non_null(key);
    assert_non_null(cert);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME *name = X509_get_subject_name(cert);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1,
                               0);
    X509_set_issuer_name(cert, name);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    FILE *f = fopen(k.cert, "w");
    assert_non_null(f);
    assert_int_equal(PEM_write_X509(f, cert), 1);
    fclose(f);
    write_key(k.key, key, NULL);
    write_key(k.locked_key, key, (char[]){"secret"});
    write_key(k.other_key, other, NULL);
    X509_free(cert);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
    return k;
}

static void keys_remove(const keys *k) {
    assert_int_equal(unlink(k->cert), 0);
    assert_int_equal(unlink(k->key), 0);
    assert_int_equal(unlink(k->other_key), 0);
    assert_int_equal(unlink(k->locked_key), 0);
    assert_int_equal(rmdir(k->folder), 0);
}

static bench *open_tls(const keys *k) {
    bench *b = bench_open();
    b->options.certfile = k->cert;
    b->options.keyfile = k->key;
    return b;
}

// A client; `context` is its settings.
static SSL *tls_connect(bench *b, SSL_CTX *context) {
    SSL *ssl = SSL_new(context);
    int fd = bench_connect(b);
    struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    SSL_set_fd(ssl, fd);
    if (SSL_connect(ssl) != 1)
        fail_msg("no handshake: %s", ERR_reason_error_string(ERR_peek_last_error()));
    return ssl;
}

static void tls_close(SSL *ssl) {
    int fd = SSL_get_fd(ssl);
    SSL_free(ssl);
    close(fd);
}

static void tls_say(SSL *ssl, const char *text) {
    size_t n;
    assert_int_equal(SSL_write_ex(ssl, text, strlen(text), &n), 1);
}

// Reads until the text ends in `end`.
static void tls_hear_until(SSL *ssl, base_str *text, const char *end) {
    size_t len = strlen(end), n;
    char bytes[16384];
    while (text->len < len || memcmp(text->data + text->len - len, end, len) != 0) {
        if (SSL_read_ex(ssl, bytes, sizeof bytes, &n) != 1)
            fail_msg("the connection ended after %zu bytes", text->len);
        base_str_add(text, bytes, n);
    }
}

static void tls_expect_end(SSL *ssl) {
    char c;
    size_t n;
    assert_int_equal(SSL_read_ex(ssl, &c, 1, &n), 0);
    assert_int_equal(SSL_get_error(ssl, 0), SSL_ERROR_ZERO_RETURN); // said, not cut
}

static void round_trip(int version) {
    keys k = keys_make();
    bench *b = bench_start(open_tls(&k));
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(context, version);
    SSL_CTX_set_max_proto_version(context, version);
    static const unsigned char protocols[] = "\x02h2\x08http/1.1";
    SSL_CTX_set_alpn_protos(context, protocols, sizeof protocols - 1);
    SSL *ssl = tls_connect(b, context);
    assert_int_equal(SSL_version(ssl), version);
    const unsigned char *chosen;
    unsigned chosen_len;
    SSL_get0_alpn_selected(ssl, &chosen, &chosen_len);
    assert_int_equal(chosen_len, 8);

    base_str text = {0};
    tls_say(ssl, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    tls_hear_until(ssl, &text, "POST hi");
    base_str_clear(&text);
    // Two requests in one record: no further event announces the second.
    tls_say(ssl, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\nGET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    bench_await(b, &b->n_requests, 2);
    bench_do(b, job_respond, "first", 5);
    tls_hear_until(ssl, &text, "GET ");
    assert_non_null(strstr(text.data, "first"));
    tls_close(ssl);
    SSL_CTX_free(context);
    base_str_free(&text);
    bench_close(b);
    keys_remove(&k);
}

static void test_round_trip(void **state) {
    (void)state;
    round_trip(TLS1_2_VERSION);
    round_trip(TLS1_3_VERSION);
}

// A body and a reply that fill every buffer, in both directions.
static void test_large_messages(void **state) {
    (void)state;
    enum { N = 9000000 };
    keys k = keys_make();
    bench *b = bench_start(open_tls(&k));
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = tls_connect(b, context);
    base_str text = {0};
    base_str_printf(&text, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", N);
    size_t head = text.len;
    base_str_reserve(&text, N);
    memset(text.data + head, 'x', N);
    text.len += N;
    text.data[text.len - 1] = '!';
    text.data[text.len] = '\0';
    tls_say(ssl, text.data);
    usleep(100000); // the reply comes to wait in the queue
    base_str got = {0};
    tls_hear_until(ssl, &got, "!");
    char *body = strstr(got.data, "POST x");
    assert_non_null(body);
    assert_int_equal(strlen(body), N + 5);
    assert_int_equal(strspn(body + 5, "x"), N - 1);
    base_str_free(&got);
    base_str_free(&text);
    tls_close(ssl);
    SSL_CTX_free(context);
    bench_close(b);
    keys_remove(&k);
}

static void test_streams_and_leaving(void **state) {
    (void)state;
    keys k = keys_make();
    bench *b = bench_start(open_tls(&k));
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    for (int way = 0; way < 3; way++) {
        SSL *ssl = tls_connect(b, context);
        base_str text = {0};
        tls_say(ssl, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
        tls_hear_until(ssl, &text, "\r\n\r\n");
        for (int i = 0; i < 5; i++) {
            base_str_clear(&text);
            bench_do(b, job_send, "data: 1\n\n", 9);
            tls_hear_until(ssl, &text, "\n\n\r\n");
            assert_string_equal(text.data, "9\r\ndata: 1\n\n\r\n");
        }
        base_str_free(&text);
        if (way == 0) // says so in TLS, and keeps the socket
            SSL_shutdown(ssl);
        if (way < 2) // way 1: says nothing
            shutdown(SSL_get_fd(ssl), SHUT_WR);
        if (way == 2)
            tls_close(ssl);
        bench_await(b, &b->n_gone, way + 1);
        if (way < 2)
            tls_close(ssl);
    }
    SSL_CTX_free(context);
    bench_await_connections(b, 0);
    bench_close(b);
    keys_remove(&k);
}

static void test_the_end_is_said(void **state) {
    (void)state;
    keys k = keys_make();
    bench *b = open_tls(&k);
    b->options.limits.idle_timeout_ms = 300;
    bench_start(b);
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *idle = tls_connect(b, context), *last = tls_connect(b, context);
    base_str text = {0};
    tls_say(last, "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    tls_hear_until(last, &text, "GET ");
    tls_expect_end(last);
    tls_expect_end(idle);
    tls_close(last);
    tls_close(idle);
    base_str_free(&text);
    SSL_CTX_free(context);
    bench_close(b);
    keys_remove(&k);
}

static void test_strangers_are_turned_away(void **state) {
    (void)state;
    keys k = keys_make();
    bench *b = open_tls(&k);
    b->options.limits.head_timeout_ms = 300;
    bench_start(b);
    // Plain HTTP, nothing at all, half a handshake, an old version.
    int plain = bench_connect(b), silent = bench_connect(b), half = bench_connect(b);
    say(plain, "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    say(half, "\x16\x03\x01");
    char bytes[100];
    while (hear_some(plain, bytes, sizeof bytes) > 0) // an alert
        assert_int_not_equal(bytes[0], 'H');
    expect_closed(silent);
    expect_closed(half);
    close(plain);
    close(silent);
    close(half);
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(context, 0);
    SSL_CTX_set_min_proto_version(context, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(context, TLS1_1_VERSION);
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, bench_connect(b));
    assert_int_not_equal(SSL_connect(ssl), 1);
    tls_close(ssl);
    SSL_CTX_free(context);
    bench_await_connections(b, 0);
    assert_int_equal(b->n_requests, 0);
    bench_close(b);
    keys_remove(&k);
}

static void expect_no_start(bench *b, const char *part) {
    http_server *s = NULL;
    base_err err = {0};
    assert_int_equal(http_server_start(&s, &b->options, &err), BASE_ERR_USAGE);
    if (!strstr(err.message, part))
        fail_msg("\"%s\" does not say \"%s\"", err.message, part);
}

static void test_bad_certificates_are_refused(void **state) {
    (void)state;
    keys k = keys_make();
    bench *b = open_tls(&k);
    b->options.keyfile = NULL;
    expect_no_start(b, "not one alone");
    b->options.keyfile = k.other_key;
    expect_no_start(b, k.other_key);
    b->options.keyfile = k.locked_key;
    expect_no_start(b, k.locked_key);
    b->options.keyfile = k.cert;
    expect_no_start(b, k.cert);
    b->options.keyfile = "/nonexistent/key";
    expect_no_start(b, "No such file");
    b->options.keyfile = k.key;
    b->options.certfile = k.key;
    expect_no_start(b, k.key);
    bench_close(b);
    keys_remove(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_large_messages),
        cmocka_unit_test(test_streams_and_leaving),
        cmocka_unit_test(test_the_end_is_said),
        cmocka_unit_test(test_strangers_are_turned_away),
        cmocka_unit_test(test_bad_certificates_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
