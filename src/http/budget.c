#include "http/budget.h"

static size_t counted(size_t bytes) {
    return bytes > HTTP_UNCOUNTED_BYTES ? bytes - HTTP_UNCOUNTED_BYTES : 0;
}

bool http_budget_resize(http_budget *b, size_t before, size_t after) {
    size_t had = counted(before), wants = counted(after);
    if (b == NULL || had == wants)
        return true;
    if (wants < had) {
        atomic_fetch_add_explicit(&b->left, had - wants, memory_order_relaxed);
        return true;
    }
    size_t more = wants - had;
    size_t left = atomic_load_explicit(&b->left, memory_order_relaxed);
    do {
        if (left < more)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&b->left, &left, left - more,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}
