// SECONDS PID…: reads CPU clock, stat, statm and io of these processes ten times a second on kept descriptors and does
// nothing with them. Prints its CPU time in per cent of one core.

#include "machine.h"

int main(int count, char** arguments) {
  const double seconds = std::atof(arguments[1]);
  std::vector<bench::Bare> processes;
  for (int i = 2; i < count; ++i) processes.emplace_back(std::atoi(arguments[i]));
  const uint64_t begun_ns = bench::read_clock(CLOCK_MONOTONIC);
  const uint64_t cpu_before_ns = bench::cpu_ns();
  const auto ticks = static_cast<uint64_t>(seconds * 10);
  for (uint64_t tick = 1; tick <= ticks; ++tick) {
    for (const bench::Bare& process : processes) process.read(true);
    const uint64_t next_ns = begun_ns + tick * 100'000'000;
    const timespec until{static_cast<time_t>(next_ns / 1'000'000'000),
                         static_cast<long>(next_ns % 1'000'000'000)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr);
  }
  const uint64_t wall_ns = bench::read_clock(CLOCK_MONOTONIC) - begun_ns;
  std::printf("%.6f\n", 100.0 * static_cast<double>(bench::cpu_ns() - cpu_before_ns) /
                            static_cast<double>(wall_ns));
}
