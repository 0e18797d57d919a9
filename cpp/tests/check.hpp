// The whole of the test framework: a failed check prints where it stands and the program goes on, so that one
// run shows every failure; `return test::result();` at the end of main makes ctest see them.
#pragma once

#include <cstdio>
#include <exception>
#include <string_view>

namespace ttamer::test {

inline int failures = 0;

inline void fail(const char *file, int line, const char *expression, std::string_view reason) {
    ++failures;
    std::fprintf(stderr, "%s:%d: %s: %.*s\n", file, line, expression, static_cast<int>(reason.size()), reason.data());
}

// The exit status of main.
inline int result() {
    if (failures > 0) {
        std::fprintf(stderr, "%d checks failed\n", failures);
    }
    return failures > 0 ? 1 : 0;
}

inline void check(bool holds, const char *file, int line, const char *expression) {
    if (!holds) {
        fail(file, line, expression, "does not hold");
    }
}

template <typename Expected, typename Call>
void check_throws(Call &&call, std::string_view part, const char *file, int line, const char *expression) {
    try {
        call();
    } catch (const Expected &error) {
        const std::string_view message = error.what();
        if (message.find(part) == std::string_view::npos) {
            fail(file, line, expression, message);
        }
        return;
    } catch (const std::exception &error) {
        fail(file, line, expression, error.what());
        return;
    }
    fail(file, line, expression, "did not throw");
}

} // namespace ttamer::test

// Variadic, so that an expression may hold commas of its own: CHECK(pair{1, 2} == other).
#define CHECK(...) ::ttamer::test::check(static_cast<bool>(__VA_ARGS__), __FILE__, __LINE__, #__VA_ARGS__)

// CHECK_THROWS(Topology::line(0), std::invalid_argument, "nodes"): throws that type, and the message holds
// that part.
#define CHECK_THROWS(expression, exception, part)                                                                      \
    ::ttamer::test::check_throws<exception>([&] { static_cast<void>(expression); }, part, __FILE__, __LINE__,          \
                                            #expression)
