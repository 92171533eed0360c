// The tokens a run trains on, and how batches are drawn from them.
#pragma once

#include "engine/random.h"
#include "engine/tensor.h"
#include "training/run_config.h"
#include "training/token_file.h"

namespace ld {

struct Batch {
  Tensor ids, targets;  // (B, T) int32; targets are the ids one place further on
};

/// B sequences of T tokens at uniformly random offsets. Sequence b is a pure function of (key, first_sample +
/// b): what a step sees does not depend on how it is cut into micro-batches, on evaluation or on a resume.
Batch draw_batch(const TokenFile& file, int64_t B, int64_t T, const NoiseKey& key);
/// The same into memory of the host, B·T numbers each.
void draw_tokens(int32_t* ids, int32_t* targets, const TokenFile& file, int64_t B, int64_t T,
                 const NoiseKey& key);

struct Dataset {
  TokenFile train, val;
};

/// Opens PREFIX_train.bin and PREFIX_val.bin of config.data. Where the config leaves alphabet_size open, it
/// is set from PREFIX.toml. Throws one line that says what to run when something is missing.
Dataset open_dataset(RunConfig& config);

/// By what a resumed run knows its data again, in words: "7,182,113 tokens (crc32 0x1a2b3c4d)".
struct DataFingerprint {
  std::string train, val;
};
/// Reads both files once.
DataFingerprint fingerprint(const Dataset& data);

}  // namespace ld
