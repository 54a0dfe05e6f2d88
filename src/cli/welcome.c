#include "cli/welcome.h"
#include <string.h>

static bool is_any(const char *host) {
    return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "") == 0;
}

static void add_url(const cli_welcome *w, base_str *out) {
    if (w->host == NULL) {
        base_str_adds(out, "http://localhost"); // the name does not matter on a unix socket
        return;
    }
    const char *host = is_any(w->host) ? "127.0.0.1" : strcmp(w->host, "::") == 0 ? "::1" : w->host;
    bool v6 = strchr(host, ':') != NULL;
    base_str_printf(out, "%s://%s%s%s:%d", w->tls ? "https" : "http", v6 ? "[" : "", host,
                    v6 ? "]" : "", w->port);
}

void cli_welcome_address(const cli_welcome *w, base_str *out) {
    if (w->host == NULL)
        base_str_printf(out, "unix:%s", w->socket);
    else
        add_url(w, out);
}

// `text` as one word of a shell.
static void add_word(const char *text, base_str *out) {
    base_str_adds(out, "'");
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            base_str_adds(out, "'\\''");
        else
            base_str_add(out, text, 1);
    }
    base_str_adds(out, "'");
}

static void add_curl(const cli_welcome *w, const char *base, base_str *out) {
    base_str body = {0};
    base_str_adds(&body, "{\"model\": ");
    base_json_add_string(&body, w->model, strlen(w->model));
    base_str_adds(&body, w->chat ? ", \"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]"
                                 : ", \"prompt\": \"Hello\"");
    base_str_adds(&body, ", \"max_tokens\": 32}");
    base_str_adds(out, "curl ");
    if (w->host == NULL) {
        base_str_adds(out, "--unix-socket ");
        add_word(w->socket, out);
        base_str_adds(out, " ");
    }
    base_str_printf(out, "%s/%s -H 'Content-Type: application/json' ", base,
                    w->chat ? "chat/completions" : "completions");
    if (w->need_key)
        base_str_adds(out, "-H \"Authorization: Bearer $ABRUZZI_API_KEY\" ");
    base_str_adds(out, "-d ");
    add_word(body.data, out);
    base_str_adds(out, "\n");
    base_str_free(&body);
}

// A JSON string is a Python string.
static void add_python(const cli_welcome *w, const char *base, base_str *out) {
    if (w->host == NULL)
        base_str_adds(out, "import httpx\n");
    if (w->need_key)
        base_str_adds(out, "import os\n");
    base_str_printf(out, "from openai import OpenAI\nclient = OpenAI(base_url=\"%s\", api_key=%s",
                    base, w->need_key ? "os.environ[\"ABRUZZI_API_KEY\"]" : "\"EMPTY\"");
    if (w->host == NULL) {
        base_str_adds(out, ", http_client=httpx.Client(transport=httpx.HTTPTransport(uds=");
        base_json_add_string(out, w->socket, strlen(w->socket));
        base_str_adds(out, "))");
    }
    base_str_printf(
        out, ")\nprint(client.%s.create(model=", w->chat ? "chat.completions" : "completions");
    base_json_add_string(out, w->model, strlen(w->model));
    if (w->chat)
        base_str_adds(out, ", messages=[{\"role\": \"user\", \"content\": \"Hello\"}], "
                           "max_tokens=32).choices[0].message)\n");
    else
        base_str_adds(out, ", prompt=\"Hello\", max_tokens=32).choices[0].text)\n");
}

void cli_welcome_print(const cli_welcome *w, base_str *out) {
    base_str base = {0};
    add_url(w, &base);
    base_str_adds(&base, "/v1");
    base_str_adds(out, "\n");
    if (w->host != NULL)
        base_str_adds(out, base.data);
    else
        cli_welcome_address(w, out);
    base_str_adds(out, "\n\n");
    add_curl(w, base.data, out);
    base_str_adds(out, "\n");
    add_python(w, base.data, out);
    base_str_adds(out, "\n");
    base_str_free(&base);
}
