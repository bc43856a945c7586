// What a test may ask of the double besides NVML: symbols that it finds with dlsym in the loaded library.
// Thread-safe. Times are milliseconds of the double's own clock, which stands still until it is advanced.
#pragma once

#include <cstdint>

#define LEZEA_DOUBLE_EXPORT extern "C" __attribute__((visibility("default")))

// Begins a scenario at its time 0, as if the library had just been loaded. 0, or the number of the line that is
// wrong, or -1 for a file that cannot be read. Without it the first nvmlInit loads $LEZEA_NVML_SCENARIO.
LEZEA_DOUBLE_EXPORT int lezea_double_load(const char* path);
LEZEA_DOUBLE_EXPORT void lezea_double_advance_ms(uint64_t ms);
// Lets calls that hang or wait for events return, and none hang or wait again.
LEZEA_DOUBLE_EXPORT void lezea_double_release();
// Inits less shutdowns: whoever else uses the machine.
LEZEA_DOUBLE_EXPORT uint64_t lezea_double_users();
// GPM samples that were allocated and not freed.
LEZEA_DOUBLE_EXPORT uint64_t lezea_double_gpm_samples();
// Calls of one symbol since the scenario began; of all of them for null.
LEZEA_DOUBLE_EXPORT uint64_t lezea_double_calls(const char* symbol);
// The truth since the driver was loaded, of a GPU (`pid` 0) or of a process on it: "energy_uj" as spent,
// "busy_us" any process was active, "process_us" the share of that which this process had; "sm_us", "occupancy_us",
// "bandwidth_us" that time weighted with what was used, "instance_busy_us", "instance_sm_us" of the GPU instance `pid`.
LEZEA_DOUBLE_EXPORT uint64_t lezea_double_truth(const char* what, uint32_t gpu, uint32_t pid);
