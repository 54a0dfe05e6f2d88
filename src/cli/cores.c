// How many threads to compute with: one for each physical core that this process may use, because
// the second thread of a core adds nothing to loops that fill its vector units or its memory path.
#include "cli/cli.h"
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_CPUS = 4096 };

// The lowest of the CPUs that share a core with `cpu`; `cpu` itself where that is not known.
static int core_of(int cpu) {
    char path[100];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return cpu;
    int first;
    bool ok = fscanf(file, "%d", &first) == 1 && first >= 0 && first < MAX_CPUS;
    fclose(file);
    return ok ? first : cpu;
}

static int physical_cores(void) {
    cpu_set_t *mask = CPU_ALLOC(MAX_CPUS);
    if (mask == NULL)
        return 1;
    size_t size = CPU_ALLOC_SIZE(MAX_CPUS);
    bool seen[MAX_CPUS] = {false};
    int cores = 0;
    if (sched_getaffinity(0, size, mask) == 0) {
        for (int cpu = 0; cpu < MAX_CPUS; cpu++) {
            if (!CPU_ISSET_S((size_t)cpu, size, mask))
                continue;
            int core = core_of(cpu);
            cores += !seen[core];
            seen[core] = true;
        }
    }
    CPU_FREE(mask);
    return cores > 0 ? cores : 1;
}

int cli_threads(const cli_options *o) {
    return cli_has(o, "threads") ? (int)cli_int(o, "threads") : physical_cores();
}
