// measure: load for a server, and what it makes of it: benchmarks and evaluations.
//
// Takes a URL (or, for offline runs, an engine), a dataset and rates; gives the numbers vLLM's own
// tools would give, by the same definitions. It must never know a server's insides.
#ifndef MEASURE_MEASURE_H
#define MEASURE_MEASURE_H

#include "measure/client.h"
#include "measure/fit.h"
#include "measure/gsm8k.h"
#include "measure/load.h"
#include "measure/metrics.h"
#include "measure/offline.h"
#include "measure/random.h"
#include "measure/report.h"
#include "measure/sample.h"

#endif
