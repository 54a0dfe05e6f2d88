#include "cli/signals.h"
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static struct {
    sigset_t set;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool waited_for; // somebody waits for the first signal, or has got it
    int first;       // 0: none yet
    const char *socket;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void quit(int signal) {
    base_warn("%s: quitting at once", strsignal(signal));
    if (state.socket != NULL)
        unlink(state.socket);
    _exit(128 + signal);
}

static void *watch(void *unused) {
    (void)unused;
    for (;;) {
        int signal;
        if (sigwait(&state.set, &signal) != 0)
            continue;
        pthread_mutex_lock(&state.lock);
        if (!state.waited_for || state.first != 0)
            quit(signal);
        state.first = signal;
        pthread_cond_signal(&state.changed);
        pthread_mutex_unlock(&state.lock);
    }
    return NULL;
}

int cli_signals_begin(base_err *err) {
    sigemptyset(&state.set);
    sigaddset(&state.set, SIGTERM);
    sigaddset(&state.set, SIGINT);
    struct sigaction hangup;
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        sigaddset(&state.set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &state.set, NULL);
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, watch, NULL);
    if (rc != 0)
        return base_fail(err, BASE_ERR_RESOURCE, "no thread for signals: %s", strerror(rc));
    pthread_detach(thread);
    return 0;
}

int cli_signals_wait(const char *socket) {
    pthread_mutex_lock(&state.lock);
    state.waited_for = true;
    state.socket = socket;
    while (state.first == 0)
        pthread_cond_wait(&state.changed, &state.lock);
    int first = state.first;
    pthread_mutex_unlock(&state.lock);
    return first;
}
