/* Stands before the C library's fdatasync. In the directory that SLOW_DISK names: while there is a
 * file `slow` every sync takes 300 ms more; while there is a file `broken` every sync fails. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int is_there(const char *name) {
    char path[4096];
    struct stat found;
    const char *dir = getenv("SLOW_DISK");
    if (dir == NULL) {
        return 0;
    }
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return stat(path, &found) == 0;
}

int fdatasync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    if (is_there("slow")) {
        usleep(300000);
    }
    if (is_there("broken")) {
        errno = EIO;
        return -1;
    }
    return real(fd);
}
