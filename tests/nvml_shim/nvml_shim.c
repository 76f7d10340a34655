/* A stand-in for libnvidia-ml.so.1, so that the real nvidia-ml-py runs on machines without a GPU.
 *
 * Every call reads the file that the environment variable NVML_SHIM_FILE names, so a test changes the cards of a
 * running program by replacing the file. Lines are "key value"; a missing key means "not supported":
 *
 *   init 0                     what nvmlInit returns (9: driver not loaded, 18: driver and library differ)
 *   driver 570.86.15
 *   count 2                    number of cards
 *   0.uuid GPU-...             0.name ...     0.capability 8.9
 *   0.total BYTES              0.reserved BYTES     0.used BYTES (all programs together)
 *   0.temperature 41           0.power 60500 (milliwatts)     0.utilization 3
 *   0.power_limit 450000 (milliwatts)     0.power_range 150000,450000     0.power_default 450000
 *   0.energy 123456            millijoules since the driver was loaded
 *   0.minor 0                  the number of its device file
 *   0.cores 16384              0.clock 2520 (MHz)     those that CUDA's order of cards follows
 *   0.compute_mode 3           0 shared, 2 no computation, 3 one process
 *   0.recovery 1               what the driver wants done with it, 0 nothing
 *   0.processes 123,456:1048576   ids of those that compute there, each with its bytes of memory
 *   0.graphics 123,456:1048576    the same for those that render there
 *   0.ecc 2                    uncorrectable memory errors since the driver was loaded     0.ecc_corrected 3     those that were corrected
 *   0.clock_now 2400 (MHz)     0.link 4,16,4,16     PCI Express: generation and lanes in use, and those that are possible
 *   0.remapped 0,1,1,0         rows: corrected, uncorrected, whether a remapping is pending, whether one has failed
 *   0.retired 1                whether pages are to be retired with the next reset
 *   0.clocks 64                reasons why the clocks are low, a bit mask
 *   0.xid 79                   an Xid error; each change of the value is reported once, to the sets of events registered before
 *   0.mig 1                    whether the card is in MIG mode
 *   0.slices 7                 how many instances it can have; those that exist have a UUID:
 *   0:2.uuid MIG-...           0:2.name ...     0:2.total, 0:2.used, 0:2.processes: as a card's
 *   0:2.gi 5                   0:2.ci 0     the ids of its GPU instance and of its compute instance
 *   0.error 15                 what every call about card 0 returns; 15 (lost) stays so until the next nvmlInit
 *   error.NAME 3               what the function NAME returns, for any card
 *   0:2.error.NAME 4           the same for a card or an instance alone
 *   privileged 0               an ordinary user, who may neither read a card's memory and processes in MIG mode nor set limits
 *   generation 1               changes when the driver is replaced; connections to another one fail (999)
 *   hang 1                     nvmlDeviceGetCount_v2 does not return before this becomes 0
 *
 * Functions are removed with a linker version script; see shim.py.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, TIMEOUT = 10, GPU_IS_LOST = 15, UNKNOWN = 999 };
enum { VALUE = 256, KEY = 64, MAX_CARDS = 16, MAX_SLICES = 7, NO_SLICE = -1 };

typedef struct { int index, slice; } *device_t;
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2_t;
typedef struct { unsigned gpu, memory; } utilization_t;
typedef struct { unsigned pid; unsigned long long memory; unsigned instance, compute_instance; } process_t;

typedef struct { int registered[MAX_CARDS]; unsigned long long reported[MAX_CARDS]; } *event_set_t;
typedef struct { device_t device; unsigned long long type, data; unsigned instance, compute_instance; } event_t;
typedef struct { unsigned field, scope; long long timestamp, latency; int type, result; unsigned long long value; } field_t;

static struct { int index, slice; } cards[MAX_CARDS], slices[MAX_CARDS][MAX_SLICES];
static int lost[MAX_CARDS];
static unsigned long long connected_to;

static int lookup(const char *key, char value[VALUE]) {
    const char *path = getenv("NVML_SHIM_FILE");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[KEY + VALUE];
    size_t length = strlen(key);
    int found = 0;
    if (!file) return 0;
    while (!found && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (strncmp(line, key, length) == 0 && line[length] == ' ') {
            snprintf(value, VALUE, "%s", line + length + 1);
            found = 1;
        }
    }
    fclose(file);
    return found;
}

static int number(const char *key, unsigned long long *result) {
    char value[VALUE];
    if (!lookup(key, value)) return NOT_SUPPORTED;
    *result = strtoull(value, NULL, 10);
    return SUCCESS;
}

static unsigned long long number_or(const char *key, unsigned long long otherwise) {
    unsigned long long result;
    return number(key, &result) == SUCCESS ? result : otherwise;
}

static int function_error(const char *function) {
    char key[KEY];
    if (number_or("generation", 0) != connected_to) return UNKNOWN;
    snprintf(key, sizeof key, "error.%s", function);
    return (int)number_or(key, SUCCESS);
}

/* Writes the key of a card's property; returns what the function must return if not success. */
static int card_key(const char *function, device_t device, const char *property, char key[KEY]) {
    char part[VALUE];
    int error = function_error(function);
    snprintf(key, KEY, "%d.error", device->index);
    if (error == SUCCESS) error = lost[device->index] ? GPU_IS_LOST : (int)number_or(key, SUCCESS);
    if (error == GPU_IS_LOST) lost[device->index] = 1;
    if (device->slice == NO_SLICE) snprintf(part, sizeof part, "%d", device->index);
    else snprintf(part, sizeof part, "%d:%d", device->index, device->slice);
    snprintf(key, KEY, "%.8s.error.%s", part, function);
    if (error == SUCCESS) error = (int)number_or(key, SUCCESS);
    snprintf(key, KEY, "%.8s.%s", part, property);
    return error;
}

