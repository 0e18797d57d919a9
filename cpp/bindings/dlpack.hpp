// The part of DLPack's binary interface, major version 1, that reading a tensor takes (github.com/dmlc/dlpack). Types
// and the order of members are the standard's, names are ours. No library is linked: a tensor's type brings the
// functions.
#pragma once

#include <cstdint>

namespace ttamer::bindings::dlpack {

// Where the type's attribute of this name holds a capsule of that name, the capsule holds an ExchangeApi.
inline constexpr const char *kApiAttribute = "__dlpack_c_exchange_api__";
inline constexpr const char *kApiCapsule = "dlpack_exchange_api";

inline constexpr std::uint32_t kMajorVersion = 1;

// What a capsule is called that holds a Tensor, and behind it what frees both.
inline constexpr const char *kTensorCapsule = "dltensor";

// Devices whose memory the processor reads: its own, and what CUDA and ROCm have pinned of it.
inline constexpr std::int32_t kCpu = 1;
inline constexpr std::int32_t kPinnedByCuda = 3;
inline constexpr std::int32_t kPinnedByRocm = 11;

struct Device {
    std::int32_t type;
    std::int32_t id;
};

inline constexpr std::uint8_t kInt = 0;
inline constexpr std::uint8_t kUInt = 1;
inline constexpr std::uint8_t kFloat = 2;
inline constexpr std::uint8_t kBfloat = 4;

// Always of the machine's byte order.
struct DataType {
    std::uint8_t code;
    std::uint8_t bits;
    std::uint16_t lanes; // other than 1: short vectors as elements

    bool operator==(const DataType &) const = default;
};

struct Tensor {
    void *data; // null where there are no elements
    Device device;
    std::int32_t rank;
    DataType dtype;
    std::int64_t *shape;
    std::int64_t *strides; // in elements; null means contiguous, up to version 1.1
    std::uint64_t byte_offset;
};
static_assert(sizeof(void *) != 8 || sizeof(Tensor) == 48);

struct Version {
    std::uint32_t major;
    std::uint32_t minor;
};

// Stable across major versions; the rest of the table is not.
struct ApiHeader {
    Version version;
    const ApiHeader *previous; // the same library's table of an earlier version, or null
};

// Fills in a tensor that owns nothing, valid while the object is neither freed nor changed. Called with the GIL; -1 and
// a Python exception if it fails.
using ViewOf = int (*)(void *object, Tensor *out);

struct ExchangeApi {
    ApiHeader header;
    void (*allocate)();
    void (*to_owned)();
    void (*to_object)();
    ViewOf view_of; // may be null
    void (*current_stream)();
};

} // namespace ttamer::bindings::dlpack
