#include "ttamer/decide/node_fields.hpp"

#include <array>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(TTAMER_PLAIN) // GCC and Clang, on any system
#include <immintrin.h>
#define TTAMER_X86_FIELDS
#endif

namespace ttamer {

namespace {

void plain_read(const JointTables &tables, const std::int32_t *nodes, std::size_t count, BlockFields &fields) {
    for (std::size_t k = 0; k < count; ++k) {
        fields.set(k, tables.nodes[nodes[k]]);
    }
}

constexpr NodeFieldKernels kPlain{plain_read, all_follow<StandingRow>};

#ifdef TTAMER_X86_FIELDS

constexpr std::size_t kLanes = 8;

// A column of at most 16 nodes lies in two registers, or one: a permutation looks up eight rows at once.
template <bool kBoth> struct Column {
    __m256i low;
    __m256i high;

    __attribute__((target("avx2"), always_inline)) explicit Column(const NodeColumns::Column &column)
        : low(_mm256_load_si256(reinterpret_cast<const __m256i *>(column.data()))),
          high(_mm256_load_si256(reinterpret_cast<const __m256i *>(column.data() + kLanes))) {}

    __attribute__((target("avx2"), always_inline)) __m256i at(__m256i nodes) const {
        const __m256i found = _mm256_permutevar8x32_epi32(low, nodes); // by the lowest three bits
        if constexpr (!kBoth) {
            return found;
        }
        const __m256i is_high = _mm256_slli_epi32(nodes, 28); // the fourth bit, as a sign
        return _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(found),
                                                    _mm256_castsi256_ps(_mm256_permutevar8x32_epi32(high, nodes)),
                                                    _mm256_castsi256_ps(is_high)));
    }
};

template <bool kBoth>
__attribute__((target("avx2"))) void take_column_of(const NodeColumns::Column &of_nodes, const std::int32_t *nodes,
                                                    std::size_t whole, std::uint32_t *out) {
    const Column<kBoth> column(of_nodes);
    for (std::size_t k = 0; k < whole; k += kLanes) {
        const __m256i node = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(nodes + k));
        _mm256_store_si256(reinterpret_cast<__m256i *>(out + k), column.at(node));
    }
}

template <bool kBoth>
__attribute__((target("avx2"))) void wide_read(const JointTables &tables, const std::int32_t *nodes, std::size_t count,
                                               BlockFields &fields) {
    const auto &columns = tables.columns->fields;
    const std::size_t whole = count / kLanes * kLanes;
    take_column_of<kBoth>(columns.lowest, nodes, whole, fields.lowest.data());
    take_column_of<kBoth>(columns.range, nodes, whole, fields.range.data());
    take_column_of<kBoth>(columns.cell_shift, nodes, whole, fields.cell_shift.data());
    take_column_of<kBoth>(columns.first_cell, nodes, whole, fields.first_cell.data());
    take_column_of<kBoth>(columns.first_entry, nodes, whole, fields.first_entry.data());
    take_column_of<kBoth>(columns.worst_key, nodes, whole, fields.worst_key.data());
    take_column_of<kBoth>(columns.only_next, nodes, whole, fields.only_next.data());
    for (std::size_t k = whole; k < count; ++k) {
        fields.set(k, tables.nodes[nodes[k]]);
    }
}

template <bool kBoth>
__attribute__((target("avx2"))) bool wide_follow(const JointTables &tables, const std::int32_t *nodes,
                                                 const StandingRow *rows, std::size_t count) {
    const Column<kBoth> column(tables.columns->position_before);
    __m256i closed = _mm256_setzero_si256();
    const std::size_t whole = count / kLanes * kLanes;
    for (std::size_t k = 0; k < whole; k += kLanes) {
        const __m256i node = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(nodes + k));
        const __m256i row = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(rows + k));
        closed = _mm256_or_si256(closed, _mm256_xor_si256(row, column.at(node)));
    }
    return _mm256_testz_si256(closed, _mm256_set1_epi32(kPositionBits)) != 0 &&
           all_follow(tables, nodes + whole, rows + whole, count - whole);
}

constexpr std::array<NodeFieldKernels, 2> kOfEight{{{wide_read<false>, wide_follow<false>}, kPlain}};
constexpr std::array<NodeFieldKernels, 2> kOfSixteen{{{wide_read<true>, wide_follow<true>}, kPlain}};

#endif

} // namespace

std::span<const NodeFieldKernels> node_field_kernels([[maybe_unused]] const JointTables &tables) {
#ifdef TTAMER_X86_FIELDS
    static const bool has_permutations = __builtin_cpu_supports("avx2");
    if (has_permutations && tables.columns != nullptr) {
        return tables.columns->nodes <= kLanes ? std::span(kOfEight) : std::span(kOfSixteen);
    }
#endif
    return {&kPlain, 1};
}

} // namespace ttamer
