/* A stand-in for libcuda.so.1: a card whose memory is main memory, so that what uses the driver runs on machines without a GPU.
 *
 * Its state is the file "cuda_shim.state" beside the library, since a sandbox passes on no variables of tests. Lines are "key value":
 *
 *   init 0              what cuInit returns (100: no card, 304: the system refuses, 803: driver and library differ, 999: unknown)
 *   version 13000       of CUDA: what cuDriverGetVersion returns
 *   count 1             number of cards
 *   capability 8.9
 *   memory 1073741824   bytes of the card's memory
 *   flip 1              damaged memory: one bit of each second fill is wrong
 *   wrong 1             a damaged processor: each launch computes something else
 *   lost 3              calls fail with 999 from this launch on
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_FOUND = 500, UNKNOWN = 999, LINE = 256, MAX_BLOCKS = 4096 };
enum { PROCESSORS = 16, MAJOR = 75, MINOR = 76, MULTIPROCESSORS = 4, WORDS_A_ROUND = 200 };

static struct { char *address; size_t size; } blocks[MAX_BLOCKS];
static size_t allocated;
static unsigned fills, launches;

static int lookup(const char *key, char value[LINE]) {
    Dl_info info;
    char path[4096], line[LINE], *slash;
    FILE *file;
    size_t length = strlen(key);
    int found = 0;
    if (!dladdr((void *)lookup, &info)) return 0;
    snprintf(path, sizeof path - 32, "%s", info.dli_fname);
    if (!(slash = strrchr(path, '/'))) return 0;
    strcpy(slash + 1, "cuda_shim.state");
    if (!(file = fopen(path, "r"))) return 0;
    while (!found && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (strncmp(line, key, length) == 0 && line[length] == ' ') {
            snprintf(value, LINE, "%s", line + length + 1);
            found = 1;
        }
    }
    fclose(file);
    return found;
}

static size_t number(const char *key, size_t otherwise) {
    char value[LINE];
    return lookup(key, value) ? strtoull(value, NULL, 10) : otherwise;
}

static int state(void) {
    size_t lost = number("lost", 0);
    return lost && launches >= lost ? UNKNOWN : SUCCESS;
}

int cuInit(unsigned flags) { (void)flags; return (int)number("init", SUCCESS); }
int cuDriverGetVersion(int *version) { *version = (int)number("version", 13000); return SUCCESS; }
int cuDeviceGetCount(int *count) { *count = (int)number("count", 1); return cuInit(0); }
int cuDeviceGet(int *device, int index) { *device = index; return cuInit(0); }

int cuDeviceGetName(char *name, int size, int device) {
    (void)device;
    snprintf(name, (size_t)size, "NVIDIA GeForce RTX 4090");
    return cuInit(0);
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    char capability[LINE] = "8.9";
    int major = 0, minor = 0;
    (void)device;
    lookup("capability", capability);
    sscanf(capability, "%d.%d", &major, &minor);
    *value = attribute == MAJOR ? major : attribute == MINOR ? minor : attribute == PROCESSORS ? MULTIPROCESSORS : 0;
    return cuInit(0);
}

int cuDevicePrimaryCtxRetain(void **context, int device) { (void)device; *context = blocks; return cuInit(0); }
int cuCtxSetCurrent(void *context) { (void)context; return cuInit(0); }
int cuCtxSynchronize(void) { return state(); }

int cuMemGetInfo_v2(size_t *free, size_t *total) {
    *total = number("memory", 1024u << 20);
    *free = *total - allocated;
    return state();
}

int cuMemAlloc_v2(uint64_t *address, size_t size) {
    int index = 0;
    size_t free, total;
    int error = cuMemGetInfo_v2(&free, &total);
    if (error != SUCCESS) return error;
    while (index < MAX_BLOCKS && blocks[index].address) index++;
    if (size > free || index == MAX_BLOCKS || !(blocks[index].address = malloc(size))) return OUT_OF_MEMORY;
    blocks[index].size = size;
    allocated += size;
    *address = (uint64_t)(uintptr_t)blocks[index].address;
    return SUCCESS;
}

int cuMemFree_v2(uint64_t address) {
    for (int index = 0; index < MAX_BLOCKS; index++) {
        if ((uint64_t)(uintptr_t)blocks[index].address != address || !address) continue;
        free(blocks[index].address);
        allocated -= blocks[index].size;
        blocks[index].address = NULL;
        return state();
    }
    return INVALID_VALUE;
}

int cuMemHostAlloc(void **address, size_t size, unsigned flags) {
    (void)flags;
    return (*address = malloc(size)) ? state() : OUT_OF_MEMORY;
}

int cuMemsetD32_v2(uint64_t address, unsigned word, size_t count) {
    uint32_t *words = (uint32_t *)(uintptr_t)address;
    for (size_t index = 0; index < count; index++) words[index] = word;
    fills++;
    if (number("flip", 0) && fills % 2 == 0) words[count / 2] ^= 1u << 7;
    return state();
}

int cuMemcpyDtoH_v2(void *host, uint64_t address, size_t size) {
    memcpy(host, (void *)(uintptr_t)address, size);
    return state();
}

int cuMemcpyHtoD_v2(uint64_t address, const void *host, size_t size) {
    memcpy((void *)(uintptr_t)address, host, size);
    return state();
}

/* A module is only accepted if it is PTX; its one function is the load of the self-test. */
int cuModuleLoadData(void **module, const void *image) {
    *module = blocks;
    return strstr(image, ".version") && strstr(image, ".entry") ? state() : INVALID_VALUE;
}

int cuModuleGetFunction(void **function, void *module, const char *name) {
    *function = module;
    return name ? state() : NOT_FOUND;
}

/* The parameters are those of the load: output, data, mask and rounds. Each thread writes a word. */
int cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz, unsigned shared, void *stream, void **parameters, void **extra) {
    uint32_t *output = (uint32_t *)(uintptr_t) * (uint64_t *)parameters[0];
    unsigned rounds = *(unsigned *)parameters[3];
    (void)function, (void)shared, (void)stream, (void)extra;
    launches++;
    for (unsigned thread = 0; thread < x * y * z * bx * by * bz; thread++) output[thread] = thread * 2654435761u + rounds;
    if (number("wrong", 0)) output[7] ^= launches;
    usleep(rounds / WORDS_A_ROUND);
    return state();
}

int cuGetErrorName(int error, const char **name) {
    *name = error == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : error == 100 ? "CUDA_ERROR_NO_DEVICE" : error == 304 ? "CUDA_ERROR_OPERATING_SYSTEM"
        : error == 803 ? "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH" : error == 999 ? "CUDA_ERROR_UNKNOWN" : "CUDA_ERROR_INVALID_VALUE";
    return SUCCESS;
}

int cuGetErrorString(int error, const char **words) {
    *words = error == 2 ? "out of memory" : error == 100 ? "no CUDA-capable device is detected"
        : error == 304 ? "OS call failed or operation not supported on this OS"
        : error == 803 ? "system has unsupported display driver / cuda driver combination" : error == 999 ? "unknown error" : "invalid argument";
    return SUCCESS;
}

/* By these CUDA's runtime, which torch and other engines contain, finds all other functions. */
int cuGetExportTable(const void **table, const void *id) { (void)id; *table = NULL; return NOT_FOUND; }

int cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *status) {
    char second[LINE];
    void *library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    (void)version, (void)flags;
    snprintf(second, sizeof second, "%s_v2", name);
    if (!(*function = dlsym(library, name))) *function = dlsym(library, second);
    if (status) *status = *function ? 0 : 1;
    return *function ? SUCCESS : NOT_FOUND;
}
