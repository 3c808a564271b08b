// Threads that wait for work: made when first needed, kept until the process ends.
#pragma once

#include <stdint.h>

namespace swinir {

// Called with the number of the thread, and with items [first, last).
using Task = void (*)(void* context, int thread, int64_t first, int64_t last);

// Have task compute all items, a few at a time, on at most num_threads threads, this one among them. Where the others
// are busy with another caller's work, or cannot be made, this thread does all of its own.
void parallel_for(int64_t num_items, int num_threads, Task task, void* context);

}  // namespace swinir
