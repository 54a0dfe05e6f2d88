// Ctrl-C as a flag: it ends an answer that is being made, or a line that is being typed, and not
// the program.
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

#include <signal.h>

extern volatile sig_atomic_t cli_interrupted; // set by the handler

void cli_interrupt_begin(void);   // clears the flag
void cli_interrupt_running(void); // system calls go on after a signal
void cli_interrupt_reading(void); // clears the flag, too; reading ends with EINTR

#endif
