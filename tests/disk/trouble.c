/* A disk that makes trouble on request, for any program that runs with this library preloaded.
 *
 * The test and the program share one page (`struct trouble`, a file named by DISK_TROUBLE, see trouble.py). It says
 * below which folder the disk is bad, and how: at which call the process dies, which calls fail with which error, how
 * long a sync takes. Calls that change files can also be written down, with their bytes, so that the test can build
 * what a power cut leaves behind.
 *
 * What SQLite keeps in FILE-shm is memory that happens to have a name: it is never written down and never counted, and
 * fails only when asked for with `shm_too`.
 *
 * Build: cc -shared -fPIC -O1 -o trouble.so trouble.c -ldl -lpthread
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* The order is that of trouble.py. */
enum kind { CREATE, OPEN_TO_WRITE, OPEN_TO_READ, WRITE, RESIZE, SYNC, SYNC_FOLDER, RENAME, UNLINK, MKDIR, READ, MARK };

#define CHANGES (1 << CREATE | 1 << WRITE | 1 << RESIZE | 1 << SYNC | 1 << SYNC_FOLDER | 1 << RENAME | 1 << UNLINK | 1 << MKDIR)

struct trouble {
    int64_t calls;         /* changing calls so far */
    int64_t kill_at;       /* the process dies instead of making this one; 0: never */
    int64_t fail_kinds;    /* a bit for each kind */
    int64_t fail_errno;
    int64_t fail_from;     /* of the calls that match, counted from 1 */
    int64_t fail_to;
    int64_t matched;
    int64_t failed;
    int64_t only_growing;  /* of writes and resizes, only those that need more room */
    int64_t shm_too;
    int64_t sync_us;       /* how long a sync takes; watched while it lasts, so that it can be called off */
    int64_t syncing;       /* syncs under way */
    int64_t logging;
    char begins[256];      /* only names that begin so, */
    char ends[256];        /* and end so */
    char folder[1024];     /* absolute, without a slash at the end; empty: no trouble anywhere */
    char mount[1024];      /* an ext4 whose power is cut when the process dies; empty: none */
};

struct entry {
    uint32_t kind, name_size, other_size, data_size;
    int64_t offset;
    int64_t failed;        /* errno of a call that failed */
};

static struct trouble *page;
static char log_path[PATH_MAX];
static int log_fd = -1;
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;  /* the log has the calls in the order they were made */

