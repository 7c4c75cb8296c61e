#include <algorithm>
#include <optional>

#include "base/bytes.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/record_text.h"
#include "cli/records.h"

namespace infertrail::cli {
namespace {

constexpr size_t kCandidatesShown = 5;

bool is_index(const std::string& name) {
  return !name.empty() && name.size() <= 18 && std::all_of(name.begin(), name.end(), is_digit) &&
         (name.size() == 1 || name[0] != '0');
}

Error not_there(const std::string& name) {
  return {Code::kNotFound, "no record has the id or index \"" + one_line(name) + "\"; `infertrail log` lists them"};
}

// The id of the record at an index. The daemon takes the digits for the beginning of an id too, so the
// query begins there and the first answer, the oldest, is the one or none is.
Result<std::string> id_at(Context& context, const Arguments& arguments, const std::string& name) {
  const uint64_t index = std::stoull(name);   // is_index(): cannot fail
  LogQuery query;
  query.set_id(name);
  query.set_summary(true);
  query.set_limit(UINT32_MAX);
  if (index > 0) {
    query.set_after_set(true);
    query.set_after_index(index - 1);
  }
  std::optional<std::string> id;
  RecordSink sink;
  sink.record = [&](const Record& record) -> Result<bool> {
    if (record.index() == index) id = record.id();
    return false;
  };
  TRY_STATUS(each_record(context, arguments, query, sink));
  if (!id) return not_there(name);
  return *id;
}

// The one id that begins so.
Result<std::string> id_with_prefix(Context& context, const Arguments& arguments, const std::string& name) {
  LogQuery query;
  query.set_id(name);
  query.set_summary(true);
  query.set_limit(kCandidatesShown + 1);
  std::vector<std::string> ids;
  RecordSink sink;
  sink.record = [&](const Record& record) -> Result<bool> {
    ids.push_back(record.id());
    return true;
  };
  TRY_STATUS(each_record(context, arguments, query, sink));
  if (ids.empty()) return not_there(name);
  if (ids.size() == 1) return ids[0];
  std::string message = "several ids begin with \"" + one_line(name) + "\":";
  for (size_t i = 0; i < std::min(ids.size(), kCandidatesShown); i++) message += "\n  " + one_line(ids[i]);
  if (ids.size() > kCandidatesShown) message += "\n  and more";
  return Error{Code::kNotFound, message};
}

}  // namespace

Result<int> run_show(Context& context, const Arguments& arguments) {
  const std::string name = to_lower(arguments.words[0]);
  if (trim(name).empty()) return Error{Code::kInvalid, "show wants an id, the beginning of one, or an index"};
  TRY(const std::string id, is_index(name) ? id_at(context, arguments, name)
                                           : id_with_prefix(context, arguments, name));
  LogQuery query;
  query.set_id(id);
  query.set_limit(1);
  bool found = false;
  RecordSink sink;
  if (arguments.has("--json")) {
    sink.json = [&](std::string_view line) -> Result<bool> {
      found = true;
      print(std::string(line) + "\n");
      return false;
    };
  } else {
    sink.record = [&](const Record& record) -> Result<bool> {
      found = true;
      print(record_text(record, context.style, arguments.has("--bodies")));
      return false;
    };
  }
  TRY_STATUS(each_record(context, arguments, query, sink));
  if (!found) return not_there(name);
  return kOk;
}

}  // namespace infertrail::cli