static int card_number(const char *function, device_t device, const char *property, unsigned long long *result) {
    char key[KEY];
    int error = card_key(function, device, property, key);
    return error == SUCCESS ? number(key, result) : error;
}

static int card_unsigned(const char *function, device_t device, const char *property, unsigned *result) {
    unsigned long long value = 0;
    int error = card_number(function, device, property, &value);
    *result = (unsigned)value;
    return error;
}

static int copy(const char *key, char *target, unsigned size) {
    char value[VALUE];
    if (!lookup(key, value)) return NOT_SUPPORTED;
    if (strlen(value) >= size) return INSUFFICIENT_SIZE;
    strcpy(target, value);
    return SUCCESS;
}

static int card_text(const char *function, device_t device, const char *property, char *target, unsigned size) {
    char key[KEY];
    int error = card_key(function, device, property, key);
    return error == SUCCESS ? copy(key, target, size) : error;
}

/* In MIG mode an ordinary user may read the instances' values, but not the card's own. */
static int hidden(device_t device) {
    unsigned long long mig = 0;
    if (device->slice != NO_SLICE || number_or("privileged", 1)) return 0;
    return card_number(__func__, device, "mig", &mig) == SUCCESS && mig == 1;
}

static int card_memory(const char *function, device_t device, memory_v2_t *result) {
    char key[KEY];
    int error = card_number(function, device, "total", &result->total);
    if (error == SUCCESS && hidden(device)) error = NO_PERMISSION;
    if (error != SUCCESS) return error;
    card_key(function, device, "reserved", key);
    result->reserved = number_or(key, 0);
    card_key(function, device, "used", key);
    result->used = number_or(key, 0);
    result->free = result->total - result->reserved - result->used;
    return SUCCESS;
}

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    memset(lost, 0, sizeof lost);
    connected_to = number_or("generation", 0);
    return (int)number_or("init", UNKNOWN);
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlInit(void) { return nvmlInitWithFlags(0); } /* for torch */
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int result) { (void)result; return "an error of the stand-in"; }

