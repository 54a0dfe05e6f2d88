#include "cli/interrupt.h"
#include <stddef.h>

volatile sig_atomic_t cli_interrupted;

static void on_interrupt(int signal) {
    (void)signal;
    cli_interrupted = 1;
}

static void install(int flags) {
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = flags};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
}

void cli_interrupt_begin(void) {
    cli_interrupted = 0;
}

void cli_interrupt_running(void) {
    install(SA_RESTART);
}

void cli_interrupt_reading(void) {
    cli_interrupted = 0;
    install(0);
}
