// What a figure was measured on: processor, libraries, source.
#pragma once

#include <gnu/libc-version.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "engine/device.h"
#include "engine/error.h"
#if defined(ENGINE_CPU)
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#endif

namespace ld {

/// What a GPU's data sheet promises, in TFLOP/s of dense matrices: bfloat16 by tensor cores, float32 without.
/// Nothing for a device that is not listed. `description` is device_description(): the name, then a comma.
inline std::optional<double> peak_tflops(const std::string& description, bool bfloat16) {
  struct Peak {
    std::string_view name;
    double bfloat16, float32;
  };
  const std::string_view name = std::string_view(description).substr(0, description.find(','));
  for (const Peak& peak : {Peak{"NVIDIA H100 80GB HBM3", 989, 67}, Peak{"NVIDIA H100 PCIe", 756, 51},
                           Peak{"NVIDIA H200", 989, 67}, Peak{"NVIDIA A100-SXM4-40GB", 312, 19.5},
                           Peak{"NVIDIA A100-SXM4-80GB", 312, 19.5}, Peak{"NVIDIA A100-PCIE-40GB", 312, 19.5},
                           Peak{"NVIDIA A100 80GB PCIe", 312, 19.5}})
    if (name == peak.name) return bfloat16 ? peak.bfloat16 : peak.float32;
  return std::nullopt;
}

/// What the command prints, without the newline at the end; the exit status in `status`.
inline std::string output_of(const std::string& command, int& status) {
  FILE* pipe = popen(command.c_str(), "r");
  check(pipe != nullptr, "bench: cannot run ", command);
  std::string text;
  for (int c; (c = std::fgetc(pipe)) != EOF;) text += static_cast<char>(c);
  status = pclose(pipe);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

inline nlohmann::json machine() {
  int status = 0;
  std::string commit = output_of("git rev-parse --short HEAD 2>/dev/null", status);
  if (status != 0) commit = "unknown";
  if (!output_of("git status --porcelain --untracked-files=no 2>/dev/null", status).empty())
    commit += " with changes";
  nlohmann::json result = {{"device", device_name()},
                           {"description", device_description()},
                           {"compiler", __VERSION__},
                           {"glibc", gnu_get_libc_version()},
                           {"commit", commit}};
#if defined(ENGINE_CUDA)
  const std::string driver =
      output_of("nvidia-smi --id=0 --query-gpu=driver_version --format=csv,noheader 2>/dev/null", status);
  result["driver"] = status == 0 ? driver : "unknown";
#endif
#if defined(ENGINE_CPU)
  const dnnl_version_t* dnnl = dnnl_version();
  result["onednn"] =
      std::to_string(dnnl->major) + '.' + std::to_string(dnnl->minor) + '.' + std::to_string(dnnl->patch);
  result["threads"] = omp_get_max_threads();
#endif
  return result;
}

}  // namespace ld