int nvmlSystemGetDriverVersion(char *version, unsigned size) {
    int error = function_error(__func__);
    return error == SUCCESS ? copy("driver", version, size) : error;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    while (number_or("hang", 0)) usleep(10000);
    *count = (unsigned)number_or("count", 0);
    return function_error(__func__);
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device_t *device) {
    char key[KEY];
    if (index >= MAX_CARDS || index >= number_or("count", 0)) return INVALID_ARGUMENT;
    cards[index].index = (int)index;
    cards[index].slice = NO_SLICE;
    *device = (device_t)&cards[index];
    return card_key(__func__, *device, "", key);
}

int nvmlDeviceGetMigMode(device_t device, unsigned *current, unsigned *pending) {
    *pending = 0;
    return card_unsigned(__func__, device, "mig", current);
}

int nvmlDeviceGetMaxMigDeviceCount(device_t device, unsigned *count) {
    return card_unsigned(__func__, device, "slices", count);
}

int nvmlDeviceGetMigDeviceHandleByIndex(device_t device, unsigned index, device_t *instance) {
    char uuid[VALUE];
    if (index >= MAX_SLICES) return INVALID_ARGUMENT;
    slices[device->index][index].index = device->index;
    slices[device->index][index].slice = (int)index;
    *instance = (device_t)&slices[device->index][index];
    return card_text(__func__, *instance, "uuid", uuid, VALUE) == NOT_SUPPORTED ? NOT_FOUND : function_error(__func__);
}

int nvmlDeviceGetUUID(device_t device, char *uuid, unsigned size) { return card_text(__func__, device, "uuid", uuid, size); }
int nvmlDeviceGetName(device_t device, char *name, unsigned size) { return card_text(__func__, device, "name", name, size); }

typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char address[32]; } pci_t;
int nvmlDeviceGetPciInfo_v3(device_t device, pci_t *pci) { return card_text(__func__, device, "bus", pci->address, sizeof(pci->address)); }

int nvmlDeviceGetCudaComputeCapability(device_t device, int *major, int *minor) {
    char value[VALUE];
    int error = card_text(__func__, device, "capability", value, VALUE);
    if (error == SUCCESS) error = sscanf(value, "%d.%d", major, minor) == 2 ? SUCCESS : UNKNOWN;
    return error;
}

int nvmlDeviceGetMemoryInfo(device_t device, memory_t *memory) {
    memory_v2_t full = {0};
    int error = card_memory(__func__, device, &full);
    *memory = (memory_t){full.total, full.free, full.used + full.reserved};
    return error;
}

int nvmlDeviceGetMemoryInfo_v2(device_t device, memory_v2_t *memory) { return card_memory(__func__, device, memory); }

int nvmlDeviceGetTemperature(device_t device, unsigned sensor, unsigned *celsius) {
    (void)sensor;
    return card_unsigned(__func__, device, "temperature", celsius);
}

int nvmlDeviceGetPowerUsage(device_t device, unsigned *milliwatts) {
    return card_unsigned(__func__, device, "power", milliwatts);
}

/* A limit that a program has set lies beside the state, and holds for all programs until it is deleted. */
static void limit_file(device_t device, char path[VALUE]) {
    snprintf(path, VALUE, "%s.power_limit.%d", getenv("NVML_SHIM_FILE"), device->index);
}

int nvmlDeviceGetPowerManagementLimit(device_t device, unsigned *milliwatts) {
    char path[VALUE];
    FILE *file;
    int error = card_unsigned(__func__, device, "power_limit", milliwatts);
    limit_file(device, path);
    if (error != SUCCESS || !(file = fopen(path, "r"))) return error;
    if (fscanf(file, "%u", milliwatts) != 1) error = UNKNOWN;
    fclose(file);
    return error;
}

int nvmlDeviceGetEnforcedPowerLimit(device_t device, unsigned *milliwatts) {
    int error = function_error(__func__);
    return error == SUCCESS ? nvmlDeviceGetPowerManagementLimit(device, milliwatts) : error;
}

