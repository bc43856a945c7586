// See gpu_poller_object.h.

#include "addon/gpu_poller_object.h"

#include "addon/pool_worker.h"
#include "addon/values.h"

namespace lezea {
namespace {

using nvml::GpuState;

const char* name_of(GpuState state) {
  switch (state) {
    case GpuState::kStarting:
      return "starting";
    case GpuState::kRunning:
      return "running";
    case GpuState::kNoLibrary:
      return "no_library";
    case GpuState::kNoDriver:
      return "no_driver";
    case GpuState::kStuck:
      return "stuck";
  }
  return "starting";
}

// An object whose members are there where they are known.
class Members {
 public:
  explicit Members(Napi::Env env) : object(Napi::Object::New(env)) {}

  void set(const char* name, const std::optional<std::string>& text) {
    if (text) object.Set(name, *text);
  }
  void set(const char* name, const std::optional<bool>& fact) {
    if (fact) object.Set(name, *fact);
  }
  // Exact up to 2^53: 285 years of a kilowatt in microjoules.
  template <class Number>
  void set(const char* name, const std::optional<Number>& number) {
    if (number) object.Set(name, static_cast<double>(*number));
  }

  Napi::Object object;
};

Napi::Value to_js(Napi::Env env, const nvml::DeviceFacts& facts) {
  Members members(env);
  members.object.Set("uuid", facts.uuid);
  members.set("name", facts.name);
  members.set("serial", facts.serial);
  members.set("vbios", facts.vbios_version);
  members.set("pciBusId", facts.pci_bus_id);
  members.set("memoryTotalBytes", facts.memory_total_bytes);
  members.set("persistenceMode", facts.persistence_mode);
  members.set("migMode", facts.mig_mode);
  members.set("computeMode", facts.compute_mode);
  members.set("powerLimitMilliwatts", facts.power_limit_milliwatts);
  if (facts.mig) members.object.Set("parentUuid", facts.mig->parent_uuid);
  return members.object;
}

Napi::Value to_js(Napi::Env env, const nvml::DeviceFigures& figures) {
  Members members(env);
  members.object.Set("tNs", big(env, figures.t_ns));
  members.set("utilizationPercent", figures.utilization_percent);
  members.set("memoryUtilizationPercent", figures.memory_utilization_percent);
  members.set("memoryUsedBytes", figures.memory_used_bytes);
  members.set("memoryReservedBytes", figures.memory_reserved_bytes);
  members.set("memoryFreeBytes", figures.memory_free_bytes);
  members.set("energyUj", figures.energy_uj);
  members.set("powerInstantMilliwatts", figures.power_instant_milliwatts);
  members.set("powerAverageMilliwatts", figures.power_average_milliwatts);
  members.set("smClockMhz", figures.sm_clock_mhz);
  members.set("memoryClockMhz", figures.memory_clock_mhz);
  members.set("temperatureCelsius", figures.temperature_celsius);
  members.set("memoryTemperatureCelsius", figures.memory_temperature_celsius);
  members.set("fanPercent", figures.fan_percent);
  members.set("nvlinkTransmittedBytes", figures.nvlink_transmitted_bytes);
  members.set("nvlinkReceivedBytes", figures.nvlink_received_bytes);
  members.set("pcieTransmittedBytes", figures.pcie_transmitted_bytes);
  members.set("pcieReceivedBytes", figures.pcie_received_bytes);
  members.set("throttlePowerNs", figures.throttle_power_ns);
  members.set("throttleSoftwareThermalNs", figures.throttle_software_thermal_ns);
  members.set("throttleHardwareThermalNs", figures.throttle_hardware_thermal_ns);
  members.set("throttlePowerBrakeNs", figures.throttle_power_brake_ns);
  members.set("eccCorrected", figures.ecc_corrected);
  members.set("eccUncorrected", figures.ecc_uncorrected);
  members.set("remappedCorrectableRows", figures.remapped_correctable_rows);
  members.set("remappedUncorrectableRows", figures.remapped_uncorrectable_rows);
  members.set("remappingPending", figures.remapping_pending);
  members.set("remappingFailed", figures.remapping_failed);
  members.set("gpmGraphicsActivePpm", figures.gpm_graphics_active_ppm);
  members.set("gpmSmActivePpm", figures.gpm_sm_active_ppm);
  members.set("gpmSmOccupancyPpm", figures.gpm_sm_occupancy_ppm);
  members.set("gpmMemoryBandwidthPpm", figures.gpm_memory_bandwidth_ppm);
  return members.object;
}

Napi::Value to_js(Napi::Env env, const std::vector<nvml::GpuDevice>& devices) {
  Napi::Array out = Napi::Array::New(env, devices.size());
  for (uint32_t i = 0; i < devices.size(); ++i) {
    Napi::Object device = Napi::Object::New(env);
    device.Set("facts", to_js(env, devices[i].facts));
    device.Set("lost", devices[i].lost);
    if (devices[i].figures) device.Set("figures", to_js(env, *devices[i].figures));
    out.Set(i, device);
  }
  return out;
}

Napi::Value to_js(Napi::Env env, const std::vector<nvml::CallStats>& calls) {
  Napi::Array out = Napi::Array::New(env);
  for (const nvml::CallStats& stats : calls) {
    if (stats.count == 0) continue;
    Napi::Object call = Napi::Object::New(env);
    call.Set("symbol", stats.symbol);
    call.Set("count", static_cast<double>(stats.count));
    call.Set("failures", static_cast<double>(stats.failures));
    call.Set("late", static_cast<double>(stats.late));
    call.Set("totalNs", static_cast<double>(stats.total_ns));
    call.Set("longestNs", static_cast<double>(stats.longest_ns));
    out.Set(out.Length(), call);
  }
  return out;
}

Napi::Value to_js(Napi::Env env, const std::vector<nvml::XidCount>& xids) {
  Napi::Array out = Napi::Array::New(env, xids.size());
  for (uint32_t i = 0; i < xids.size(); ++i) {
    Napi::Object xid = Napi::Object::New(env);
    xid.Set("uuid", xids[i].uuid);
    xid.Set("code", static_cast<double>(xids[i].code));
    xid.Set("count", static_cast<double>(xids[i].count));
    xid.Set("lastWallMs", static_cast<double>(xids[i].last_wall_ms));
    out.Set(i, xid);
  }
  return out;
}

// Waits on libuv's pool until everything was read once more, or for so long.
class RefreshWorker : public PoolWorker {
 public:
  RefreshWorker(Napi::Env env, std::shared_ptr<nvml::GpuPoller> poller,
                std::chrono::milliseconds timeout)
      : PoolWorker(env, "lezea-gpus"),
        deferred_(Napi::Promise::Deferred::New(env)),
        poller_(std::move(poller)),
        timeout_(timeout) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override { done_ = poller_->refresh(timeout_); }
  void OnOK() override { deferred_.Resolve(Napi::Boolean::New(Env(), done_)); }

