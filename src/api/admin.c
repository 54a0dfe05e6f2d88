// Small replies about the server itself.
#include "api/server.h"

static void reply_text(api_server *s, http_exchange *x, const char *type, base_str *body) {
    api_respond(s, x, NULL, 200, type, NULL, body->data, body->len);
    base_str_free(body);
}

void api_get_page(api_server *s, http_exchange *x) {
    base_str body = {0};
    base_str_adds(&body, "Abruzzi " ABRUZZI_VERSION
                         ", an OpenAI-compatible server. The base URL of its API ends in /v1.\n\n");
    api_routes_describe(s, &body);
    reply_text(s, x, "text/plain; charset=utf-8", &body);
}

// Ready for work: what load balancers and supervisors want to know.
void api_get_health(api_server *s, http_exchange *x) {
    api_error error;
    if (api_check_ready(s, &error))
        api_respond_error(s, x, NULL, &error, NULL);
    else
        api_respond(s, x, NULL, 200, NULL, NULL, NULL, 0);
}

void api_get_live(api_server *s, http_exchange *x) {
    api_respond(s, x, NULL, 200, NULL, NULL, NULL, 0);
}

void api_get_version(api_server *s, http_exchange *x) {
    static const char body[] = "{\"version\":\"" ABRUZZI_VERSION "\"}";
    api_respond(s, x, NULL, 200, "application/json", NULL, body, sizeof body - 1);
}

void api_get_load(api_server *s, http_exchange *x) {
    base_str body = {0};
    base_str_printf(&body, "{\"server_load\":%d}",
                    s->options.server_load_tracking ? api_watch_requests(s) : 0);
    reply_text(s, x, "application/json", &body);
}

void api_get_metrics(api_server *s, http_exchange *x) {
    base_str body = {0};
    api_metrics_print(s, &body);
    reply_text(s, x, "text/plain; version=0.0.4; charset=utf-8", &body);
}