int nvmlDeviceGetPowerManagementDefaultLimit(device_t device, unsigned *milliwatts) {
    return card_unsigned(__func__, device, "power_default", milliwatts);
}

int nvmlDeviceGetPowerManagementLimitConstraints(device_t device, unsigned *least, unsigned *most) {
    char value[VALUE];
    int error = card_text(__func__, device, "power_range", value, VALUE);
    if (error != SUCCESS) return error;
    return sscanf(value, "%u,%u", least, most) == 2 ? SUCCESS : UNKNOWN;
}

int nvmlDeviceSetPowerManagementLimit(device_t device, unsigned milliwatts) {
    char path[VALUE];
    unsigned least, most;
    FILE *file;
    int error = nvmlDeviceGetPowerManagementLimitConstraints(device, &least, &most);
    if (error == SUCCESS) error = function_error(__func__);
    if (error == SUCCESS && !number_or("privileged", 1)) error = NO_PERMISSION;
    if (error == SUCCESS && (milliwatts < least || milliwatts > most)) error = INVALID_ARGUMENT;
    if (error != SUCCESS) return error;
    limit_file(device, path);
    if (!(file = fopen(path, "w"))) return UNKNOWN;
    fprintf(file, "%u", milliwatts);
    return fclose(file) == 0 ? SUCCESS : UNKNOWN;
}

int nvmlDeviceGetTotalEnergyConsumption(device_t device, unsigned long long *millijoules) {
    return card_number(__func__, device, "energy", millijoules);
}

int nvmlDeviceGetMinorNumber(device_t device, unsigned *minor) { return card_unsigned(__func__, device, "minor", minor); }
int nvmlDeviceGetGpuInstanceId(device_t device, unsigned *id) { return card_unsigned(__func__, device, "gi", id); }
int nvmlDeviceGetComputeInstanceId(device_t device, unsigned *id) { return card_unsigned(__func__, device, "ci", id); }
int nvmlDeviceGetNumGpuCores(device_t device, unsigned *cores) { return card_unsigned(__func__, device, "cores", cores); }
int nvmlDeviceGetComputeMode(device_t device, unsigned *mode) { return card_unsigned(__func__, device, "compute_mode", mode); }

int nvmlDeviceGetMaxClockInfo(device_t device, unsigned type, unsigned *megahertz) {
    return type == 1 ? card_unsigned(__func__, device, "clock", megahertz) : NOT_SUPPORTED; /* of the multiprocessors */
}

int nvmlDeviceGetClockInfo(device_t device, unsigned type, unsigned *megahertz) {
    return type == 1 ? card_unsigned(__func__, device, "clock_now", megahertz) : NOT_SUPPORTED; /* of the multiprocessors */
}

static int card_link(const char *function, device_t device, int which, unsigned *number) {
    char value[VALUE];
    unsigned numbers[4];
    int error = card_text(function, device, "link", value, VALUE);
    if (error != SUCCESS) return error;
    if (sscanf(value, "%u,%u,%u,%u", numbers, numbers + 1, numbers + 2, numbers + 3) != 4) return UNKNOWN;
    *number = numbers[which];
    return SUCCESS;
}

int nvmlDeviceGetCurrPcieLinkGeneration(device_t device, unsigned *generation) { return card_link(__func__, device, 0, generation); }
int nvmlDeviceGetCurrPcieLinkWidth(device_t device, unsigned *width) { return card_link(__func__, device, 1, width); }
int nvmlDeviceGetMaxPcieLinkGeneration(device_t device, unsigned *generation) { return card_link(__func__, device, 2, generation); }
int nvmlDeviceGetMaxPcieLinkWidth(device_t device, unsigned *width) { return card_link(__func__, device, 3, width); }

