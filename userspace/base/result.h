// Errors as values. `Status` is success or an error; `Result<T>` is a value or an error.
// Both are [[nodiscard]]: with -Werror a dropped error does not compile. Nothing here throws.
//
//   Status save(const Path&);
//   Result<int> load() {
//     TRY(auto text, read_file(path));            // returns the error to our caller
//     TRY_STATUS(save(path));                     // the same for a Status
//     if (text.empty()) return Error{Code::kInvalid, "empty file"};
//     return 3;
//   }
#pragma once

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace infertrail {

enum class Code {
  kInvalid,      // the input is wrong; the message says where and what would be right
  kNotFound,     // what was asked for does not exist
  kPermission,   // the caller or this process may not
  kUnsupported,  // this kernel or library cannot
  kExhausted,    // a limit, a full disk, no memory
  kCorrupt,      // stored data is not what was written
  kIo,           // the system refused
};

// One clear sentence for a person, with its place ("config.yaml:4:13: …") and a way out.
struct Error {
  Code code = Code::kIo;
  std::string message;
};

// Adds what we were doing in front: "open trail: permission denied".
inline Error wrap(Error error, const std::string& doing) {
  error.message = doing + ": " + error.message;
  return error;
}

class [[nodiscard]] Status {
 public:
  Status() = default;                                        // success
  Status(Error error) : error_(std::move(error)) {}          // NOLINT: implicit on purpose
  bool ok() const { return !error_.has_value(); }
  const Error& error() const { return *error_; }             // only when !ok()

 private:
  std::optional<Error> error_;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit
  bool ok() const { return state_.index() == 0; }
  T& value() { return std::get<0>(state_); }
  const T& value() const { return std::get<0>(state_); }
  const Error& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

// A broken promise of our own code, never of input: says where and aborts.
#define IT_CHECK(condition)                                                          \
  do {                                                                               \
    if (!(condition)) {                                                              \
      std::fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                  \
    }                                                                                \
  } while (false)

#define IT_CONCAT_(a, b) a##b
#define IT_CONCAT(a, b) IT_CONCAT_(a, b)
#define TRY(declaration, expression) \
  TRY_(IT_CONCAT(try_result_, __LINE__), declaration, expression)
#define TRY_(name, declaration, expression)   \
  auto name = (expression);                   \
  if (!name.ok()) return name.error();        \
  declaration = std::move(name.value())
#define TRY_STATUS(expression)                                  \
  do {                                                          \
    if (auto try_status = (expression); !try_status.ok()) return try_status.error(); \
  } while (false)

}  // namespace infertrail
