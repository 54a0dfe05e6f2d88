// The service manager's protocol of sd_notify(3), for units of Type=notify.
#ifndef CLI_NOTIFY_H
#define CLI_NOTIFY_H

// Sends e.g. "READY=1" to the socket named in NOTIFY_SOCKET. Without one there is nobody to tell.
void cli_notify(const char *state);

#endif
