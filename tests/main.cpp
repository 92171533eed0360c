// The test program: doctest, with every new block of memory filled with NaN.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "engine/memory.h"
#include "training/interrupt.h"

int main(int argc, char** argv) {
  ld::give_signals_a_thread();
  ld::poison_new_memory(true);
  doctest::Context context(argc, argv);
  return context.run();
}
