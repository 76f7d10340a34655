/* Makes Mesa's lavapipe a graphics card with a memory of its own, for tests. Preloaded into every process that may use it.
 *
 * The folder CARD has the files "total" and "stranger", the bytes of the card's memory and of what another program uses of it, and one file for
 * each process with its own use, by its id. An allocation beyond what is left fails with VK_ERROR_OUT_OF_DEVICE_MEMORY, as on a card. The file "ambush" becomes "stranger" when a
 * process allocates a mebibyte or more: another program is faster.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAPPINGS 4096

static struct { void *address; size_t length; } mappings[MAPPINGS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static size_t own;
static int device = -1;

static int from_lavapipe(void *caller) {
    Dl_info info;
    return getenv("CARD") && dladdr(caller, &info) && info.dli_fname && strstr(info.dli_fname, "libvulkan_lvp");
}

static size_t number(const char *name) {
    char path[512];
    size_t value = 0;
    snprintf(path, sizeof(path), "%s/%s", getenv("CARD"), name);
    FILE *file = fopen(path, "r");
    if (file == NULL) return 0;
    if (fscanf(file, "%zu", &value) != 1) value = 0;
    fclose(file);
    return value;
}

static size_t used(void) {
    size_t sum = number("stranger");
    DIR *folder = opendir(getenv("CARD"));
    if (folder == NULL) return sum;
    for (struct dirent *entry; (entry = readdir(folder));) {
        pid_t process = atoi(entry->d_name);
        if (process > 0 && (kill(process, 0) == 0 || errno == EPERM)) sum += number(entry->d_name);
    }
    closedir(folder);
    return sum;
}

static void report(void) {
    char path[512];
    snprintf(path, sizeof(path), "%s/%d", getenv("CARD"), getpid());
    FILE *file = fopen(path, "w");
    if (file == NULL) return;
    fprintf(file, "%zu", own);
    fclose(file);
}

static size_t left(void) {
    size_t total = number("total"), taken = used();
    return taken < total ? total - taken : 0;
}

int open64(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    if (strcmp(path, "/proc/meminfo") != 0 || !from_lavapipe(__builtin_return_address(0))) return openat(AT_FDCWD, path, flags, mode);
    int file = ((int (*)(const char *, unsigned))dlsym(RTLD_NEXT, "memfd_create"))("meminfo", 0);
    dprintf(file, "MemTotal: %zu kB\nMemAvailable: %zu kB\n", number("total") / 1024, left() / 1024);
    lseek(file, 0, SEEK_SET);
    return file;
}

long sysconf(int name) {
    long (*real)(int) = (long (*)(int))dlsym(RTLD_NEXT, "sysconf");
    if (name == _SC_PHYS_PAGES && from_lavapipe(__builtin_return_address(0))) return number("total") / real(_SC_PAGESIZE);
    return real(name);
}

int memfd_create(const char *name, unsigned flags) {
    int file = ((int (*)(const char *, unsigned))dlsym(RTLD_NEXT, "memfd_create"))(name, flags);
    if (strcmp(name, "allocation fd") == 0 && from_lavapipe(__builtin_return_address(0))) device = file;
    return file;
}

void *mmap64(void *address, size_t length, int protection, int flags, int file, off64_t offset) {
    void *(*real)(void *, size_t, int, int, int, off64_t) = (void *(*)(void *, size_t, int, int, int, off64_t))dlsym(RTLD_NEXT, "mmap64");
    if (file < 0 || file != device || !from_lavapipe(__builtin_return_address(0))) return real(address, length, protection, flags, file, offset);
    void *result = MAP_FAILED;
    pthread_mutex_lock(&lock);
    if ((result = real(address, length, protection, flags, file, offset)) != MAP_FAILED) {
        for (int slot = 0; slot < MAPPINGS; slot++) {
            if (mappings[slot].address) continue;
            mappings[slot].address = result;
            mappings[slot].length = length;
            own += length;
            break;
        }
        report();
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int munmap(void *address, size_t length) {
    if (own) {
        pthread_mutex_lock(&lock);
        for (int slot = 0; slot < MAPPINGS; slot++) {
            if (!address || mappings[slot].address != address) continue;
            own -= mappings[slot].length;
            mappings[slot].address = NULL;
            report();
            break;
        }
        pthread_mutex_unlock(&lock);
    }
    return ((int (*)(void *, size_t))dlsym(RTLD_NEXT, "munmap"))(address, length);
}

/* The first fields of Vulkan's VkMemoryAllocateInfo. */
typedef struct { int type; const void *next; uint64_t size; } allocation_t;
typedef int (*allocate_t)(void *, const allocation_t *, const void *, void *);
typedef void (*function_t)(void);
typedef function_t (*find_t)(void *, const char *);

static allocate_t real_allocate;
static find_t real_device_functions;

static int allocate(void *owner, const allocation_t *allocation, const void *callbacks, void *memory) {
    if (allocation->size >= 1 << 20) {
        char from[512], to[512];
        snprintf(from, sizeof(from), "%s/ambush", getenv("CARD"));
        snprintf(to, sizeof(to), "%s/stranger", getenv("CARD"));
        rename(from, to);
    }
    return allocation->size > left() ? -2 : real_allocate(owner, allocation, callbacks, memory);
}

static function_t device_functions(void *owner, const char *name) {
    function_t found = real_device_functions(owner, name);
    if (strcmp(name, "vkAllocateMemory") != 0) return found;
    real_allocate = (allocate_t)found;
    return (function_t)allocate;
}

/* llama.cpp finds all of Vulkan's functions from this one. */
function_t vkGetInstanceProcAddr(void *instance, const char *name) {
    static find_t real;
    if (real == NULL) real = (find_t)dlsym(dlopen("libvulkan.so.1", RTLD_LAZY), "vkGetInstanceProcAddr");
    function_t found = real(instance, name);
    if (strcmp(name, "vkGetDeviceProcAddr") == 0) {
        real_device_functions = (find_t)found;
        return (function_t)device_functions;
    }
    if (strcmp(name, "vkAllocateMemory") != 0) return found;
    real_allocate = (allocate_t)found;
    return (function_t)allocate;
}