/* Each field has a result of its own. */
int nvmlDeviceGetFieldValues(device_t device, int count, field_t *fields) {
    char key[KEY];
    int index, error = card_key(__func__, device, "", key);
    for (index = 0; error == SUCCESS && index < count; index++) {
        fields[index].type = 1; /* an unsigned integer */
        fields[index].value = 0;
        fields[index].result = fields[index].field != 230 ? NOT_SUPPORTED
            : card_number(__func__, device, "recovery", &fields[index].value);
    }
    return error;
}

static int running(const char *name, device_t device, const char *list, unsigned *count, process_t *processes) {
    char key[KEY], value[VALUE], *rest = value, *word, *end;
    unsigned room = *count;
    int error = card_key(name, device, list, key);
    if (error == SUCCESS && hidden(device)) error = NO_PERMISSION;
    if (error != SUCCESS) return error;
    *count = 0;
    if (!lookup(key, value)) return SUCCESS;
    while ((word = strsep(&rest, ",")) != NULL) {
        unsigned pid = (unsigned)strtoul(word, &end, 10);
        unsigned long long memory = *end == ':' ? strtoull(end + 1, NULL, 10) : 0;
        if (*count < room && processes) processes[*count] = (process_t){pid, memory, 0, 0};
        *count += 1;
    }
    return *count <= room && processes ? SUCCESS : INSUFFICIENT_SIZE;
}

int nvmlDeviceGetComputeRunningProcesses_v3(device_t device, unsigned *count, process_t *processes) {
    return running(__func__, device, "processes", count, processes);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(device_t device, unsigned *count, process_t *processes) {
    return running(__func__, device, "graphics", count, processes);
}

int nvmlDeviceGetTotalEccErrors(device_t device, unsigned type, unsigned counter, unsigned long long *count) {
    if (type > 1 || counter != 0) return INVALID_ARGUMENT; /* since the driver was loaded */
    return card_number(__func__, device, type == 1 ? "ecc" : "ecc_corrected", count);
}

int nvmlDeviceGetRemappedRows(device_t device, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
    char value[VALUE];
    int error = card_text(__func__, device, "remapped", value, VALUE);
    if (error != SUCCESS) return error;
    return sscanf(value, "%u,%u,%u,%u", corrected, uncorrected, pending, failed) == 4 ? SUCCESS : UNKNOWN;
}

int nvmlDeviceGetRetiredPagesPendingStatus(device_t device, unsigned *pending) {
    return card_unsigned(__func__, device, "retired", pending);
}

int nvmlDeviceGetCurrentClocksEventReasons(device_t device, unsigned long long *reasons) {
    return card_number(__func__, device, "clocks", reasons);
}

int nvmlEventSetCreate(event_set_t *set) {
    *set = calloc(1, sizeof **set);
    return *set ? function_error(__func__) : UNKNOWN;
}

int nvmlEventSetFree(event_set_t set) {
    free(set);
    return SUCCESS;
}

int nvmlDeviceRegisterEvents(device_t device, unsigned long long types, event_set_t set) {
    char key[KEY];
    int error = card_key(__func__, device, "xid", key);
    if (error != SUCCESS) return error;
    set->registered[device->index] = types == 8; /* critical Xid errors */
    set->reported[device->index] = number_or(key, 0); /* what happened before is not recorded */
    return SUCCESS;
}

int nvmlEventSetWait_v2(event_set_t set, event_t *event, unsigned milliseconds) {
    int index;
    (void)milliseconds;
    for (index = 0; index < MAX_CARDS; index++) {
        unsigned long long xid = 0;
        cards[index].index = index;
        cards[index].slice = NO_SLICE;
        if (!set->registered[index] || card_number(__func__, (device_t)&cards[index], "xid", &xid) != SUCCESS) continue;
        if (xid == set->reported[index]) continue;
        set->reported[index] = xid;
        *event = (event_t){(device_t)&cards[index], 8, xid, 0, 0};
        return SUCCESS;
    }
    return TIMEOUT;
}

int nvmlDeviceGetUtilizationRates(device_t device, utilization_t *utilization) {
    utilization->memory = 0;
    return card_unsigned(__func__, device, "utilization", &utilization->gpu);
}
