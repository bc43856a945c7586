// A process's account to and from the opaque bytes that a checkpoint stores beside the totals: with
// them a restarted agent goes on in the middle of an interval, giving nothing twice.

#include "attribution/process_account.h"

namespace lezea {
namespace {

void encode_optional(ByteWriter& out, const std::optional<uint64_t>& value) {
  out.u8(value ? 1 : 0);
  if (value) out.u64(*value);
}

std::optional<uint64_t> decode_optional(ByteReader& in) {
  if (in.u8() == 0) return std::nullopt;
  return in.u64();
}

void encode_totals(ByteWriter& out, const Totals& totals) {
  for (const uint64_t word : to_frame({}, totals, {})) out.u64(word);
}

Totals decode_totals(ByteReader& in, int words) {
  FrameRow row{};
  for (int word = 0; word < words; ++word) row[word] = in.u64();
  return from_frame(row);
}

}  // namespace

void ScopeShares::encode(ByteWriter& out) const {
  ScopeShares settled = *this;
  settled.settle_weights();
  out.u64(now_ns_);
  out.u64(segment_start_ns_);
  out.u32(shares_[birth_].slot);
  out.u32(shares_[follow_].slot);
  out.u32(static_cast<uint32_t>(settled.touched_.size()));
  for (const uint32_t index : settled.touched_) {
    const Share& share = settled.shares_[index];
    out.u32(share.slot);
    for (const uint64_t claim : share.claim) out.u64(claim);
    for (const uint64_t value : {share.follow_ns, share.equal_weight, share.slow_weight,
                                 share.active_ns, share.activations}) {
      out.u64(value);
    }
  }
}

ScopeShares::ScopeShares(ByteReader& in) {
  now_ns_ = in.u64();
  const uint64_t segment_start_ns = in.u64();
  birth_ = index_of(in.u32());
  follow_ = index_of(in.u32());
  const uint32_t count = in.u32();
  for (uint32_t i = 0; i < count && in.ok(); ++i) {
    const uint32_t index = index_of(in.u32());
    Share& share = shares_[index];
    for (uint64_t& claim : share.claim) claim = in.u64();
    for (uint64_t* value : {&share.follow_ns, &share.equal_weight, &share.slow_weight,
                            &share.active_ns, &share.activations}) {
      *value = in.u64();
    }
    touch(index);
  }
  segment_start_ns_ = segment_start_ns;
}

void ProcessAccount::encode(ByteWriter& out) const {
  shares_.encode(out);
  out.i64(primary_tid_);
  out.u32(last_known_);
  for (const uint64_t value : last_) out.u64(value);
  out.u64(user_given_ns_);
  encode_optional(out, memory_bytes_);
  out.u64(last_close_ns_);
  encode_totals(out, totals_);
  out.u32(static_cast<uint32_t>(threads_.size()));
  for (const auto& [tid, thread] : threads_) {
    out.i64(tid);
    const bool announced = thread.share != ScopeShares::kNone;
    out.u32(announced ? shares_.at(thread.share).slot : 0);
    out.u64(thread.since_ns);
    for (const auto& point : thread.point) encode_optional(out, point);
    out.u8(thread.stamp ? 1 : 0);
    if (thread.stamp) {
      out.u64(thread.stamp->t_ns);
      out.u64(thread.stamp->cpu_ns.value_or(0));
    }
    out.u8(thread.unread ? 1 : 0);
    out.u32(static_cast<uint32_t>(thread.stays.size()));
    for (const Stay& stay : thread.stays) {
      out.u32(stay.share == ScopeShares::kNone ? 0 : shares_.at(stay.share).slot);
      out.u64(stay.wall_ns);
    }
  }
}

ProcessAccount::ProcessAccount(uint32_t run, ByteReader& in, int row_words)
    : run_(run), primary_tid_(0), shares_(in) {
  primary_tid_ = static_cast<int>(in.i64());
  last_known_ = in.u32();
  for (uint64_t& value : last_) value = in.u64();
  user_given_ns_ = in.u64();
  memory_bytes_ = decode_optional(in);
  last_close_ns_ = in.u64();
  totals_ = decode_totals(in, row_words);
  const uint64_t segment_start_ns = shares_.segment_start_ns();
  segments_.start(last_close_ns_, last_[kCpu]);
  decode_threads(in);
  refresh_follow();
  shares_.restore_segment_start(segment_start_ns);
}

void ProcessAccount::adopt_slots(RunTable& table) {
  shares_.replace_slots(
      [this, &table](uint32_t slot) { return table.slot_or_unattributed(run_, slot); });
}

void ProcessAccount::decode_threads(ByteReader& in) {
  const auto share_of = [this](uint32_t slot) {
    return slot == 0 ? ScopeShares::kNone : shares_.index_of(slot);
  };
  const uint32_t count = in.u32();
  for (uint32_t i = 0; i < count && in.ok(); ++i) {
    const int tid = static_cast<int>(in.i64());
    Thread& thread = threads_[tid];
    const uint32_t share = share_of(in.u32());
    thread.since_ns = in.u64();
    for (auto& point : thread.point) point = decode_optional(in);
    if (in.u8() != 0) {
      thread.stamp.emplace();
      thread.stamp->tid = tid;
      thread.stamp->t_ns = in.u64();
      thread.stamp->cpu_ns = in.u64();
    }
    thread.unread = in.u8() != 0;
    const uint32_t stays = in.u32();
    for (uint32_t j = 0; j < stays && in.ok(); ++j) {
      const uint32_t stay_share = share_of(in.u32());
      thread.stays.push_back({stay_share, in.u64()});
    }
    shares_.move_announcement(ScopeShares::kNone, share);
    thread.share = share;
  }
}

}  // namespace lezea
