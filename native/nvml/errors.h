// What NVML's return codes mean to the agent, in words of our own: nvmlErrorString is a call into a driver that
// may be the sick one. Pure.
#pragma once

#include "nvml/nvml_abi.h"

namespace lezea::nvml {

// "GPU is lost"; never null.
const char* text(Return code);

// The library, or what it speaks to, must be opened anew: its handles and counters mean nothing any more.
bool ends_generation(Return code);
// The device is gone until it is reset or comes back; the others go on.
bool loses_device(Return code);
// It will be refused for as long as this library and driver are there.
bool is_permanent(Return code);
// It may be granted later: asked again, ever more seldom.
bool is_passing(Return code);

}  // namespace lezea::nvml
