/* A libnvidia-ml.so.1 for tests, which says what the files of the folder FAKE_NVML say, each time that it is asked:
 *
 * gpus       how many GPUs there are
 * init       the number of the error that nvmlInit returns
 * count      the number of the error that nvmlDeviceGetCount returns
 * lost-N     GPU N is lost
 * hang-N     GPU N never answers
 * xid-N      a fault of GPU N, by its number; told once
 * unified    the GPUs have no memory of their own
 * mig        GPU 0 has two MIG instances
 * processes  lines of GPU, PID, MiB, percent
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, TIMEOUT = 10, LOST = 15 };
enum { MOST = 16, PARTS = 2 };
static const unsigned long long MIB = 1ull << 20;

struct device { unsigned index; int part; };
static struct device gpus[MOST], parts[PARTS];

static FILE *told(const char *name, unsigned number) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", getenv("FAKE_NVML"), name);
    if (number != MOST) snprintf(path + strlen(path), 16, "-%u", number);
    return fopen(path, "r");
}
static long value(const char *name, unsigned number) {
    FILE *file = told(name, number);
    long found = 0;
    if (!file) return -1;
    if (fscanf(file, "%ld", &found) != 1) found = 0;
    fclose(file);
    return found;
}
static int check(const struct device *device) {
    if (value("hang", device->index) >= 0) for (;;) pause();
    return value("lost", device->index) >= 0 ? LOST : OK;
}
#define CHECK(device) do { int result_ = check(device); if (result_) return result_; } while (0)

int nvmlInit_v2(void) {
    for (unsigned i = 0; i < MOST; i++) gpus[i].index = i;
    for (unsigned i = 0; i < PARTS; i++) parts[i].part = (int)i + 1;
    long error = value("init", MOST);
    return error > 0 ? (int)error : OK;
}
int nvmlInitWithFlags(unsigned flags) { (void)flags; return nvmlInit_v2(); }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int result) { return result == LOST ? "GPU is lost" : "Unknown Error"; }
int nvmlSystemGetDriverVersion(char *version, unsigned length) { snprintf(version, length, "580.95.05"); return OK; }

int nvmlDeviceGetCount_v2(unsigned *count) {
    long error = value("count", MOST), there = value("gpus", MOST);
    *count = there > 0 ? (unsigned)there : 0;
    return error > 0 ? (int)error : OK;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct device **device) {
    if (index >= MOST) return INVALID;
    *device = &gpus[index];
    return check(*device);
}
int nvmlDeviceGetUUID(struct device *device, char *uuid, unsigned length) {
    if (device->part) snprintf(uuid, length, "MIG-%d", device->part);
    else snprintf(uuid, length, "GPU-%u", device->index);
    return OK;
}
int nvmlDeviceGetName(struct device *device, char *name, unsigned length) {
    snprintf(name, length, device->part ? "NVIDIA Fake MIG 1g.10gb" : "NVIDIA Fake");
    return OK;
}
struct pci { char old[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };
int nvmlDeviceGetPciInfo_v3(struct device *device, struct pci *pci) {
    memset(pci, 0, sizeof *pci);
    snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", 0x18 + device->index);
    return OK;
}
int nvmlDeviceGetMinorNumber(struct device *device, unsigned *minor) { *minor = device->index; return OK; }
int nvmlDeviceGetClockInfo(struct device *device, int kind, unsigned *clock) {
    CHECK(device);
    *clock = kind == 1 ? 1980 : 2619;
    return OK;
}
int nvmlDeviceGetTemperature(struct device *device, int sensor, unsigned *degrees) {
    (void)sensor;
    CHECK(device);
    *degrees = 40 + device->index;
    return OK;
}
int nvmlDeviceGetPowerUsage(struct device *device, unsigned *milliwatts) { CHECK(device); *milliwatts = 123456; return OK; }
int nvmlDeviceGetTotalEnergyConsumption(struct device *device, unsigned long long *energy) {
    CHECK(device);
    *energy = 5000000000ull;
    return OK;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(struct device *device, unsigned long long *reasons) {
    long told_bits = value("throttle", device->index);
    CHECK(device);
    if (told_bits < 0) return NOT_SUPPORTED;
    *reasons = (unsigned long long)told_bits;
    return OK;
}
int nvmlDeviceGetUtilizationRates(struct device *device, unsigned *rates) {
    if (device->part) return NOT_SUPPORTED;
    CHECK(device);
    rates[0] = 87, rates[1] = 33;
    return OK;
}
int nvmlDeviceGetDecoderUtilization(struct device *device, unsigned *share, unsigned *period) {
    CHECK(device);
    *share = 5, *period = 1000;
    return OK;
}
struct memory { unsigned long long total, free, used; };
int nvmlDeviceGetMemoryInfo(struct device *device, struct memory *memory) {
    if (value("unified", MOST) >= 0) return NOT_SUPPORTED;
    CHECK(device);
    memory->total = (device->part ? 10000 : 80000) * MIB;
    memory->used = (device->part ? 1000 : 30000) * MIB;
    memory->free = memory->total - memory->used;
    return OK;
}
int nvmlDeviceGetRemappedRows(struct device *device, unsigned *corrected, unsigned *lost, unsigned *due, unsigned *failed) {
    CHECK(device);
    *corrected = 1, *lost = 2, *due = 0, *failed = 0;
    return OK;
}
int nvmlDeviceGetMaxMigDeviceCount(struct device *device, unsigned *count) {
    if (device->index || value("mig", MOST) < 0) return NOT_SUPPORTED;
    *count = PARTS + 1;
    return OK;
}
int nvmlDeviceGetMigDeviceHandleByIndex(struct device *device, unsigned index, struct device **part) {
    (void)device;
    if (index >= PARTS) return NOT_FOUND;
    *part = &parts[index];
    return OK;
}
int nvmlDeviceGetGpuInstanceId(struct device *device, unsigned *instance) { *instance = 6 + (unsigned)device->part; return OK; }

struct process { unsigned pid; unsigned long long memory; unsigned instance, compute; };
static unsigned processes(const struct device *device, struct process *found, unsigned *shares) {
    FILE *file = told("processes", MOST);
    unsigned gpu, pid, share, count = 0;
    unsigned long long memory;
    if (!file) return 0;
    while (count < MOST && fscanf(file, "%u %u %llu %u", &gpu, &pid, &memory, &share) == 4) {
        if (gpu != device->index || device->part > 1) continue;
        memset(&found[count], 0, sizeof *found);
        found[count].pid = pid, found[count].memory = memory * MIB, shares[count++] = share;
    }
    fclose(file);
    return count;
}
int nvmlDeviceGetComputeRunningProcesses_v3(struct device *device, unsigned *count, struct process *list) {
    struct process found[MOST];
    unsigned shares[MOST], there = processes(device, found, shares), room = *count;
    CHECK(device);
    *count = there;
    if (there > room) return TOO_SMALL;
    if (there) memcpy(list, found, there * sizeof *found);
    return OK;
}
struct sample { unsigned pid; unsigned long long time; unsigned sm, memory, encoder, decoder; };
int nvmlDeviceGetProcessUtilization(struct device *device, struct sample *list, unsigned *count, unsigned long long since) {
    struct process found[MOST];
    unsigned shares[MOST], there = processes(device, found, shares), room = *count;
    *count = there;
    if (device->part || !there) return NOT_FOUND;
    if (there > room) return TOO_SMALL;
    for (unsigned i = 0; i < there; i++) {
        memset(&list[i], 0, sizeof *list);
        list[i].pid = found[i].pid, list[i].time = since + 1, list[i].sm = shares[i];
    }
    return OK;
}

int nvmlEventSetCreate(void **set) { *set = gpus; return OK; }
int nvmlDeviceRegisterEvents(struct device *device, unsigned long long kinds, void *set) {
    (void)device, (void)kinds, (void)set;
    return OK;
}
struct event { struct device *device; unsigned long long kind, data; unsigned instance, compute; };
int nvmlEventSetWait_v2(void *set, struct event *event, unsigned milliseconds) {
    (void)set, (void)milliseconds;
    for (unsigned i = 0; i < MOST; i++) {
        long fault = value("xid", i);
        if (fault < 0) continue;
        char path[1024];
        snprintf(path, sizeof path, "%s/xid-%u", getenv("FAKE_NVML"), i);
        unlink(path);
        memset(event, 0, sizeof *event);
        event->device = &gpus[i], event->kind = 8, event->data = (unsigned long long)fault;
        return OK;
    }
    return TIMEOUT;
}
