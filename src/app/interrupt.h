// app/interrupt.h - Ctrl-C and SIGTERM as a flag that loops look at.
#pragma once

#include <atomic>

namespace ration {

// True after Ctrl-C or SIGTERM, until cleared. A second one within a loop that does not look ends
// the program at once.
std::atomic<bool>& interrupted();

// From now on the signals set the flag. Once, from main.
void catch_interrupts();

}  // namespace ration
