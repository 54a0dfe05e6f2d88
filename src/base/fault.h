// Faults that tests ask for through the environment. Without ABRUZZI_FAULTS=1 there are none.
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include <stdbool.h>
#include <stdint.h>

// The number in the variable NAME (FAIL_IO, NAN_AT_STEP, ...), or -1 when ABRUZZI_FAULTS is not 1
// or the variable is unset or no number. Reads the environment: ask once, not in a loop.
int64_t base_fault_number(const char *name);

// True for the n-th allocation or read of the process, n being FAIL_ALLOC or FAIL_IO.
bool base_fault_alloc_due(void);
bool base_fault_io_due(void);

#endif
