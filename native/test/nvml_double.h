// The NVML double that the native tests were built with: which libnvidia-ml.so.1 to load, and its controls.
// Holds the library, so that its machine outlives what the code under test closes.
#pragma once

#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/clock.h"
#include "check.h"
#include "fixture.h"

namespace lezea::test {

class NvmlDouble {
 public:
  // `scenario`: a file of test/fixtures/nvml, without its end. `variant`: one of native/nvml_double/variants.
  explicit NvmlDouble(const std::string& scenario, const std::string& variant = "current") {
    const char* folder = std::getenv("LEZEA_NVML_DOUBLE");
    path_ = std::string(folder != nullptr ? folder : ".") + "/" + variant + "/libnvidia-ml.so.1";
    handle_ = dlopen(path_.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle_ == nullptr) {
      fail(__FILE__, __LINE__, dlerror());
      return;
    }
    find(load_, "lezea_double_load");
    find(advance_, "lezea_double_advance_ms");
    find(release_, "lezea_double_release");
    find(users_, "lezea_double_users");
    find(calls_, "lezea_double_calls");
    find(truth_, "lezea_double_truth");
    find(gpm_samples_, "lezea_double_gpm_samples");
    CHECK_EQ(load_(fixture_path("nvml/" + scenario + ".scenario").c_str()), 0);
  }
  // The machine is one for all tests: threads that outlive what started them must have left it.
  ~NvmlDouble() {
    if (handle_ == nullptr) return;
    release_();
    const SystemClock clock;
    const uint64_t deadline_ns = clock.monotonic_ns() + 20'000'000'000;
    while (users_() > 0 && clock.monotonic_ns() < deadline_ns) clock.sleep_ns(1'000'000);
    CHECK_EQ(users_(), 0);
    CHECK_EQ(gpm_samples_(), 0);
    dlclose(handle_);
  }
  NvmlDouble(const NvmlDouble&) = delete;
  NvmlDouble& operator=(const NvmlDouble&) = delete;

  const std::string& path() const { return path_; }
  void advance_ms(uint64_t ms) { advance_(ms); }
  void release() { release_(); }
  uint64_t calls(const char* symbol) { return calls_(symbol); }
  // Allocated and not freed.
  uint64_t gpm_samples() { return gpm_samples_(); }
  uint64_t all_calls() { return calls_(nullptr); }
  uint64_t truth(const char* what, uint32_t gpu, uint32_t pid = 0) {
    return truth_(what, gpu, pid);
  }

 private:
  template <class Function>
  void find(Function& function, const char* symbol) {
    function = reinterpret_cast<Function>(dlsym(handle_, symbol));
    CHECK(function != nullptr);
  }

  std::string path_;
  void* handle_ = nullptr;
  int (*load_)(const char*) = nullptr;
  void (*advance_)(uint64_t) = nullptr;
  void (*release_)() = nullptr;
  uint64_t (*users_)() = nullptr;
  uint64_t (*calls_)(const char*) = nullptr;
  uint64_t (*gpm_samples_)() = nullptr;
  uint64_t (*truth_)(const char*, uint32_t, uint32_t) = nullptr;
};

}  // namespace lezea::test
