// Conversions between what the sampler hands out and JavaScript values. JavaScript thread only.

#pragma once

#include <napi.h>

#include <string>
#include <vector>

#include "sampler/sampler.h"

namespace lezea {

Napi::Value to_js(Napi::Env env, const Snapshot& snapshot);
Napi::Value to_js(Napi::Env env, const std::vector<NodeFigure>& figures);
Napi::Value to_js(Napi::Env env, const std::vector<SourceStatus>& statuses);

Napi::BigInt big(Napi::Env env, uint64_t value);
// Frame rows one after another.
Napi::BigUint64Array rows_to_js(Napi::Env env, const std::vector<FrameRow>& rows);

// Members of an options object. A missing or mistyped one throws a TypeError and gives nought; check
// env.IsExceptionPending() after the last.
uint32_t u32_member(const Napi::Object& object, const char* name);
uint64_t u64_member(const Napi::Object& object, const char* name);  // a bigint
int64_t i64_member(const Napi::Object& object, const char* name);   // a bigint
std::string string_member(const Napi::Object& object, const char* name);
void throw_type(Napi::Env env, const std::string& message);

}  // namespace lezea
