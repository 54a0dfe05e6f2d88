#include "cli/notify.h"
#include "base/base.h"
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void cli_notify(const char *state) {
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (path == NULL || (path[0] != '/' && path[0] != '@') || path[1] == '\0')
        return;
    size_t len = strlen(path);
    if (len >= sizeof address.sun_path) {
        base_warn("NOTIFY_SOCKET: the path is too long");
        return;
    }
    memcpy(address.sun_path, path, len);
    if (path[0] == '@') // an abstract socket, whose name begins with NUL
        address.sun_path[0] = '\0';
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 ||
        sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address, size) < 0)
        base_warn("NOTIFY_SOCKET: %s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
}
