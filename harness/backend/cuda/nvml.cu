/* Clocks, power and throttling from NVIDIA's management library, found at run time: without it
 * they are not known. The few declarations are those of its documented, stable interface. */
#include <dlfcn.h>
#include <math.h>

#include "harness/backend/cuda/device.cuh"

/* nvmlClocksEventReason... */
enum {
    REASON_POWER_CAP = 0x4,
    REASON_HW_SLOWDOWN = 0x8,
    REASON_SW_THERMAL = 0x20,
    REASON_HW_THERMAL = 0x40,
    REASON_HW_POWER_BRAKE = 0x80,
};

enum { CLOCK_SM = 1, CLOCK_MEM = 2, TEMPERATURE_GPU = 0 };

typedef void *handle_t;

struct nvml {
    bool tried, usable;
    handle_t card;
    int (*clock_info)(handle_t, int, unsigned *);
    int (*reasons)(handle_t, unsigned long long *);
    int (*power)(handle_t, unsigned *);
    int (*temperature)(handle_t, int, unsigned *);
};

template <typename F> static void find(void *lib, const char *name, F *out)
{
    *(void **)out = lib ? dlsym(lib, name) : NULL;
}

/* By the address on the bus: NVML numbers cards in another order than CUDA does. */
static void load(struct nvml *m)
{
    void *lib = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    int (*init)(void);
    int (*by_address)(const char *, handle_t *);
    char address[32];
    int card = 0;

    m->tried = true;
    find(lib, "nvmlInit_v2", &init);
    find(lib, "nvmlDeviceGetHandleByPciBusId_v2", &by_address);
    find(lib, "nvmlDeviceGetClockInfo", &m->clock_info);
    find(lib, "nvmlDeviceGetCurrentClocksThrottleReasons", &m->reasons);
    find(lib, "nvmlDeviceGetPowerUsage", &m->power);
    find(lib, "nvmlDeviceGetTemperature", &m->temperature);
    m->usable = init && by_address && init() == 0 && cudaGetDevice(&card) == cudaSuccess &&
                cudaDeviceGetPCIBusId(address, sizeof(address), card) == cudaSuccess &&
                by_address(address, &m->card) == 0;
}

static unsigned throttle_of(unsigned long long reasons)
{
    unsigned t = 0;

    t |= reasons & REASON_POWER_CAP ? THROTTLE_POWER : 0;
    t |= reasons & REASON_SW_THERMAL ? THROTTLE_HEAT : 0;
    t |= reasons & (REASON_HW_SLOWDOWN | REASON_HW_THERMAL | REASON_HW_POWER_BRAKE)
             ? THROTTLE_HARDWARE
             : 0;
    return t;
}

void cuda_clocks(struct device *dev, struct device_clocks *out)
{
    static struct nvml m;
    unsigned long long reasons = 0;
    unsigned v = 0;

    (void)dev;
    *out = {NAN, NAN, NAN, NAN, 0, 0};
    if (!m.tried)
        load(&m);
    if (!m.usable)
        return;
    if (m.clock_info && m.clock_info(m.card, CLOCK_SM, &v) == 0)
        out->compute_mhz = v;
    if (m.clock_info && m.clock_info(m.card, CLOCK_MEM, &v) == 0)
        out->memory_mhz = v;
    if (m.power && m.power(m.card, &v) == 0)
        out->watts = v / 1000.0;
    if (m.temperature && m.temperature(m.card, TEMPERATURE_GPU, &v) == 0)
        out->celsius = v;
    if (m.reasons && m.reasons(m.card, &reasons) == 0) {
        out->throttle_known = 1;
        out->throttled = throttle_of(reasons);
    }
}