/* What stands behind this library. Found when first called: others start up before us. */
#define REAL(name) \
    ({ \
        static __typeof__(&name) real; \
        if (real == NULL) \
            real = dlsym(RTLD_NEXT, #name); \
        real; \
    })

__attribute__((constructor)) static void map_page(void)
{
    const char *path = getenv("DISK_TROUBLE");
    if (path == NULL)
        return;
    int fd = REAL(open64)(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || (page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED) {
        fprintf(stderr, "trouble: %s: %s\n", path, strerror(errno));
        abort();
    }
    close(fd);
    snprintf(log_path, sizeof log_path, "%s.log", path);
}

/* --- which file */

static int ends_with(const char *text, const char *end)
{
    size_t size = strlen(text), end_size = strlen(end);
    return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

/* The name below the bad folder, or NULL when the path is elsewhere. The folder itself is "". */
static const char *below(const char *path)
{
    size_t size = strlen(page->folder);
    if (size == 0 || strncmp(path, page->folder, size) != 0)
        return NULL;
    if (path[size] == '\0')
        return path + size;
    return path[size] == '/' ? path + size + 1 : NULL;
}

static const char *name_of_path(int at, const char *path, char *buffer)
{
    if (page == NULL)
        return NULL;
    if (path[0] == '/')
        return below(path);
    char base[PATH_MAX];
    if (at == AT_FDCWD) {
        if (getcwd(base, sizeof base) == NULL)
            return NULL;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        ssize_t size = readlink(link, base, sizeof base - 1);
        if (size < 0)
            return NULL;
        base[size] = '\0';
    }
    if (snprintf(buffer, PATH_MAX, "%s/%s", base, path) >= PATH_MAX)
        return NULL;
    return below(buffer);
}

/* A name that was removed or replaced while the file was open ends in " (deleted)" here: that file is nobody's. */
static const char *name_of_fd(int fd, char *buffer)
{
    if (page == NULL || page->folder[0] == '\0')
        return NULL;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, buffer, PATH_MAX - 1);
    if (size <= 0 || buffer[0] != '/')
        return NULL;
    buffer[size] = '\0';
    return ends_with(buffer, " (deleted)") ? NULL : below(buffer);
}

/* --- trouble */

/* Linux, fs/ext4/ext4.h: what is not on the disk by now stays where it is. */
#define EXT4_IOC_SHUTDOWN _IOR('X', 125, uint32_t)
#define NO_LOG_FLUSH 2

static void die(void)
{
    if (page->mount[0]) {
        uint32_t how = NO_LOG_FLUSH;
        int fd = REAL(open64)(page->mount, O_RDONLY);
        if (fd < 0 || ioctl(fd, EXT4_IOC_SHUTDOWN, &how) < 0)
            abort();
    }
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* The errno this call is to fail with, 0 when it may go on. Dies when it is the call to die at. */
static int asked(enum kind kind, const char *name, int grows)
{
    int shm = ends_with(name, "-shm");
    if (!shm && (CHANGES & 1 << kind)) {
        int64_t call = __atomic_add_fetch(&page->calls, 1, __ATOMIC_SEQ_CST);
        if (page->kill_at && call >= page->kill_at)
            die();
    }
    if (!(page->fail_kinds & 1 << kind) || (shm && !page->shm_too) || (page->only_growing && !grows))
        return 0;
    if (strncmp(name, page->begins, strlen(page->begins)) != 0 || !ends_with(name, page->ends))
        return 0;
    int64_t match = __atomic_add_fetch(&page->matched, 1, __ATOMIC_SEQ_CST);
    if (match < page->fail_from || match > page->fail_to)
        return 0;
    __atomic_add_fetch(&page->failed, 1, __ATOMIC_SEQ_CST);
    return (int)page->fail_errno;
}

static void take_time(void)
{
    int64_t slept_us = 0;
    __atomic_add_fetch(&page->syncing, 1, __ATOMIC_SEQ_CST);
    while (slept_us < __atomic_load_n(&page->sync_us, __ATOMIC_SEQ_CST)) {
        usleep(5000);
        slept_us += 5000;
    }
    __atomic_sub_fetch(&page->syncing, 1, __ATOMIC_SEQ_CST);
}

/* --- the log */

static void note(enum kind kind, const char *name, const char *other, int64_t offset, const void *data, size_t size, int failed)
{
    if (log_fd < 0)
        log_fd = REAL(open64)(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    struct entry entry = {kind, strlen(name), strlen(other), size, offset, failed};
    struct iovec pieces[] = {
        {&entry, sizeof entry}, {(void *)name, entry.name_size}, {(void *)other, entry.other_size}, {(void *)data, size}};
    if (REAL(writev)(log_fd, pieces, 4) < 0)
        abort();
}

/* Called by the program itself: what it has promised by now. */
void trouble_mark(const char *text)
{
    if (page == NULL || !page->logging)
        return;
    pthread_mutex_lock(&order);
    note(MARK, "", "", 0, text, strlen(text), 0);
    pthread_mutex_unlock(&order);
}

/* Make a call on a watched file: `call` is an expression that returns a negative number with errno on failure. */
#define MAKE(kind, name, other, offset, data, size, grows, call) \
    ({ \
        int logged = page->logging && (CHANGES & 1 << (kind)) && !ends_with(name, "-shm"); \
        if (logged) \
            pthread_mutex_lock(&order); \
        int refused = asked(kind, name, grows); \
        __typeof__(call) result = -1; \
        if (refused) \
            errno = refused; \
        else \
            result = (call); \
        int failed = result < 0 ? errno : 0; \
        if (logged) { \
            note(kind, name, other, offset, data, failed ? 0 : (size), failed); \
            pthread_mutex_unlock(&order); \
        } \
        if (failed) \
            errno = failed; \
        result; \
    })

/* --- the calls */

static int opened(int at, const char *path, int flags, mode_t mode)
{
    char buffer[PATH_MAX];
    const char *name = name_of_path(at, path, buffer);
    if (name == NULL)
        return REAL(openat64)(at, path, flags, mode);
    struct stat there;
    int writes = (flags & O_ACCMODE) != O_RDONLY, exists = fstatat(at, path, &there, 0) == 0;
    enum kind kind = (flags & O_CREAT) && !exists ? CREATE : writes || (flags & O_CREAT) ? OPEN_TO_WRITE : OPEN_TO_READ;
    if (kind == OPEN_TO_WRITE && (flags & O_TRUNC))
        return MAKE(RESIZE, name, "", 0, "", 0, 0, REAL(openat64)(at, path, flags, mode));
    return MAKE(kind, name, "", 0, "", 0, 1, REAL(openat64)(at, path, flags, mode));
}

#define MODE(flags) \
    ({ \
        mode_t mode = 0; \
        if ((flags) & (O_CREAT | O_TMPFILE)) { \
            va_list rest; \
            va_start(rest, flags); \
            mode = va_arg(rest, mode_t); \
            va_end(rest); \
        } \
        mode; \
    })

int open(const char *path, int flags, ...) { return opened(AT_FDCWD, path, flags, MODE(flags)); }
int open64(const char *path, int flags, ...) { return opened(AT_FDCWD, path, flags, MODE(flags)); }
int openat(int at, const char *path, int flags, ...) { return opened(at, path, flags, MODE(flags)); }
int openat64(int at, const char *path, int flags, ...) { return opened(at, path, flags, MODE(flags)); }
int __open_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }

static int64_t size_of(int fd)
{
    struct stat there;
    return fstat(fd, &there) == 0 ? there.st_size : 0;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    char buffer[PATH_MAX];
    const char *name = name_of_fd(fd, buffer);
    if (name == NULL)
        return REAL(pwrite64)(fd, data, size, offset);
    int grows = offset + (int64_t)size > size_of(fd);
    return MAKE(WRITE, name, "", offset, data, size, grows, REAL(pwrite64)(fd, data, size, offset));
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return pwrite64(fd, data, size, offset); }

ssize_t write(int fd, const void *data, size_t size)
{
    char buffer[PATH_MAX];
    const char *name = name_of_fd(fd, buffer);
    if (name == NULL)
        return REAL(write)(fd, data, size);
    int64_t offset = fcntl(fd, F_GETFL) & O_APPEND ? size_of(fd) : lseek(fd, 0, SEEK_CUR);
    int grows = offset + (int64_t)size > size_of(fd);
    return MAKE(WRITE, name, "", offset, data, size, grows, REAL(write)(fd, data, size));
}

ssize_t writev(int fd, const struct iovec *pieces, int count)
{
    char buffer[PATH_MAX];
    if (name_of_fd(fd, buffer) == NULL)
        return REAL(writev)(fd, pieces, count);
    ssize_t written = 0;
    for (int index = 0; index < count; index++) {
        ssize_t size = write(fd, pieces[index].iov_base, pieces[index].iov_len);
        if (size < 0)
            return written ? written : size;
        written += size;
    }
    return written;
}

ssize_t read(int fd, void *data, size_t size)
{
    char buffer[PATH_MAX];
    const char *name = name_of_fd(fd, buffer);
    return name == NULL ? REAL(read)(fd, data, size) : MAKE(READ, name, "", 0, "", 0, 1, REAL(read)(fd, data, size));
}

ssize_t pread64(int fd, void *data, size_t size, off64_t offset)
{
    char buffer[PATH_MAX];
    const char *name = name_of_fd(fd, buffer);
    return name == NULL ? REAL(pread64)(fd, data, size, offset)
                        : MAKE(READ, name, "", 0, "", 0, 1, REAL(pread64)(fd, data, size, offset));
}

ssize_t pread(int fd, void *data, size_t size, off_t offset) { return pread64(fd, data, size, offset); }

int ftruncate64(int fd, off64_t size)
{
    char buffer[PATH_MAX];
    const char *name = name_of_fd(fd, buffer);
    return name == NULL ? REAL(ftruncate64)(fd, size)
                        : MAKE(RESIZE, name, "", size, "", 0, size > size_of(fd), REAL(ftruncate64)(fd, size));
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

/* Gives its error back instead of setting errno. */
int posix_fallocate64(int fd, off64_t offset, off64_t size)
{
    char buffer[PATH_MAX];
    const char *name = name_of_fd(fd, buffer);
    if (name == NULL)
        return REAL(posix_fallocate64)(fd, offset, size);
    int64_t end = offset + size > size_of(fd) ? offset + size : size_of(fd);
    int error = 0;
    int done = MAKE(RESIZE, name, "", end, "", 0, 1, (error = REAL(posix_fallocate64)(fd, offset, size)) ? (errno = error, -1) : 0);
    return done < 0 ? errno : 0;
}

int posix_fallocate(int fd, off_t offset, off_t size) { return posix_fallocate64(fd, offset, size); }

static int synced(int fd, int (*real)(int))
{
    char buffer[PATH_MAX];
    const char *name = name_of_fd(fd, buffer);
    if (name == NULL)
        return real(fd);
    if (page->sync_us)
        take_time();
    struct stat there;
    enum kind kind = fstat(fd, &there) == 0 && S_ISDIR(there.st_mode) ? SYNC_FOLDER : SYNC;
    return MAKE(kind, name, "", 0, "", 0, 1, real(fd));
}

int fsync(int fd) { return synced(fd, REAL(fsync)); }
int fdatasync(int fd) { return synced(fd, REAL(fdatasync)); }

int rename(const char *from, const char *to)
{
    char buffer[PATH_MAX], other_buffer[PATH_MAX];
    const char *name = name_of_path(AT_FDCWD, from, buffer), *other = name_of_path(AT_FDCWD, to, other_buffer);
    return name == NULL || other == NULL ? REAL(rename)(from, to)
                                         : MAKE(RENAME, name, other, 0, "", 0, 1, REAL(rename)(from, to));
}

int unlink(const char *path)
{
    char buffer[PATH_MAX];
    const char *name = name_of_path(AT_FDCWD, path, buffer);
    return name == NULL ? REAL(unlink)(path) : MAKE(UNLINK, name, "", 0, "", 0, 0, REAL(unlink)(path));
}

int mkdir(const char *path, mode_t mode)
{
    char buffer[PATH_MAX];
    const char *name = name_of_path(AT_FDCWD, path, buffer);
    struct stat there;
    if (name == NULL || stat(path, &there) == 0) /* a kernel says EEXIST before anything else */
        return REAL(mkdir)(path, mode);
    return MAKE(MKDIR, name, "", 0, "", 0, 1, REAL(mkdir)(path, mode));
}
