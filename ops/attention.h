// Causal multi-head attention (Vaswani et al. 2017, arXiv:1706.03762), from the fused projection to the
// heads' outputs side by side. Head h reads columns h·D … of each third of qkv, D = C/H.
//   S_ij = q_i · k_j / √D      P_i = softmax over j ≤ i of S_i      y_i = Σ_j P̃_ij v_j
// P̃ is P, or with dropout P ⊙ keep / (1 − rate). With dP_ij = dy_i · v_j (⊙ keep/(1 − rate)):
//   δ_i = Σ_j P_ij dP_ij = dy_i · y_i      dS_ij = P_ij (dP_ij − δ_i)
//   dq_i += Σ_j dS_ij k_j/√D      dk_j += Σ_i dS_ij q_i/√D      dv_j += Σ_i P̃_ij dy_i
// Saves qkv, y and the logarithm of each row's sum of exponentials (B, H, T), to the base that the kernels compute
// with. P is computed again in backward, so a (T, T) matrix of numbers never exists (Dao et al. 2022,
// arXiv:2205.14135); on the CPU backward with dropout keeps a byte for each pair of the head at hand. A row never
// reads a later one: changing token t leaves every output before t bit-identical.
#pragma once

#include "autograd/var.h"
#include "engine/random.h"

namespace ld {

/// Dropout inside attention; element (h, i, j) of sample b draws number (h·T + i)·T + j of sample b.
struct AttentionDropout {
  double rate = 0;
  NoiseKey key;
};

/// qkv (B, T, 3·C) -> y (B, T, C).
Var causal_attention(const Var& qkv, int64_t n_head, AttentionDropout dropout = {});

}  // namespace ld
