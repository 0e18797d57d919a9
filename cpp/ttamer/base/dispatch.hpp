// Run-time dispatch for loops the compiler vectorises: one portable binary, the widest vectors the processor has.
#pragma once

#include <cstddef> // for __GLIBC__, where there is one

// Function multi-versioning by level needs GCC 12, x86-64 and a libc with ifunc. Sanitizers run before ifunc resolvers
// may, so they get the plain function too, as does every other compiler, processor and libc. TTAMER_PLAIN
// gives it to all, so that what it costs can be measured (bench/fused.py).
#if !defined(TTAMER_PLAIN) && defined(__GNUC__) && __GNUC__ >= 12 && !defined(__clang__) && defined(__x86_64__) &&     \
    defined(__gnu_linux__) && defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define TTAMER_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define TTAMER_CLONES
#endif

// Compiled with whatever target the function has that they stand in; a function of its own would be the plain one.
#if defined(_MSC_VER)
#define TTAMER_INLINE __forceinline
#else
#define TTAMER_INLINE __attribute__((always_inline)) inline
#endif

// For a function whose callers must not see into it.
#if defined(_MSC_VER)
#define TTAMER_NOINLINE __declspec(noinline)
#else
#define TTAMER_NOINLINE __attribute__((noinline))
#endif

// Columns of a batch never overlap; without being told so, the compiler checks at run time or gives up.
#if defined(_MSC_VER)
#define TTAMER_RESTRICT __restrict
#else
#define TTAMER_RESTRICT __restrict__
#endif

// For a loop of a load and a store, which the compiler cannot vectorise where rows lie anywhere. And for a loop over an
// array of vectors: unrolled this early, they stay in registers; unrolled later, GCC also stores each every time round.
#if defined(_MSC_VER)
#define TTAMER_UNROLL
#else
#define TTAMER_UNROLL _Pragma("GCC unroll 8")
#endif

// Brings what lies there into the cache of that level and those above it, where the compiler can say so.
#if defined(__GNUC__)
#define TTAMER_PREFETCH(address, level) __builtin_prefetch(address, 0, 4 - (level))
#else
#define TTAMER_PREFETCH(address, level) static_cast<void>(address)
#endif

namespace ttamer {
inline constexpr std::size_t kCacheLine = 64; // in bytes; if it is another, prefetches are too many or too few
} // namespace ttamer

// Whether the compiler has vectors as types, of any width on any processor.
#if defined(__GNUC__)
#define TTAMER_VECTORS
#endif
