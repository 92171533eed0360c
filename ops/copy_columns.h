// The one loop behind slice, split_last and concat, in both directions: columns from here to there.
#pragma once

#include "engine/kernel_shapes.h"

namespace ld {

/// Where a block of columns begins in rows of `width` elements.
struct ColumnBlock {
  int64_t width, begin;
};

/// out[r][to.begin + j] gets in[r][from.begin + j] added, for every row and j < count; a null `in` means
/// zeros.
template <class Out, class In>
void copy_columns(Accumulator<Out> out, ColumnBlock to, const In* in, ColumnBlock from, int64_t rows,
                  int64_t count) {
  for_each_row(rows, count, [=] KERNEL(int64_t r, auto row) {
    row.each([=](int64_t j) {
      out.add(r * to.width + to.begin + j,
              in ? static_cast<acc_t<In>>(in[r * from.width + from.begin + j]) : acc_t<In>(0));
    });
  });
}

}  // namespace ld
