// How OpenMP's threads wait for each other.
#pragma once

namespace ld {

/// libgomp lets a waiting thread spin for milliseconds by default. Where another program wants the same core,
/// that makes a step ten times as long: the thread that is waited for does not get to run. Some tens of
/// microseconds of spinning cost nothing on an idle machine and a fraction on a busy one. libgomp reads its
/// settings before main begins, so the program starts itself once more with GOMP_SPINCOUNT set, unless the
/// environment says something about waiting already. Call it first thing in main; it does nothing the second
/// time, or on a GPU.
void wait_politely(char** argv);

}  // namespace ld
