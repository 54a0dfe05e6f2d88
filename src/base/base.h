// base: what every room stands on.
//
// Takes nothing, gives errors, memory, strings, numbers, JSON, logging, clocks, files, random bits
// and threads. It must never know anything about models, requests or sockets.
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include "base/err.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "base/num.h"
#include "base/pool.h"
#include "base/progress.h"
#include "base/rng.h"
#include "base/str.h"
#include "base/time.h"

#endif