 private:
  Napi::Promise::Deferred deferred_;
  std::shared_ptr<nvml::GpuPoller> poller_;
  std::chrono::milliseconds timeout_;
  bool done_ = false;
};

}  // namespace

Napi::Function GpuPollerObject::define(Napi::Env env) {
  return DefineClass(env, "GpuPoller",
                     {InstanceMethod<&GpuPollerObject::snapshot>("snapshot"),
                      InstanceMethod<&GpuPollerObject::refresh>("refresh"),
                      InstanceMethod<&GpuPollerObject::stop>("stop")});
}

// { library: path or name, disabledSymbols: names }
GpuPollerObject::GpuPollerObject(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<GpuPollerObject>(info) {
  if (!info[0].IsObject()) {
    throw_type(info.Env(), "argument 1: expected an object");
    return;
  }
  const auto given = info[0].As<Napi::Object>();
  nvml::CollectorOptions options;
  options.nvml.path = string_member(given, "library");
  if (info.Env().IsExceptionPending()) return;
  if (const Napi::Value names = given.Get("disabledSymbols"); names.IsArray()) {
    const auto symbols = names.As<Napi::Array>();
    for (uint32_t i = 0; i < symbols.Length(); ++i)
      options.nvml.disabled_symbols.insert(symbols.Get(i).ToString().Utf8Value());
  }
  poller_ = std::make_shared<nvml::GpuPoller>(std::move(options), std::make_shared<SystemClock>());
}

Napi::Value GpuPollerObject::snapshot(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!poller_) return env.Undefined();
  const std::shared_ptr<const nvml::GpuSnapshot> now = poller_->take();
  Members members(env);
  members.object.Set("state", name_of(now->state));
  members.object.Set("reason", now->reason);
  members.set("driverVersion", now->driver.driver_version);
  members.set("nvmlVersion", now->driver.nvml_version);
  members.set("cudaVersion", now->driver.cuda_version);
  members.object.Set("devices", to_js(env, now->devices));
  members.object.Set("calls", to_js(env, now->calls));
  members.object.Set("xids", to_js(env, now->xids));
  return members.object;
}

Napi::Value GpuPollerObject::stop(const Napi::CallbackInfo& info) {
  if (poller_) poller_->stop();
  poller_.reset();
  return info.Env().Undefined();
}

// How long at most, in milliseconds.
Napi::Value GpuPollerObject::refresh(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!poller_ || !info[0].IsNumber()) {
    const auto deferred = Napi::Promise::Deferred::New(env);
    deferred.Resolve(Napi::Boolean::New(env, false));
    return deferred.Promise();
  }
  const std::chrono::milliseconds timeout(info[0].As<Napi::Number>().Uint32Value());
  auto* worker = new RefreshWorker(env, poller_, timeout);  // deletes itself
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

}  // namespace lezea
