/* A libnvidia-ml.so.1 for tests: it says of driver and GPUs what the environment tells it to.
 *
 * FAKE_NVML_INIT    what nvmlInit returns: 0, or the number of an error
 * FAKE_NVML_DRIVER  version of the driver
 * FAKE_NVML_GPUS    UUIDs of the GPUs, separated by commas
 * FAKE_NVML_MIG     UUIDs of the parts of GPU 0, which then is in MIG mode; between two commas: nothing there
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6 };
enum { LENGTH = 80 };

struct device { char uuid[LENGTH]; int part; };
static struct device gpus[16], parts[16];
static unsigned gpu_count, part_count;

static const char *told(const char *name) {
    const char *value = getenv(name);
    return value ? value : "";
}

static unsigned read_list(const char *text, struct device *devices, int part) {
    unsigned count = 0;
    for (const char *from = text; *text && from && count < 16; count++) {
        const char *comma = strchr(from, ',');
        size_t length = comma ? (size_t)(comma - from) : strlen(from);
        snprintf(devices[count].uuid, LENGTH, "%.*s", (int)length, from);
        devices[count].part = part;
        from = comma ? comma + 1 : NULL;
    }
    return count;
}

int nvmlInit_v2(void) {
    gpu_count = read_list(told("FAKE_NVML_GPUS"), gpus, 0);
    part_count = read_list(told("FAKE_NVML_MIG"), parts, 1);
    return atoi(told("FAKE_NVML_INIT"));
}
int nvmlInitWithFlags(unsigned flags) { (void)flags; return nvmlInit_v2(); }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int result) { (void)result; return "a fault of the fake"; }

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
    snprintf(version, length, "%s", told("FAKE_NVML_DRIVER"));
    return OK;
}
int nvmlDeviceGetCount_v2(unsigned *count) { *count = gpu_count; return OK; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct device **device) {
    if (index >= gpu_count) return INVALID;
    *device = &gpus[index];
    return OK;
}
int nvmlDeviceGetUUID(struct device *device, char *uuid, unsigned length) {
    snprintf(uuid, length, "%s", device->uuid);
    return OK;
}
int nvmlDeviceGetName(struct device *device, char *name, unsigned length) {
    snprintf(name, length, device->part ? "NVIDIA Fake MIG 1g.10gb" : "NVIDIA Fake");
    return OK;
}
int nvmlDeviceGetMaxMigDeviceCount(struct device *device, unsigned *count) {
    *count = part_count;
    return device == &gpus[0] && part_count ? OK : NOT_SUPPORTED;
}
int nvmlDeviceGetMigDeviceHandleByIndex(struct device *device, unsigned index, struct device **part) {
    (void)device;
    if (index >= part_count || !parts[index].uuid[0]) return NOT_FOUND;
    *part = &parts[index];
    return OK;
}
